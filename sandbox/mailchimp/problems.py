"""Mailchimp's errors: problem+json documents with the vendor's own titles and sentences.

A route raises `Problem`; the edge turns it into the answer. Sentences are quoted from the vendor's error glossary and from
recorded answers; where none is known, the docstring says that ours is invented.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

GLOSSARY = "https://mailchimp.com/developer/marketing/docs/errors/"


@dataclass(eq=False)
class Problem(Exception):
    status: int
    title: str
    detail: str
    errors: list[dict[str, str]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def document(self, instance: str) -> dict[str, Any]:
        """`instance` is the request's id, the same as in X-Request-Id."""
        body: dict[str, Any] = {
            "type": GLOSSARY,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            body["errors"] = self.errors
        return body


def invalid(*errors: tuple[str, str]) -> Problem:
    """400 Invalid Resource with `errors[]`: field and message."""
    return Problem(
        400,
        "Invalid Resource",
        "The resource submitted could not be validated. For field-specific details, see the 'errors' array.",
        [{"field": name, "message": message} for name, message in errors],
    )


def not_found() -> Problem:
    return Problem(404, "Resource Not Found", "The requested resource could not be found.")


def tag_exists() -> Problem:
    return Problem(400, "Bad Request", "Sorry, that tag already exists.")


def no_static_segment(segment_id: str) -> Problem:
    """Mailchimp answers this misleading sentence when the segment exists but is not static."""
    return Problem(400, "Bad Request", f"A Static Segment with an id of {segment_id} does not exist for this list.")


def too_many_members() -> Problem:
    return Problem(
        400,
        "Invalid Resource",
        "Maximum allowed member items exceeded, please provide at most 500 items in members_to_add field or members_to_remove field",
    )


def neither_options_nor_static() -> Problem:
    return Problem(400, "Invalid Resource", 'Must provide either an "options" field or a "static_segment" field')


def member_exists(address: str) -> Problem:
    return Problem(
        400, "Member Exists", f"{address} is already a list member. Use PUT to insert or update list members."
    )


def compliance(address: str) -> Problem:
    return Problem(
        400,
        "Member In Compliance State",
        f"{address} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed.",
    )


def forgotten(address: str) -> Problem:
    return Problem(
        400,
        "Forgotten Email Not Subscribed",
        f"{address} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list.",
    )


def cannot_be_removed() -> Problem:
    return Problem(
        405,
        "Method Not Allowed",
        "This list member cannot be removed.  Please contact support.",
        headers={"Allow": "GET, PUT"},
    )


def same_webhook_url() -> Problem:
    return invalid(("url", "Sorry, you can't set up multiple WebHooks for one URL"))


def webhook_not_working(status: int) -> Problem:
    return invalid(
        ("url", f"We couldn't verify the URL is working. Please double check and try again. HTTP Code: {status}")
    )


def wrong_datacenter(datacenter: str) -> Problem:
    return Problem(403, "Wrong Datacenter", f"The API key provided is linked to datacenter '{datacenter}'.")


def too_many_connections(limit: int) -> Problem:
    return Problem(429, "TooManyRequests", f"You have exceeded the limit of {limit} simultaneous connections.")


_NAMED: dict[str, Problem] = {
    "BadRequest": Problem(400, "Bad Request", "Your request could not be processed."),
    "InvalidAction": Problem(400, "Invalid Action", "The action requested was not valid for this resource."),
    "InvalidResource": invalid(("email_address", "This value should not be blank.")),
    "JSONParseError": Problem(400, "JSON Parse Error", "We encountered an unspecified JSON parsing error."),
    "APIKeyMissing": Problem(401, "API Key Missing", "Your request did not include an API key."),
    "APIKeyInvalid": Problem(
        401, "API Key Invalid", "Your API key may be invalid, or you've attempted to access the wrong datacenter."
    ),
    "Forbidden": Problem(403, "Forbidden", "You are not permitted to access this resource."),
    "UserDisabled": Problem(403, "User Disabled", "This account has been disabled."),
    "WrongDatacenter": wrong_datacenter("us6"),
    "ResourceNotFound": not_found(),
    "MethodNotAllowed": Problem(405, "Method Not Allowed", "The requested method and resource are not compatible."),
    "ResourceNestingTooDeep": Problem(
        414, "Resource Nesting Too Deep", "The sub-resource requested is nested too deeply."
    ),
    "InvalidMethodOverride": Problem(
        405, "Invalid Method Override", "You can only use the X-HTTP-Method-Override header with POST."
    ),
    "RequestedFieldsInvalid": Problem(
        400, "Requested Fields Invalid", "The fields requested from this resource are invalid."
    ),
    "UnprocessableEntity": Problem(
        422, "Unprocessable Entity", "The request was well formed but could not be followed."
    ),
    "TooManyRequests": too_many_connections(10),
    "InternalServerError": Problem(
        500, "Internal Server Error", "An unexpected internal error has occurred. Please contact Support."
    ),
    "ComplianceRelated": Problem(500, "Compliance Related", "This method has been disabled."),
    "ServiceUnavailable": Problem(503, "Service Unavailable", "The service is temporarily unavailable."),
}


def named(name: str, **headers: str) -> Problem:
    """One of the glossary's errors, each time a fresh one: an exception that is raised again keeps its old traceback."""
    return replace(_NAMED[name], headers=headers)


def triggered(name: str) -> Problem | None:
    """What the header X-Trigger-Error asks for: Mailchimp simulates that error without doing anything."""
    return named(name) if name in _NAMED else None
