"""How many connections a worker takes where the system lets it open few files, and how far it raises that limit."""

from __future__ import annotations

import resource

import pytest

from ingress import serve

INFINITE = resource.RLIM_INFINITY
WANTED = serve._CONNECTIONS + serve._OTHER_FILES


@pytest.mark.parametrize(
    ("soft", "hard", "raised_to", "connections"),
    [
        (1024, INFINITE, WANTED, serve._CONNECTIONS),
        (1024, 524_288, WANTED, serve._CONNECTIONS),
        (1024, 4096, 4096, 4096 - serve._OTHER_FILES),
        (256, 256, 256, 128),
        (600, 600, 600, 300),
        (65_536, 65_536, None, serve._CONNECTIONS),
        (INFINITE, INFINITE, None, serve._CONNECTIONS),
    ],
)
def test_there_are_always_files_left_for_kafka(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, raised_to: int | None, connections: int
) -> None:
    raised: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: raised.append(limits))
    assert serve._connections() == connections
    assert raised == ([] if raised_to is None else [(raised_to, hard)])
