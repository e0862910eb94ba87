"""The fuzzers that are guided by coverage: what each checks, what it instruments, and the words it is given to play with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Target:
    name: str
    property_module: str
    fuzzed: tuple[str, ...]  # the modules whose branches guide it, and whose coverage is reported
    words: tuple[bytes, ...]  # libFuzzer's dictionary
    longest: int = 2048

    @property
    def corpus(self) -> Path:
        return CORPUS / self.name

    def check(self) -> Callable[[bytes], None]:
        found: Callable[[bytes], None] = importlib.import_module(self.property_module).check
        return found


_FORM = (
    b"&type=subscribe", b"type=unsubscribe&", b"type=profile&", b"type=cleaned&", b"&t%79pe=", b"%74ype=",
    b"&fired_at=", b"2020-09-07+21%3A31%3A09", b"2021-03-14 02:30:00", b"1969-12-31 23:59:59", b"9999-12-31 23:59:59",
    b"&data%5Bid%5D=", b"&data[id]=", b"&data%5bid%5d=", b"d%61ta[id]=", b"&data%5Bemail%5D=", b"%40example.com",
    b"&data%5Blist_id%5D=f1243a3b12", b"&data%5Bmerges%5D%5BEMAIL%5D=", b"&data%5Bmerges%5D%5BINTERESTS%5D=",
    b"&data%5Bmerges%5D%5BFNAME%5D=", b"&data%5Bmerges%5D%5BADDRESS%5D%5Bcity%5D=", b"&data%5Bmerges%5D%5BUSERID%5D=",
    b"&data%5Breason%5D=", b"&data%5Baction%5D=", b"&data%5Bweb_id%5D=", b"&data%5Bmerges%5D%5BPHONE%5D=",
    b"%2C", b"%5C%2C", b"%", b"%4", b"%zz", b"%C3%A9", b"%FF", b"%ED%A0%80", b"%00", b"%C2%A0", b"%25", b"%26", b"%3D", b"%2B",
    b"+", b"\xc3\xa9", b"\xff", b"undefined", b"anonymous",
)  # fmt: skip
_JSON = (
    b'"cohort_id":', b'"cohort_name":', b'"in_cohort":', b'"users":', b'"user_id":', b'"user_properties":', b'"email":',
    b'"computed_time":', b'"message_id":', b"true", b"false", b"null", b"[]", b"{}", b'""', b'" "', b"1e999", b"-0", b"1.0",
    b"18446744073709551616", b"NaN", b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\\u0000"', b'"c"', b'"a@example.com"', b"\\u0041",
    b'\\"', b"\xff", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b'{"user_id":7}', b",", b"{", b"[", b"}", b"]",
)  # fmt: skip
_PARTS = (
    b"/webhooks/mailchimp/", b"/webhooks/amplitude/cohorts/", b"newsletter", b"swordfish", b"shop/x", b"daily", b"/",
    b"a/b ?%\xc3\xa9", b"t=1790000000", b"t=1789999000", b"t=1790000400", b",v1=GOOD", b",v1=OLD", b"v1=", b",", b"\n",
    b"0" * 64, *_FORM[11:15], b'{"cohort_id":"c"}', b'"cohort_id":',
)  # fmt: skip

TARGETS = {
    target.name: target
    for target in (
        Target(
            "webhook-form",
            "tests.fuzz.webhook_form",
            ("stream.codecs.form", "stream.codecs.mailchimp_webhook", "ingress.keys"),
            _FORM,
        ),
        Target("cohort-change", "tests.fuzz.cohort_change", ("stream.codecs.cohort_change", "ingress.keys"), _JSON),
        Target(
            "request-parts",
            "tests.fuzz.request_parts",
            ("ingress.routes", "ingress.signature", "ingress.keys"),
            _PARTS,
            512,
        ),
    )
}
