"""Bugs that somebody might really make, each of which its fuzzer must find: a fuzzer that finds nothing proves nothing.

Each is planted into a copy of the tree, by replacing words of the source; the tree itself is never touched. The coverage-guided
fuzzers start from ordinary inputs only (`plain-…`), so that a find is their own and not the corpus'.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz import ingress_http
from tests.fuzz.results import Result
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
COPIED = ("listwire", "ingress", "stream", "vendors", "sandbox", "console", "tests", "docs")
GUIDED_WITHIN = 120.0
HTTP_WITHIN = 60.0


@dataclass(frozen=True)
class Planted:
    """`witness` is one input that shows it, where an input can."""

    fuzzer: str
    what: str
    file: str
    edits: tuple[tuple[str, str], ...]
    witness: bytes | None = None

    def edited(self, source: str) -> str:
        for old, new in self.edits:
            if source.count(old) != 1:
                raise AssertionError(f"{self.file} has {source.count(old)} of {old!r}: plant it anew")
            source = source.replace(old, new)
        return source


_MEMBER = b"data%5Bid%5D=b748506b63&data%5Bemail%5D=ada%40example.com&data%5Blist_id%5D=f1243a3b12"
_EVENT = b"type=subscribe&fired_at=2020-09-07+21%3A31%3A09&" + _MEMBER
_CHANGE = b'"cohort_name":"n","in_cohort":true,"users":[]}'

PLANTED: tuple[Planted, ...] = (
    Planted(
        "webhook-form",
        "a percent sign at a value's end raises",
        "stream/codecs/form.py",
        (
            (
                "found = unquote_to_bytes(_bytes(value)).decode()",
                ('first, *rest = _bytes(value).split(b"%")\n'
                '        found = (first + b"".join(bytes([int(part[:2], 16)]) + part[2:] for part in rest)).decode()'),
            ),
        ),
        _EVENT + b"&data%5Breason%5D=abuse%",
    ),
    Planted(
        "webhook-form",
        "of duplicate keys the first wins",
        "stream/codecs/form.py",
        (("fields[name] = value", "fields.setdefault(name, value)"),),
        b"type=cleaned&x&" + _EVENT,
    ),
    Planted(
        "cohort-change",
        "the ingress reads the first cohort_id before it knows that it is the last (this was a bug of ours until it was fuzzed)",
        "ingress/keys.py",
        (
            ("cohort_id: msgspec.Raw = msgspec.Raw(b'\"\"')", 'cohort_id: str = ""'),
            ("_text.decode(_cohort_change.decode(body).cohort_id)", "_cohort_change.decode(body).cohort_id"),
        ),
        b'{"cohort_id":1,"cohort_id":"c",' + _CHANGE,
    ),
    Planted(
        "cohort-change",
        "a name that is no UTF-8 raises",
        "stream/codecs/cohort_change.py",
        (
            (
                ('except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as fault:\n'
                '            return Rejection(Reason.UNDECODABLE, f"not JSON: {name}'),
                'except msgspec.DecodeError as fault:\n            return Rejection(Reason.UNDECODABLE, f"not JSON: {name}',
            ),
        ),
        b'{"cohort_id":"\xff",' + _CHANGE,
    ),
    Planted(
        "cohort-change",
        "an address is matched by an expression that takes for ever",
        "stream/codecs/cohort_change.py",
        ((r'r"[^@\s\x00-\x1f\x7f,;<>]+@', r'r"(?:[^@\s\x00-\x1f\x7f,;<>]+)+@'),),
    ),
    Planted(
        "request-parts",
        "a signature from the future is good",
        "ingress/signature.py",
        (("if abs(age) <= tolerance:", "if age <= tolerance:"),),
        b"/\nt=1790009999,v1=GOOD\nbody",
    ),
    Planted(
        "request-parts",
        "of ids in different spellings the first is the key",
        "ingress/keys.py",
        (("value = found[-1] if found else", "value = found[0] if found else"),),
        b"/\n\ndata[id]=1&data[id]=2",
    ),
    Planted(
        ingress_http.NAME,
        "a signature header that is not ASCII is answered 500",
        "ingress/signature.py",
        (("time = _TIME.search(header)", "time = _TIME.search(header.decode('ascii').encode())"),),
    ),
)  # fmt: skip


@contextmanager
def copy_with(planted: Planted) -> Iterator[Path]:
    """A tree with the bug in it."""
    with tempfile.TemporaryDirectory(prefix="listwire-planted-") as directory:
        tree = Path(directory) / "tree"
        for folder in COPIED:
            shutil.copytree(ROOT / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__", "screenshots"))
        file = tree / planted.file
        file.write_text(planted.edited(file.read_text()))
        yield tree


def plain_inputs(fuzzer: str, folder: Path) -> Path:
    folder.mkdir(parents=True)
    for file in TARGETS[fuzzer].corpus.glob("plain-*"):
        shutil.copy(file, folder)
    return folder


def hunt(planted: Planted, out: Path) -> Result:
    with copy_with(planted) as tree:
        if planted.fuzzer == ingress_http.NAME:
            return ingress_http.run(HTTP_WITHIN, out, rate=50, tree=tree, until_found=True)
        from tests.fuzz import guided_run

        seeds = plain_inputs(planted.fuzzer, out / "plain")
        return guided_run.run(TARGETS[planted.fuzzer], GUIDED_WITHIN, out, tree=tree, seeds=[seeds])
