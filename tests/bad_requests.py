"""Requests that are wrong, ambiguous or odd on purpose, byte for byte, with what each must be answered and what may be stored of it.

The answers are all that the connection gives until the ingress closes it. No body is used twice, so that a record tells
which request it came from; what a naive parser would take for a second request has a body that nobody may store.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from typing import Final

from tests.ingress_process import COHORT_SECRET, HOOK, SECRET

SMUGGLED: Final = b"data%5Bid%5D=smuggled"
FORM_LINE: Final = b"Content-Type: application/x-www-form-urlencoded\r\n"


@dataclass(frozen=True)
class Shape:
    """`answers`: the statuses in their order; none means that the connection is closed without a word."""

    name: str
    sent: bytes
    answers: tuple[int, ...]
    stored: tuple[bytes, ...] = ()


def request(
    *lines: bytes,
    body: bytes = b"",
    target: bytes = HOOK.encode(),
    method: bytes = b"POST",
    version: bytes = b"HTTP/1.1",
    host: bytes = b"Host: x\r\n",
) -> bytes:
    head = b"".join(line + b"\r\n" for line in lines)
    return b"%b %b %b\r\n%b%b%b\r\n%b" % (method, target, version, host, FORM_LINE, head, body)


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


_CHUNKED: Final = b"Transfer-Encoding: chunked"
_HIDDEN: Final = request(b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)
_WITH_SECRET: Final = SECRET.encode()
_HIDDEN_LENGTH: Final = b"Content-Length: %d" % len(_HIDDEN)


def _body(name: str) -> bytes:
    return b"data%5Bid%5D=" + name.replace(" ", "-").encode()


def _lengths() -> list[Shape]:
    """`{}` is the body's true length. What is refused is followed by a request that must not be read as one."""
    found = []
    for name, written, status in (
        ("two equal lengths", b"Content-Length: {}\r\nContent-Length: {}", 204),
        ("two differing lengths", b"Content-Length: {}\r\nContent-Length: 3", 400),
        ("two lengths in one line", b"Content-Length: {}, {}", 400),
        ("a plus before the length", b"Content-Length: +{}", 400),
        ("blanks around the length", b"Content-Length:   {}  ", 204),
        ("a tab before the length", b"Content-Length:\t{}", 204),
        ("zeros before the length", b"Content-Length: 000{}", 204),
        ("a blank before the colon of the length", b"Content-Length : {}", 400),
        ("a negative length", b"Content-Length: -1", 400),
        ("a length beyond 64 bits", b"Content-Length: 99999999999999999999999", 400),
        ("the largest length of 64 bits", b"Content-Length: 18446744073709551615", 431),
        ("a huge length", b"Content-Length: 9223372036854775807", 413),
        ("a hexadecimal length", b"Content-Length: 0x10", 400),
        ("a length with an underscore", b"Content-Length: 1_0", 400),
        ("an empty length", b"Content-Length:", 400),
        ("a digit that is no ASCII", b"Content-Length: \xb2", 400),
        ("a length on a folded line", b"Content-Length:\r\n {}", 400),
    ):
        body = _body(name)
        line = written.replace(b"{}", b"%d" % len(body))
        more = b"" if status == 204 else _HIDDEN
        found.append(Shape(name, request(line, body=body + more), (status,), (body,) if status == 204 else ()))
    return found


def _codings() -> list[Shape]:
    found = []
    for name, written, status in (
        ("chunked then identity", b"Transfer-Encoding: chunked, identity", 400),
        ("identity then chunked", b"Transfer-Encoding: identity, chunked", 204),
        ("chunked after a vertical tab", b"Transfer-Encoding: \x0bchunked", 400),
        ("chunked after a tab", b"Transfer-Encoding:\tchunked", 204),
        ("chunked before a tab", b"Transfer-Encoding: chunked\t", 204),
        ("chunked in capitals", b"TRANSFER-ENCODING: Chunked", 204),
        ("xchunked", b"Transfer-Encoding: xchunked", 400),
        ("chunked in quotes", b'Transfer-Encoding: "chunked"', 400),
        ("chunked in two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 204),
        ("chunked and identity in two lines", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        ("a blank before the colon of the coding", b"Transfer-Encoding : chunked", 400),
        ("a NUL in the coding", b"Transfer-Encoding: chunked\0", 400),
    ):
        body = _body(name)
        more = b"" if status == 204 else _HIDDEN
        found.append(
            Shape(name, request(written, body=chunks(body) + more), (status,), (body,) if status == 204 else ())
        )
    return found


def _both() -> list[Shape]:
    """RFC 9112, 6.1: the coding counts, the length does not, and the connection ends with the answer."""
    one, two, three = _body("length then coding"), _body("coding then length"), _body("a short length")
    return [
        Shape("length then coding", request(_HIDDEN_LENGTH, _CHUNKED, body=chunks(one) + _HIDDEN), (204,), (one,)),
        Shape("coding then length", request(_CHUNKED, _HIDDEN_LENGTH, body=chunks(two) + _HIDDEN), (204,), (two,)),
        Shape("a length that ends within a chunk", request(b"Content-Length: 4", _CHUNKED, body=chunks(three) + _HIDDEN), (204,), (three,)),
        Shape("a coding that is empty and a length beyond it", request(_HIDDEN_LENGTH, _CHUNKED, body=b"0\r\n\r\n" + _HIDDEN), (200,)),
        Shape("a coding that is none, and a length", request(b"Transfer-Encoding: xchunked", _HIDDEN_LENGTH, body=_HIDDEN), (400,)),
        Shape("a coding in a folded line", request(b"X: y\r\n Transfer-Encoding: chunked", _HIDDEN_LENGTH, body=_HIDDEN), (400,)),
    ]  # fmt: skip


def _chunk_lines() -> list[Shape]:
    found = []
    for name, written, status in (
        ("a size that is no number", b"zz\r\nabc\r\n0\r\n\r\n", 400),
        ("a negative size", b"-3\r\nabc\r\n0\r\n\r\n", 400),
        ("a size with 0x", b"0x3\r\nabc\r\n0\r\n\r\n", 400),
        ("a size beyond 64 bits", b"FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", 400),
        ("the largest size of 64 bits", b"FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n", 408),
        ("no size", b"\r\nabc\r\n0\r\n\r\n", 400),
        ("a chunk longer than its size", b"3\r\nabcde\r\n0\r\n\r\n", 400),
        ("a chunk without its end", b"3\r\nabc0\r\n\r\n", 400),
        ("chunks with bare line feeds", b"3\nabc\n0\n\n", 400),
        ("a bare line feed in an extension", b"3;x\ny\r\nabc\r\n0\r\n\r\n", 400),
        ("an extension of 1 MB", b"3;" + b"x" * 1_000_000 + b"\r\nabc\r\n0\r\n\r\n", 400),
        ("extensions of half a MB together", (b"1;" + b"x" * 5000 + b"\r\na\r\n") * 100 + b"0\r\n\r\n", 400),
        ("a trailer of 1 MB", b"3\r\nabc\r\n0\r\nX: " + b"y" * 1_000_000 + b"\r\n\r\n", 400),
        ("ten thousand trailers", b"3\r\nabc\r\n0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n", 400),
    ):
        found.append(Shape(name, request(_CHUNKED, body=written), (status,)))
    one, two, three = _body("an extension"), _body("trailers"), _body("a blank after the size")
    size = b"%x" % len(one)
    found += [
        Shape("an extension", request(_CHUNKED, body=size + b";x=y\r\n" + one + b"\r\n0\r\n\r\n"), (204,), (one,)),
        Shape("trailers that look like headers", request(_CHUNKED, body=b"%x\r\n%b\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n" % (len(two), two)), (204,), (two,)),
        Shape("a blank after the size", request(_CHUNKED, body=b"%x \r\n%b\r\n0\r\n\r\n" % (len(three), three)), (204,), (three,)),
    ]  # fmt: skip
    return found


def _sized(name: str, status: int, *lines: bytes, **more: bytes) -> Shape:
    """A request whose only oddity is in its lines; stored where the status says so."""
    body = _body(name)
    sent = request(*lines, b"Content-Length: %d" % len(body), body=body, **more)
    return Shape(name, sent, (status,), (body,) if status == 204 else ())


def _heads() -> list[Shape]:
    feeds = _body("bare line feeds")
    whole = request(b"Content-Length: %d" % len(feeds), body=feeds)
    return [
        Shape("bare line feeds", whole.replace(b"\r\n", b"\n"), (204,), (feeds,)),
        Shape("bare carriage returns", whole.replace(b"\r\n", b"\r"), (400,)),
        _sized("a folded header", 400, b"X: a\r\n b"),
        _sized("a NUL in a header", 400, b"X: a\0b"),
        _sized("a NUL in a name", 400, b"X\0: a"),
        _sized("a carriage return in a header", 400, b"X: a\rContent-Length: 0"),
        _sized("Latin-1 in a header", 204, b"X: \xe9"),
        _sized("a header without a colon", 400, b"Foo"),
        _sized("a header without a name", 400, b": x"),
        _sized("a header of 100 kB", 431, b"X: " + b"y" * 100_000),
        _sized("ten headers of 10 kB", 431, *(b"X: " + b"y" * 10_000 for _ in range(10))),
        _sized("ten thousand headers", 431, *(b"X%d: y" % number for number in range(10_000))),
        _sized("101 headers", 431, *(b"X%d: y" % number for number in range(101))),
        _sized("a header of 10 kB", 204, b"X: " + b"y" * 10_000),
        _sized("two content types", 415, b"Content-Type: text/plain"),
        _sized("two hosts", 204, b"Host: y"),
        _sized("no host", 204, host=b""),
        _sized("an underscore for a hyphen", 204, b"Transfer_Encoding: chunked"),
        _sized("a connection that drops headers", 204, b"Connection: close, content-length"),
        _sized("an upgrade to HTTP/2", 204, b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"),
        Shape("a blank before the method", b" " + _HIDDEN, (400,)),
        Shape("a blank before the first header", _HIDDEN.replace(b"Host", b" Host"), (400,)),
    ]  # fmt: skip


def _targets() -> list[Shape]:
    hook = HOOK.encode()
    return [
        _sized("absolute form", 204, target=b"http://other.example" + hook),
        _sized("absolute form with a password", 204, target=b"https://u:p@other.example:1" + hook),
        _sized("authority form", 404, target=b"other.example:80"),
        _sized("asterisk form", 404, target=b"*"),
        _sized("a fragment", 204, target=hook + b"#x"),
        _sized("every slash percent-encoded", 400, target=hook.replace(b"/", b"%2f")),
        _sized("the secret's slash percent-encoded", 204, target=hook.replace(b"/" + _WITH_SECRET, b"%2F" + _WITH_SECRET)),
        _sized("an encoded slash at the end", 404, target=hook + b"%2f"),
        _sized("two slashes", 404, target=b"/" + hook),
        _sized("dot segments", 404, target=b"/x/.." + hook),
        _sized("encoded dot segments", 404, target=b"/x/%2e%2e" + hook),
        _sized("backslashes", 400, target=hook.replace(b"/", b"\\")),
        _sized("a blank in the path", 400, target=hook + b" x"),
        _sized("an escape that is none", 404, target=hook + b"%zz"),
        _sized("a NUL in the path", 400, target=hook + b"\0"),
        _sized("an encoded NUL in the path", 404, target=hook + b"%00"),
        _sized("an encoded line end in the path", 404, target=hook + b"%0d%0aX:%20y"),
        _sized("UTF-8 in the path", 404, target=hook + b"\xc3\xa9"),
        _sized("Latin-1 in the path", 400, target=hook + b"\xe9"),
        _sized("a path of 10 kB", 404, target=hook + b"x" * 10_000),
        _sized("a path of 1 MB", 431, target=hook + b"x" * 1_000_000),
        _sized("a query of 10 kB", 204, target=hook + b"?" + b"x" * 10_000),
    ]  # fmt: skip


def _methods_and_versions() -> list[Shape]:
    old, kept, expecting, other = (
        _body(name) for name in ("HTTP/1.0", "HTTP/1.0 kept alive", "continue", "another expectation")
    )
    hook = HOOK.encode()
    cohorts = f"/webhooks/amplitude/cohorts/daily/{COHORT_SECRET}".encode()
    return [
        _sized("TRACE", 405, method=b"TRACE"),
        _sized("CONNECT to the webhook", 405, method=b"CONNECT"),
        _sized("CONNECT to elsewhere", 404, method=b"CONNECT", target=b"other.example:443"),
        _sized("a method that nobody knows", 405, method=b"BREW"),
        _sized("post in small letters", 405, method=b"post"),
        _sized("a method of 10 kB", 405, method=b"B" * 10_000),
        _sized("HTTP/1.2", 400, version=b"HTTP/1.2"),
        _sized("HTTP/2.0 in a line of HTTP/1", 400, version=b"HTTP/2.0"),
        Shape("HTTP/1.0", request(b"Content-Length: %d" % len(old), body=old, version=b"HTTP/1.0", host=b""), (204,), (old,)),
        Shape("HTTP/1.0 kept alive", request(b"Connection: keep-alive", b"Content-Length: %d" % len(kept), body=kept, version=b"HTTP/1.0", host=b""), (204,), (kept,)),
        Shape("HTTP/1.0 in chunks", request(_CHUNKED, body=chunks(SMUGGLED), version=b"HTTP/1.0", host=b""), (400,)),
        Shape("HTTP/1.0 without a length", request(body=SMUGGLED, version=b"HTTP/1.0", host=b""), (200,)),
        Shape("HTTP/0.9", b"GET " + hook + b"\r\n", (400,)),
        Shape("HTTP/0.9 with a body", b"POST " + hook + b"\r\n\r\n" + SMUGGLED, (400,)),
        Shape("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", ()),
        Shape("the hello of TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), (400,)),
        # RFC 9112, 6.3: without a length there is no body, and what follows is the next request, which is none.
        Shape("no length", request(body=SMUGGLED), (200, 400)),
        Shape("continue", request(b"Expect: 100-continue", b"Content-Length: %d" % len(expecting), body=expecting), (100, 204), (expecting,)),
        Shape("another expectation", request(b"Expect: 200-ok", b"Content-Length: %d" % len(other), body=other), (204,), (other,)),
        Shape("continue with too much", request(b"Expect: 100-continue", b"Content-Length: 70000"), (413,)),
        Shape("continue where nobody listens", request(b"Expect: 100-continue", b"Content-Length: 5", target=hook + b"x"), (404,)),
        Shape("a webhook's form for a cohort route", request(b"Content-Length: 5", body=b"a=bad", target=cohorts), (415,)),
    ]  # fmt: skip


def _packed() -> list[Shape]:
    """Bodies are stored as they come and never unpacked: a bomb is as large as it was sent."""
    bomb = gzip.compress(bytes(40_000_000), 9)
    return [
        Shape("a gzip bomb within the cap", request(b"Content-Encoding: gzip", b"Content-Length: %d" % len(bomb), body=bomb), (204,), (bomb,)),
        Shape("a gzip bomb over the cap", request(b"Content-Encoding: gzip", b"Content-Length: %d" % (2 * len(bomb)), body=bomb * 2), (413,)),
        Shape("gzip as a transfer coding", request(b"Transfer-Encoding: gzip, chunked", body=chunks(b"\x1f\x8bgzip")), (204,), (b"\x1f\x8bgzip",)),
    ]  # fmt: skip


def _in_a_row() -> list[Shape]:
    """Several requests on one connection, sent at once: answered one by one, up to the first after which it ends."""
    bodies = [b"data%%5Bid%%5D=row-%d" % number for number in range(50)]
    row = [request(b"Content-Length: %d" % len(body), body=body) for body in bodies]
    wrong = request(b"Content-Length: 3", body=b"a=b", target=b"/nothing")
    return [
        Shape("fifty requests at once", b"".join(row[:40]), (204,) * 40, tuple(bodies[:40])),
        Shape("one that is refused among others", b"".join([*row[40:43], wrong, _HIDDEN]), (204,) * 3 + (404,), tuple(bodies[40:43])),
        Shape("one that is no HTTP among others", b"".join([*row[43:46], b"junk\r\n\r\n", _HIDDEN]), (204,) * 3 + (400,), tuple(bodies[43:46])),
        Shape("one whose chunks are none among others", b"".join([*row[46:49], request(_CHUNKED, body=b"zz\r\n"), _HIDDEN]), (204,) * 3 + (400,), tuple(bodies[46:49])),
        Shape("a hundred checks of the URL", request(method=b"GET") * 100, (200,) * 100),
        Shape("empty lines between", b"\r\n\r\n" + request(b"Content-Length: %d" % len(bodies[49]), body=bodies[49]), (204,), (bodies[49],)),
    ]  # fmt: skip


SHAPES: Final = (
    *_lengths(), *_codings(), *_both(), *_chunk_lines(), *_heads(), *_targets(), *_methods_and_versions(), *_packed(), *_in_a_row(),
)  # fmt: skip
