"""Which process has a request under way at a stand-in: told from the connection's port, by what Linux says of open sockets."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sandbox.faults import Faults


class UnderWay:
    """The client ports of all requests that these stand-ins have not answered yet."""

    def __init__(self, *all_faults: Faults) -> None:
        self._ports: Counter[int] = Counter()
        for faults in all_faults:
            self._watch(faults)

    def _watch(self, faults: Faults) -> None:
        real = faults.around

        async def around(request: Any, accept: Any) -> Any:
            name = request.transport and request.transport.get_extra_info("peername")
            port = name[1] if name else 0
            self._ports[port] += 1
            try:
                return await real(request, accept)
            finally:
                self._ports[port] -= 1

        # Both stand-ins look it up at each request, so the instance's own one is found before the class's.
        vars(faults)["around"] = around

    def any(self) -> bool:
        return bool(+self._ports)

    def of(self, pids: Iterable[int]) -> bool:
        ports = set(+self._ports)
        return bool(ports) and not ports.isdisjoint(ports_of(pids))


def ports_of(pids: Iterable[int]) -> set[int]:
    """Local TCP ports (IPv4) of the sockets that these processes hold."""
    inodes: set[str] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for each in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(each.readlink())
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(fields[1].rpartition(":")[2], 16) for fields in lines if fields[9] in inodes}
