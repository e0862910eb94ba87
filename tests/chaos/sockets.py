"""Which process has a request under way, told by what Linux says of open sockets: at a stand-in by the client's port; at the
ingress by what it has read already.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from sandbox.faults import Faults

ESTABLISHED: Final = "01"


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
    return {_port(fields[1]) for fields in _connections() if fields[9] in inodes}


def unread(port: int) -> int:
    """How many ends of connections to this port, either end of them, have something that their process has not read yet."""
    found = 0
    ours = f":{port:04X} "
    for line in Path("/proc/net/tcp").read_text().splitlines():
        if ours in line:
            fields = line.split()
            found += fields[3] == ESTABLISHED and not fields[4].endswith(":00000000")
    return found


def _connections() -> list[list[str]]:
    """Local and remote address, state, bytes not yet sent and not yet read, and the inode: fields 1, 2, 3, 4 and 9 of proc(5)."""
    return [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2], 16)
