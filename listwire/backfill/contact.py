"""One contact as Mailchimp tells of it today: the member's record, and the entries of its activity feed. Times in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal

Kind = Literal["subscribe", "unsubscribe"]
SUBSCRIBE: Final = "subscribe"
UNSUBSCRIBE: Final = "unsubscribe"


class Maker(StrEnum):
    """Who made a change, since a webhook is told of some and not of others."""

    USER = "user"
    ADMIN = "admin"
    API = "api"
    ADMIN_OR_API = "admin or api"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Contact:
    """`id` is what webhooks call `data[id]`, ten hex digits; `hash` the API's name of the member, which is another."""

    hash: str
    id: str
    address: str
    web_id: str
    status: str
    opted: int | None
    signed_up: int | None
    changed: int | None
    source: str = ""
    email_type: str = ""
    ip_opt: str = ""
    ip_signup: str = ""
    merges: Mapping[str, Any] | None = None

    @property
    def came_by(self) -> Maker:
        """By the record's `source`. Mailchimp publishes no list of its values; these were seen in recorded answers."""
        words = self.source.casefold()
        if words.startswith("api"):
            return Maker.API
        if "admin" in words or "import" in words:
            return Maker.ADMIN
        return Maker.USER if "form" in words or "landing page" in words else Maker.UNKNOWN


@dataclass(frozen=True, slots=True)
class Entry:
    """Of the activity feed: an unsubscription (`unsub`) or one of the sign-ups. `by_admin` is None where it is not said."""

    type: str
    at: int
    campaign_id: str = ""
    by_admin: bool | None = None

    @property
    def left(self) -> bool:
        return self.type == "unsub"

    @property
    def maker(self) -> Maker:
        """Recorded answers say "Unsubscribed by admin" of what the API did, too. Who clicked in a campaign is a person."""
        if not self.left:
            forms = {"website_signup", "squatter_signup", "landing_page_signup"}
            return Maker.USER if self.type in forms else Maker.UNKNOWN
        if self.campaign_id or self.by_admin is False:
            return Maker.USER
        return Maker.UNKNOWN if self.by_admin is None else Maker.ADMIN_OR_API
