"""What goes wrong at Amplitude for reasons of content: throttled and silenced ids, quotas, refused keys, poison events.

On top of `sandbox.faults` (errors, hangs, resets, latency, which know nothing of the content). Everything here is
answered before accepting: a request with one marked event is refused whole, as Amplitude does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec

from sandbox.amplitude.rules import FORBIDDEN, INVALID_EVENT, Refusal, Upload, invalid_api_key, refuse
from sandbox.faults import Faults, FaultsCommand

if TYPE_CHECKING:
    from collections.abc import Callable

How = Literal["400", "401", "403"]


class Mark(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Ids marked for `seconds` and for `requests` refused on their account; None: until `clear`."""

    users: list[str] = []
    devices: list[str] = []
    seconds: float | None = None
    requests: int | None = None


class RefuseKey(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """`key` "" is every key. 400 is Amplitude's own "Invalid API key: …"; 401 and 403 are what a proxy or a closed account may say."""

    key: str = ""
    how: How = "400"
    seconds: float | None = None
    requests: int | None = None


class Reject(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Events of these users are poison: a 400 that names them under `field`, or names nothing when that is empty."""

    users: list[str]
    field: str = "event_properties"


class LimitsChange(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Fields of `rules.Limits` to change for one endpoint."""

    max_bytes: int | None = None
    max_events: int | None = None
    first_index_only: bool | None = None
    short_ids: Literal["refuse", "remove"] | None = None
    eps: int | None = None
    eps_window: float | None = None
    limit_rate: bool | None = None


class AmplitudeCommand(FaultsCommand, kw_only=True, forbid_unknown_fields=True):
    """``POST /_sandbox/faults``: the shared faults' fields and these."""

    throttle: Mark | None = None
    over_quota: Mark | None = None
    silence: Mark | None = None
    refuse_key: RefuseKey | None = None
    reject: Reject | None = None
    limits: dict[Literal["httpapi", "batch", "identify"], LimitsChange] = msgspec.field(default_factory=dict)


class _Until:
    """Ids, each with the moment and the number of refusals at which it is let go."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._marked: dict[str, tuple[float, float]] = {}

    def __bool__(self) -> bool:
        return bool(self._marked)

    def add(self, ids: list[str] | tuple[str, ...], seconds: float | None, requests: int | None) -> None:
        until = float("inf") if seconds is None else self._clock() + seconds
        self._marked.update(dict.fromkeys(ids, (until, float("inf") if requests is None else requests)))

    def live(self, name: str | None) -> bool:
        if name not in self._marked:
            return False
        until, left = self._marked[name]
        if self._clock() < until and left > 0:
            return True
        del self._marked[name]
        return False

    def spend(self, ids: set[str]) -> None:
        for name in ids:
            until, left = self._marked[name]
            self._marked[name] = (until, left - 1)

    def among(self, events: list[dict[str, Any]], field: str) -> dict[str, list[int]]:
        """The marked ids of a request with the indexes of their events."""
        found: dict[str, list[int]] = {}
        for index, event in enumerate(events) if self else ():
            name = event.get(field)
            if name in found or self.live(name):
                found.setdefault(str(name), []).append(index)
        return found

    def names(self) -> list[str]:
        return sorted(name for name in list(self._marked) if self.live(name))

    def clear(self) -> None:
        self._marked.clear()


class AmplitudeFaults(Faults):
    def __init__(self, *, clock: Callable[[], float], latency: float = 0.0, jitter: float = 0.0, seed: int = 0) -> None:
        super().__init__(latency=latency, jitter=jitter, seed=seed, clock=clock)
        self._throttled = {"user_id": _Until(clock), "device_id": _Until(clock)}
        self._over_quota = {"user_id": _Until(clock), "device_id": _Until(clock)}
        self._silenced = _Until(clock)
        self._refused: dict[How, _Until] = {"400": _Until(clock), "401": _Until(clock), "403": _Until(clock)}
        self._poison: dict[str, str] = {}

    def throttle(
        self, *users: str, devices: list[str] | None = None, seconds: float | None = None, requests: int | None = None
    ) -> None:
        """429 for requests that hold an event of these users or devices."""
        self._throttled["user_id"].add(users, seconds, requests)
        self._throttled["device_id"].add(devices or [], seconds, requests)

    def over_quota(
        self, *users: str, devices: list[str] | None = None, seconds: float | None = None, requests: int | None = None
    ) -> None:
        """429 that names them as over the daily quota of 500,000 events."""
        self._over_quota["user_id"].add(users, seconds, requests)
        self._over_quota["device_id"].add(devices or [], seconds, requests)

    def silence(self, *devices: str, seconds: float | None = None, requests: int | None = None) -> None:
        """400 "Events silenced for device_id"."""
        self._silenced.add(devices, seconds, requests)

    def refuse_key(
        self, key: str = "", how: How = "400", *, seconds: float | None = None, requests: int | None = None
    ) -> None:
        self._refused[how].add([key], seconds, requests)

    def accept_key(self, key: str = "") -> None:
        """Take `refuse_key` back."""
        for refused in self._refused.values():
            refused.add([key], None, 0)

    def reject(self, *users: str, field: str = "event_properties") -> None:
        """Poison: a 400 that names these users' events under `field`; with field="" one that names none."""
        self._poison.update(dict.fromkeys(users, field))

    def clear(self) -> None:
        super().clear()
        for marked in (*self._throttled.values(), *self._over_quota.values(), self._silenced, *self._refused.values()):
            marked.clear()
        self._poison.clear()

    def apply(self, command: FaultsCommand) -> None:
        super().apply(command)
        if not isinstance(command, AmplitudeCommand):
            return
        if (mark := command.throttle) is not None:
            self.throttle(*mark.users, devices=mark.devices, seconds=mark.seconds, requests=mark.requests)
        if (mark := command.over_quota) is not None:
            self.over_quota(*mark.users, devices=mark.devices, seconds=mark.seconds, requests=mark.requests)
        if (mark := command.silence) is not None:
            self.silence(*mark.devices, seconds=mark.seconds, requests=mark.requests)
        if (key := command.refuse_key) is not None:
            self.refuse_key(key.key, key.how, seconds=key.seconds, requests=key.requests)
        if (poison := command.reject) is not None:
            self.reject(*poison.users, field=poison.field)

    def describe(self) -> dict[str, Any]:
        return {
            **super().describe(),
            "throttled": {name: marked.names() for name, marked in self._throttled.items()},
            "over_quota": {name: marked.names() for name, marked in self._over_quota.items()},
            "silenced": self._silenced.names(),
            "refused_keys": {how: len(marked.names()) for how, marked in self._refused.items()},
            "rejected_users": sorted(self._poison),
        }

    # Verdicts -----------------------------------------------------------------------------------------------------

    def refused_key(self, api_key: str) -> Refusal | None:
        for how, marked in self._refused.items():
            hit = {name for name in ("", api_key) if marked.live(name)} if marked else None
            if hit:
                marked.spend(hit)
                return {"400": invalid_api_key(api_key), "401": refuse(401, "Unauthorized"), "403": FORBIDDEN}[how]
        return None

    def refused_content(self, upload: Upload, *, eps: int, first_index_only: bool) -> Refusal | None:
        """For events that passed the rules."""
        events = upload.events
        if self._poison:
            fields: dict[str, list[int]] = {}
            for index, event in enumerate(events):
                if event.get("user_id") in self._poison:
                    fields.setdefault(self._poison[event["user_id"]], []).append(index)
            if "" in fields:
                return INVALID_EVENT
            if fields:
                named = {name: indexes[:1] if first_index_only else indexes for name, indexes in fields.items()}
                return refuse(400, "Invalid field values on some events", events_with_invalid_fields=named)
        throttled = {name: marked.among(events, name) for name, marked in self._throttled.items()}
        exceeded = {name: marked.among(events, name) for name, marked in self._over_quota.items()}
        if silenced := self._silenced.among(events, "device_id"):
            self._silenced.spend(set(silenced))
            return refuse(
                400,
                "Events silenced for device_id",
                eps_threshold=eps,
                silenced_devices=sorted(silenced),
                silenced_events=_indexes({"device_id": silenced}),
                throttled_devices=dict.fromkeys(throttled["device_id"], eps + 1),
                throttled_events=_indexes(throttled),
                exceeded_daily_quota_devices=dict.fromkeys(exceeded["device_id"], 500_001),
            )
        if not any(throttled.values()) and not any(exceeded.values()):
            return None
        for marks, found in ((self._throttled, throttled), (self._over_quota, exceeded)):
            for name, hit in found.items():
                marks[name].spend(set(hit))
        return too_many_requests(
            eps, {n: dict.fromkeys(f, eps + 1) for n, f in throttled.items()}, exceeded, _indexes(throttled, exceeded)
        )


def too_many_requests(
    eps: int, throttled: dict[str, dict[str, int]], exceeded: dict[str, dict[str, list[int]]], indexes: list[int]
) -> Refusal:
    """429. Events of users over their daily quota stand in `throttled_events` too: Amplitude's SDKs look there first."""
    return refuse(
        429,
        "Too many requests for some devices and users",
        eps_threshold=eps,
        throttled_users=throttled.get("user_id", {}),
        throttled_devices=throttled.get("device_id", {}),
        throttled_events=indexes,
        exceeded_daily_quota_users=dict.fromkeys(exceeded.get("user_id", {}), 500_001),
        exceeded_daily_quota_devices=dict.fromkeys(exceeded.get("device_id", {}), 500_001),
    )


def _indexes(*found: dict[str, dict[str, list[int]]]) -> list[int]:
    return sorted(
        {index for by_field in found for by_id in by_field.values() for indexes in by_id.values() for index in indexes}
    )
