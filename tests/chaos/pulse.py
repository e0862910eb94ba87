"""Whether anything arrived while all was chaos: what each vendor has taken, looked at every second."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

EVERY: Final = 1.0


class Pulse:
    """By vendor: seconds in which it took something, and the longest stretch in which it did not."""

    def __init__(self) -> None:
        self.seconds = 0
        self.grew: Counter[str] = Counter()
        self.longest: Counter[str] = Counter()

    async def watch(self, taken: Mapping[str, Callable[[], int]]) -> None:
        """For ever. `taken` only grows."""
        last = {name: count() for name, count in taken.items()}
        still: Counter[str] = Counter()
        while True:
            await asyncio.sleep(EVERY)
            self.seconds += 1
            for name, count in taken.items():
                before, last[name] = last[name], count()
                self.grew[name] += last[name] > before
                still[name] = 0 if last[name] > before else still[name] + 1
                self.longest[name] = max(self.longest[name], still[name])

    def text(self) -> str:
        return "; ".join(
            f"{name} took something in {amount} of {self.seconds} s, with {self.longest[name]} s at most between"
            for name, amount in sorted(self.grew.items())
        )

    def record(self) -> dict[str, Any]:
        """JSON-ready."""
        each = {name: {"seconds": self.grew[name], "longest_pause": self.longest[name]} for name in sorted(self.grew)}
        return {"seconds": self.seconds, **each}
