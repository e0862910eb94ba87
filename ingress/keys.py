"""The Kafka key of a body, and the partition of a key: what keeps one contact's or one cohort's records in order.

Pure, and unable to raise: a body that cannot be read has a key as well. It must never disagree with the decoder about
which of two equal fields counts, or one contact's records would take two ways.
"""

from __future__ import annotations

import re
import struct
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

# No id is longer. A key is cut there, so that a body of ids cannot double the record; equal ids stay equal.
LONGEST: Final = 1024

_SENT_BY_MAILCHIMP: Final = b"data%5Bid%5D="
_ANY_SPELLING: Final = re.compile(
    rb"(?:\A|&)(?:d|%64)(?:a|%61)(?:t|%74)(?:a|%61)(?:\[|%5[Bb])(?:i|%69)(?:d|%64)(?:\]|%5[Dd])(?:=([^&]*))?(?=&|\Z)"
)
# Where the name may hide after the last one spelt as Mailchimp does: small hex digits, letters that nobody needs to escape, or
# (looked for apart) bare brackets. A quarter of the time that _ANY_SPELLING takes.
_SPELT_OTHERWISE: Final = re.compile(rb"%(?:5[bd]|[67])")


def webhook_key(source: bytes, body: bytes) -> bytes:
    """`{source}:{data[id]}`, or `{source}` where the form has no id or an empty one; the last of equal fields counts."""
    contact = contact_id(body)
    return b"%b:%b" % (source, contact[:LONGEST]) if contact else source


def contact_id(body: bytes) -> bytes:
    """The form's `data[id]`, percent-decoded; empty where there is none."""
    at = body.rfind(_SENT_BY_MAILCHIMP)
    if (
        at > 0
        and body[at - 1] == 38  # &
        and body.find(b"data%5Bid%5D", at + 13) < 0
        and b"[" not in body
        and b"]" not in body
        and not _SPELT_OTHERWISE.search(body, at)
    ):
        start = at + len(_SENT_BY_MAILCHIMP)
        end = body.find(b"&", start)
        value = body[start:] if end < 0 else body[start:end]
    else:
        found = _ANY_SPELLING.findall(body)
        value = found[-1] if found else b""
    if b"%" in value or b"+" in value:
        return unquote_to_bytes(value.replace(b"+", b" "))
    return value


class _CohortChange(msgspec.Struct):
    """Of a cohort change only its id; the rest is skipped without being built. The id is not read before it is known to be
    the last of its name, which is the one that counts for the codec: what stood there before may be anything.
    """

    cohort_id: msgspec.Raw = msgspec.Raw(b'""')


_cohort_change = msgspec.json.Decoder(_CohortChange)
_text = msgspec.json.Decoder(str)


def cohort_key(sync: bytes, body: bytes) -> bytes:
    """The top level's `cohort_id`; the sync's name where the body is no JSON object or holds no such text.

    8 MiB take 13 ms. A search for the bytes would be faster, and would be fooled by a user's properties.
    """
    try:
        cohort = _text.decode(_cohort_change.decode(body).cohort_id)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return sync
    return cohort.encode()[:LONGEST] or sync


def partition_of(key: bytes, partitions: int) -> int:
    """Where every Kafka client puts this key by default, so that other producers' records of a cohort meet ours."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """Kafka's hash of keys (the Java client's `Utils.murmur2`), a word at a time: aiokafka's goes byte by byte."""
    length = len(data)
    h = 0x9747B28C ^ length
    for word in struct.unpack_from(f"<{length >> 2}I", data):
        k = word * 0x5BD1E995 & 0xFFFFFFFF
        h = (h * 0x5BD1E995 & 0xFFFFFFFF) ^ ((k ^ k >> 24) * 0x5BD1E995 & 0xFFFFFFFF)
    if rest := length & 3:
        h = (h ^ int.from_bytes(data[length - rest :], "little")) * 0x5BD1E995 & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0x5BD1E995 & 0xFFFFFFFF
    return h ^ h >> 15
