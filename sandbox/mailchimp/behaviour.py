"""How this Mailchimp behaves where the real one is undocumented. (What goes *wrong* is `sandbox.faults`.)

Every field can be changed while it runs, in process or by `PATCH /_sandbox/behaviour`. The defaults are what the vendor's
documentation says; the alternatives are what integrations report or what nobody knows.
"""

from __future__ import annotations

from typing import Literal

import msgspec


class Behaviour(msgspec.Struct, forbid_unknown_fields=True):
    max_connections: int = 10
    """Mailchimp: 10 simultaneous connections an account; over it, 429."""
    hammered_after: int = 50
    """After so many 429 within a second the edge answers 403 without a body. 0: never."""
    account_disabled: bool = False
    """Every call is 403 User Disabled."""

    non_members: Literal["ignored", "errors"] = "ignored"
    """Addresses outside the audience in a segment call: documented as ignored, while the schema has `errors[]`."""
    repeats: Literal["silent", "added", "errors"] = "silent"
    """An address that already has the tag (or does not have it, on removal). Not documented."""
    unsubscribed: Literal["tagged", "errors"] = "tagged"
    """Unsubscribed members in a segment call. The app lets people tag them; some integrations report a refusal."""
    tag_case: Literal["kept", "lower"] = "kept"
    """Integrations report that Mailchimp changes the case of tag names."""
    tag_visible_after: float = 0.0
    """Seconds until a created tag shows up in listings and searches, while creating it again is already refused."""
    resubscribe_fires: Literal["subscribe", "profile"] = "subscribe"
    """Some report that a second subscription of the same contact fires `profile` only."""
    archive_fires: bool = False
    """Whether archiving a member fires `unsubscribe` with action `delete`. Not documented."""
    unsubscribe_action: bool = True
    """Real unsubscribe webhooks may lack `data[action]`."""

    resubscribe_moves_opt: bool = True
    """Whether a second subscription moves `timestamp_opt`. Not documented."""
    feed_shows_signups: bool = True
    """Whether the activity feed has an entry for each subscription. Not documented."""
    fired_at_lag: float = 0.0
    """Seconds by which a webhook's `fired_at` is later than the change that the API tells. Not documented."""

    send_webhooks: bool = True
    """Off: changes fire nothing, as if each of a webhook's attempts had failed for 75 minutes."""
    signing: bool = True
    """New webhooks get a signing secret (since 2026); older ones have none."""
    resign_retries: bool = True
    """Whether a retry carries a fresh signature. Not documented."""
    webhook_timeout: float = 10.0
    """Mailchimp gives up on a webhook's answer after 10 seconds."""
    webhook_connections: int = 20
    """Webhooks under way at once. Not documented."""
    webhook_time_scale: float = 1.0
    """Multiplies the waits between retries: 0.001 turns 75 minutes into 4.5 seconds."""
    drop_webhook_after: int = 0
    """Drop a webhook after so many events in a row were given up; Mailchimp does so at its discretion. 0: never."""
