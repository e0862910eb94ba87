"""What a record can turn out to be besides good: a `Rejection`, with a reason from the contract's list.

Codecs return rejections, they never raise; a rejection becomes a dead letter in one place (stream/dead_letters).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The dead-letter `reason` header: the whole list."""

    UNDECODABLE = "undecodable"
    MISSING_FIELD = "missing_field"
    INVALID_FIELD = "invalid_field"
    WRONG_AUDIENCE = "wrong_audience"
    UNKNOWN_CONNECTION = "unknown_connection"
    REJECTED_BY_AMPLITUDE = "rejected_by_amplitude"
    TOO_LARGE = "too_large"
    CONNECTION_REFUSED = "connection_refused"
    OVER_QUOTA = "over_quota"
    COHORT_NAME_TOO_LONG = "cohort_name_too_long"
    NO_USABLE_ADDRESS = "no_usable_address"
    REJECTED_BY_MAILCHIMP = "rejected_by_mailchimp"


MEANINGS: dict[Reason, tuple[str, str]] = {
    Reason.UNDECODABLE: ("The bytes are not the form or JSON that the topic carries.", "Look at it with `dead-letters show`; mend the producer."),
    Reason.MISSING_FIELD: ("A field that must be there is absent; `detail` names it.", "Mend the producer, then publish again."),
    Reason.INVALID_FIELD: ("A field is there but unusable; `detail` names it and why.", "Mend the producer or the source's `user_id` policy, then replay."),
    Reason.WRONG_AUDIENCE: ("The webhook belongs to another audience than its source.", "Check the source's `audience`, or the webhook's URL in Mailchimp."),
    Reason.UNKNOWN_CONNECTION: ("No source or cohort sync of that name is in the settings.", "Add it, restart the worker, then replay."),
    Reason.REJECTED_BY_AMPLITUDE: ("Amplitude refused this event; `detail` holds its own words.", "Read `detail`; replay only after what it names has changed."),
    Reason.TOO_LARGE: ("One event alone is over Amplitude's limit.", "Allow fewer merge fields in `merge_properties`, then replay."),
    Reason.CONNECTION_REFUSED: ("The vendor refuses the key or account of this connection.", "Mend the key, restart the worker, then replay: oldest first."),
    Reason.OVER_QUOTA: ("Amplitude's daily quota for this user is used up.", "Replay a day later."),
    Reason.COHORT_NAME_TOO_LONG: ("The cohort's name has 88 characters or more.", "Rename the cohort in Amplitude; it sends its members again."),
    Reason.NO_USABLE_ADDRESS: ("The user has no address in the sync's `email_property`.", "Fill the property in Amplitude, or set another one."),
    Reason.REJECTED_BY_MAILCHIMP: ("Mailchimp refused this address or tag; `detail` holds its own words.", "Read `detail`; replay after the member has changed."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rejection:
    """`detail` is for people; it names the field and never holds a secret."""

    reason: Reason
    detail: str
