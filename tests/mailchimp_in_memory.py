"""A Mailchimp account without HTTP: an httpx transport over the stand-in's state and rules, for the real client.

What goes wrong is decided call by call by `trouble`. It knows the calls of the cohorts worker and no others.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from listwire.clock import Clock
from sandbox.mailchimp.account import Account
from sandbox.mailchimp.behaviour import Behaviour
from sandbox.mailchimp.problems import Problem, named

AUDIENCE = "a6b5da1054"
TAG = "Power users"


@dataclass(frozen=True)
class Call:
    """`name`: search, create, list, segment or member."""

    name: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        return (*self.add, *self.remove)


@dataclass(frozen=True)
class Trouble:
    """Instead of the answer. `done`: the call was carried out all the same; `late`: so it will be, after so many seconds; `hang`:
    no answer ever comes.
    """

    status: int = 502
    body: str = "<html>"
    done: bool = False
    hang: bool = False
    late: float | None = None


def problem(name: str) -> Trouble:
    found = named(name)
    return Trouble(found.status, json.dumps(found.document("")))


class InMemory:
    """A Mailchimp account: what the calls of the worker's client meet."""

    def __init__(self, clock: Clock, members: Iterable[str], behaviour: Mapping[str, Any]) -> None:
        self.account = Account(["key-us6"], Behaviour(**behaviour), None, clock.time, 0)
        self.audience = self.account.add_audience(AUDIENCE, "Newsletter")
        for address in members:
            self.audience.add_member(address, "subscribed", 0)
        self.latency = 0.1
        self.calls: list[Call] = []
        self.under_way = self.most = 0
        self.trouble: Callable[[Call], Trouble | None] = lambda _: None

    def tagged(self, name: str = TAG) -> set[str]:
        return self.audience.tagged(name)

    def named(self, name: str) -> list[Call]:
        return [call for call in self.calls if call.name == name]

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        call, act = self._read(request)
        self.calls.append(call)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await asyncio.sleep(self.latency / 2)
            trouble = self.trouble(call)
            status, answer = self._act(act) if trouble is None or trouble.done else (0, None)
            if trouble is not None and trouble.late is not None:
                asyncio.get_running_loop().call_later(trouble.late, self._act, act)
            await asyncio.sleep(self.latency / 2)
            if trouble is None:
                return httpx.Response(status, json=answer)
            if trouble.hang:
                await asyncio.Event().wait()
            return httpx.Response(trouble.status, text=trouble.body)
        finally:
            self.under_way -= 1

    def _act(self, act: Callable[[], Any]) -> tuple[int, Any]:
        try:
            return 200, act()
        except Problem as fault:
            return fault.status, fault.document("")

    def _read(self, request: httpx.Request) -> tuple[Call, Callable[[], Any]]:
        body = json.loads(request.content or b"{}")
        match [request.method, *request.url.path.split("/")[3:]]:
            case ["GET", audience, "tag-search"]:
                return Call("search"), lambda: {"tags": self._tags(audience, request.url.params.get("name", ""))}
            case ["GET", audience, "segments"]:
                return Call("list"), lambda: {"segments": self._tags(audience, ""), "total_items": 0}
            case ["POST", audience, "segments"]:
                return Call("create"), lambda: self._created(audience, body)
            case ["POST", audience, "segments", segment]:
                add, remove = body["members_to_add"], body["members_to_remove"]
                return Call("segment", tuple(add), tuple(remove)), lambda: self._change(audience, segment, add, remove)
            case ["GET", audience, "members", member]:
                return Call("member", (member,)), lambda: self._member(audience, member)
        raise AssertionError(f"{request.method} {request.url} is none of the worker's calls")

    def _tags(self, audience: str, name: str) -> list[Any]:
        now = self.account.clock()
        return [
            {"id": segment.id, "name": segment.name}
            for segment in self.account.audience(audience).segments.values()
            if segment.type == "static" and segment.visible_from <= now and segment.name.lower().startswith(name.lower())
        ]  # fmt: skip

    def _created(self, audience: str, body: Mapping[str, Any]) -> Any:
        made = self.account.tags.create(self.account.audience(audience), body["name"], body["static_segment"], "")
        return {"id": made.id, "name": made.name}

    def _change(self, audience: str, segment: str, add: Sequence[str], remove: Sequence[str]) -> Any:
        found = self.account.audience(audience)
        done = self.account.tags.change(found, self.account.segment(found, segment), add, remove, "")
        return {
            "members_added": [{"email_address": member.address} for member in done.added],
            "members_removed": [{"email_address": member.address} for member in done.removed],
            "errors": [{"email_addresses": named, "error": words} for words, named in done.errors.items()],
            "error_count": sum(map(len, done.errors.values())),
        }

    def _member(self, audience: str, reference: str) -> Any:
        found = self.account.audience(audience)
        member = self.account.member(found, reference)
        tags = [{"id": each, "name": found.segments[each].name} for each in member.tags]
        return {"id": member.id, "status": member.status, "tags": tags[:50], "tags_count": len(tags)}
