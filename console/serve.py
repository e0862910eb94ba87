"""`listwire console`: an address, a token, granian. The token is shown on a terminal only, and only where it was made here.

Must never listen beyond this machine without a token from the settings.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import secrets
import signal
import socket
from collections.abc import Callable

from console.app import make_app
from console.sessions import Doorkeeper
from console.watch import Watch
from listwire import logs
from listwire.clock import SystemClock
from listwire.errors import SettingsError
from listwire.kafka import servers
from listwire.redaction import for_settings
from listwire.settings import Settings
from listwire.settings_watch import SettingsWatch

DEFAULT_PORT = 8084
SHORT = 16
HEADERS_WITHIN_MS = 5_000

log = logs.get("listwire.console")


def token_of(settings: Settings, host: str, *, terminal: bool) -> tuple[str, bool]:
    """The token, and whether it was made here. Raises SettingsError where there is none and nobody to show one to."""
    given = settings.console.login
    if given is not None:
        if len(given.get_secret_value()) < SHORT:
            log.warning("console.token is short; a longer one cannot be guessed", characters=SHORT)
        return given.get_secret_value(), False
    write = 'Write under [console]: token = "a long random text", or token_file = "…".'
    if not _this_machine_alone(host):
        raise SettingsError(f"console.token is missing, and console.host = {host!r} is reached from elsewhere. {write}")
    if not terminal:
        raise SettingsError(f"console.token is missing, and here is no terminal to show a new one on. {write}")
    return secrets.token_urlsafe(24), True


def _this_machine_alone(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _hide_secrets_of(settings: Settings) -> None:
    """The logs must not show those either that came after the start."""
    logs.configure("console", for_settings(settings), level=settings.logs.level, style=settings.logs.format)


def free_port(host: str, port: int | None) -> int:
    """The port to take; by default `DEFAULT_PORT`, or a free one. granian would share a taken one, so this asks first."""
    wanted = DEFAULT_PORT if port is None else port
    try:
        return _bound(host, wanted)
    except OSError as fault:
        if fault.errno != errno.EADDRINUSE:
            raise SettingsError(
                f"console.host = {host!r} with port {wanted} cannot be listened on: {fault.strerror or fault}. "
                'Write under [console]: host = "127.0.0.1"'
            ) from None
        if port is not None:
            raise SettingsError(
                f"console.port = {port} is taken by another process. Write under [console]: port = 0 for any free one, "
                "or leave it out."
            ) from None
    found = _bound(host, 0)
    log.warning("the default port is taken, another one is used", default=DEFAULT_PORT, port=found)
    return found


def _bound(host: str, port: int) -> int:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        return int(probe.getsockname()[1])


async def serve(
    settings: Settings, host: str, port: int | None, *, terminal: bool, show: Callable[[str], None]
) -> None:
    """Until SIGTERM or SIGINT. `show` writes to the terminal, never to a log. Raises SettingsError instead of starting."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    servers(settings.kafka)
    token, made_here = token_of(settings, host, terminal=terminal)
    taken = free_port(host, port)
    doorkeeper = Doorkeeper(token, SystemClock())
    watch = Watch(settings)
    watch.adopted = _hide_secrets_of
    watch.freshness = SettingsWatch(settings, changed=watch.adopt).start()
    server = Server(
        make_app(settings, doorkeeper, watch, port=taken),
        address=host,
        port=taken,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=HEADERS_WITHIN_MS),
        websockets=False,
        log_enabled=False,
    )
    url = f"http://{f'[{host}]' if ':' in host else host}:{taken}"
    log.info("the console listens", url=url, port=taken)
    if terminal:
        show(f"The console: {settings.console.public_url or url}")
    if made_here:
        show(f"Open it once with  {url}/login/{doorkeeper.new_link()}")
        show(f"or with the token  {token}  until it stops; console.token in the settings makes a lasting one.")
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    await server.serve()
    watch.freshness.stop()
