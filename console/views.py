"""Templates to answers: everything shown passes through here, escaped, and without signs that would turn a text around.

Strict: a name that a template asks for and nobody gave is an error, not an empty place.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import HTMLResponse

from console.sessions import Session
from console.watch import Watch
from listwire.logs import address_hash
from listwire.masking import printable
from listwire.settings import Settings
from listwire.spoken import count, duration, moment, size

FOLDER = Path(__file__).parent
# What the pages show is at most that old, else they say so.
FRESH = 15.0


def environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(FOLDER / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    found.filters |= {
        "count": count,
        "duration": duration,
        "size": size,
        "ms": moment,
        "shown": printable,
        "hashed": address_hash,
        "coded": coded,
        "spaced": spaced,
    }
    found.globals["when"] = when
    return found


def coded(text: str) -> Markup:
    """What stands between backticks, as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part) for index, part in enumerate(parts)
    )


def spaced(name: str) -> str:
    """`connection_refused` as a person writes it."""
    return printable(name.replace("_", " ").capitalize())


def when(at: float | None, now: float) -> Markup:
    """Seconds since the epoch as a time of day and how long ago that is."""
    if at is None:
        return Markup("never")
    try:
        exact = datetime.fromtimestamp(at, UTC)
    except (OverflowError, ValueError, OSError):
        return escape(str(at))
    ago = now - at
    words = "now" if ago < 1 else f"{duration(ago)} ago"
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"), exact.strftime("%Y-%m-%d %H:%M:%S UTC"), words
    )


class Views:
    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.environment = environment()

    @property
    def settings(self) -> Settings:
        """As they are now: the console takes new connections over while it runs."""
        return self.watch.settings

    def page(self, request: Request, template: str, *, status: int = 200, **context: Any) -> HTMLResponse:
        """`template` without its ending. Pages for strangers get no session, and so no menu."""
        session: Session | None = request.scope.get("session")
        picture = self.watch.picture
        now = self.watch.clock.time()
        html = self.environment.get_template(f"{template}.html").render(
            csrf=session.csrf if session else "",
            known=session is not None,
            here=request.url.path,
            now=now,
            clock=datetime.fromtimestamp(picture.at or now, UTC).strftime("%H:%M:%S"),
            picture=picture,
            stale=picture.fault is None and picture.at is not None and now - picture.at > FRESH,
            **context,
        )
        return HTMLResponse(html, status)
