"""What an answer that is no success means: Mailchimp's table of errors, read into our tree.

===============================================  =====================================================================
401; 403 with JSON; 3xx; 426                     `VendorRefused`: the key, the account or the address of the API is wrong
429; 403 without JSON                            `VendorThrottled`: slower
5xx; 408; 409; HTML where JSON belongs           `VendorUnavailable`: the call may have happened
400, 404, 405, 422 … with JSON; 413; 414         `VendorRejected`: Mailchimp understood, and will not
===============================================  =====================================================================

Whether a 4xx is Mailchimp's own word shows in its body: problem+json is, a page of HTML comes from the edge in front of it.
"""

from __future__ import annotations

import http

import msgspec

from listwire.errors import VendorError, VendorRefused, VendorRejected, VendorThrottled, VendorUnavailable

VENDOR = "mailchimp"


class _FieldError(msgspec.Struct):
    field: str = ""
    message: str = ""


class _Problem(msgspec.Struct):
    title: str = ""
    detail: str = ""
    errors: list[_FieldError] = []

    @property
    def words(self) -> str:
        named = "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in self.errors)
        return " ".join(filter(None, (self.detail or self.title, f"({named})" if named else "")))[:2048]


_decode = msgspec.json.Decoder(_Problem).decode


def _problem(body: bytes) -> _Problem | None:
    """None where the body is not a JSON object, or not one of Mailchimp's."""
    try:
        return _decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def read_error(status: int, body: bytes) -> VendorError:
    """The error for any status outside 2xx."""
    problem = _problem(body)
    words = problem.words if problem and problem.words else _phrase(status)
    if status == 429 or (status == 403 and problem is None):
        return VendorThrottled(VENDOR, status, words)
    if status in (401, 403, 426) or status < 400:
        return VendorRefused(VENDOR, status, words)
    if status >= 500 or status in (408, 409) or (problem is None and status not in (413, 414)):
        return VendorUnavailable(VENDOR, status, words, cause=str(status))
    errors = [{"field": error.field, "message": error.message} for error in problem.errors] if problem else []
    return VendorRejected(VENDOR, status, words, title=problem.title if problem else "", errors=errors)


def _phrase(status: int) -> str:
    """Stands in for a body that is empty or a page of HTML, which is never quoted."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "no words"


def tag_exists(error: Exception) -> bool:
    """Somebody else made the tag meanwhile: look for it again. (`Sorry, that tag already exists.`)"""
    return isinstance(error, VendorRejected) and error.status == 400 and "tag already exists" in error.detail.lower()


def segment_gone(error: Exception) -> bool:
    """No static segment has this id: it was deleted, or is a saved one.

    Mailchimp answers 404, or 400 `A Static Segment with an id of … does not exist for this list`. A saved segment's name
    can't be taken by a tag either, so whoever makes the tag again must give up when that is refused with `tag_exists`.
    """
    if not isinstance(error, VendorRejected):
        return False
    return error.status == 404 or "static segment with an id of" in error.detail.lower()


def not_found(error: Exception) -> bool:
    return isinstance(error, VendorRejected) and error.status == 404


def webhook_exists(error: Exception) -> bool:
    """The audience has a webhook with this URL; Mailchimp ignores the query string when it compares."""
    return isinstance(error, VendorRejected) and "multiple webhooks for one url" in error.detail.lower()
