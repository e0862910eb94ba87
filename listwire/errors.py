"""Every error Listwire raises on purpose.

::

    ListwireError                   one sentence for a person, no traceback needed; exit code 1
    ├── SettingsError               a settings file, variable or flag; exit code 2
    ├── KafkaError                  the broker cannot be reached, or refuses us
    │   └── TopicsError             a topic is absent or unfit: `listwire topics ensure`
    ├── SandboxError                embedded Kafka or a stand-in cannot start
    └── VendorError                 an answer (or none) from Mailchimp or Amplitude
        ├── VendorUnavailable       may pass: 5xx, time-out, reset; the same call again is right
        │   └── VendorThrottled     429, or Mailchimp's bodyless 403: slower, then again
        ├── VendorRefused           the key or the account is refused: nothing of this connection passes
        └── VendorRejected          this content is refused for good: again would change nothing

A record that cannot be read is no error: codecs return a `Rejection` (listwire.records).
"""

from __future__ import annotations


class ListwireError(Exception):
    """The message is one sentence that names what is wrong and the way out."""

    exit_code = 1


class SettingsError(ListwireError):
    exit_code = 2


class KafkaError(ListwireError):
    pass


class TopicsError(KafkaError):
    pass


class SandboxError(ListwireError):
    pass


class VendorError(ListwireError):
    """`status` is the HTTP status, or 0 where no answer came; `detail` the vendor's own words, at most 2 KiB."""

    def __init__(self, vendor: str, status: int, detail: str) -> None:
        super().__init__(f"{vendor} answered {status}: {detail}" if status else f"{vendor}: {detail}")
        self.vendor = vendor
        self.status = status
        self.detail = detail[:2048]


class VendorUnavailable(VendorError):
    """`cause` is a short label for metrics ("500", "timeout", "reset"); with `may_have_happened` the call may have
    been carried out although no answer says so.
    """

    def __init__(self, vendor: str, status: int, detail: str, *, cause: str, may_have_happened: bool = True) -> None:
        super().__init__(vendor, status, detail)
        self.cause = cause
        self.may_have_happened = may_have_happened


class VendorThrottled(VendorUnavailable):
    def __init__(self, vendor: str, status: int, detail: str) -> None:
        super().__init__(vendor, status, detail, cause=str(status), may_have_happened=False)


class VendorRefused(VendorError):
    pass


class VendorRejected(VendorError):
    """`title` is problem+json's title; `errors` its `[{field, message}]`, or empty."""

    def __init__(
        self, vendor: str, status: int, detail: str, *, title: str = "", errors: list[dict[str, str]] | None = None
    ) -> None:
        super().__init__(vendor, status, detail)
        self.title = title
        self.errors = errors or []
