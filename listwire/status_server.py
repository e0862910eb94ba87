"""/metrics, /healthz and /readyz of a process that speaks no other HTTP: the workers and the exporter.

It only reports: it must never block the loop for longer than rendering the metrics takes, and never show a setting.
"""

from __future__ import annotations

import errno
from collections.abc import Awaitable, Callable

from aiohttp import web
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder

from listwire import logs
from listwire.errors import SettingsError

# Whether it is so, and a sentence for the person who asks.
Report = Callable[[], tuple[bool, str]]
Answer = Callable[[web.Request], Awaitable[web.Response]]

log = logs.get("listwire.status")


class StatusServer:
    """`port` None: `default_port`, or a free one where that is taken (said in the log); 0: any free one; set: that one or
    a SettingsError naming `section`.port.
    """

    def __init__(
        self,
        host: str,
        port: int | None,
        default_port: int,
        health: Report,
        ready: Report,
        *,
        registry: CollectorRegistry = REGISTRY,
        section: str = "worker",
    ) -> None:
        self.host = host
        self.wanted = port
        self.default_port = default_port
        self.section = section
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._app = web.Application()
        self._app.router.add_get("/metrics", _metrics(registry))
        self._app.router.add_get("/healthz", _report(health))
        self._app.router.add_get("/readyz", _report(ready))

    @property
    def port(self) -> int:
        """The port that is really listened on; 0 before start."""
        return self._port

    async def start(self) -> None:
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await self._listen(runner)
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        self._port = runner.addresses[0][1]
        log.info("status", url=f"http://{_shown(self.host)}:{self._port}/metrics")

    async def stop(self) -> None:
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> None:
        first = self.default_port if self.wanted is None else self.wanted
        try:
            await web.TCPSite(runner, self.host, first).start()
            return
        except OSError as fault:
            if fault.errno != errno.EADDRINUSE:
                raise SettingsError(
                    f"{self.section}.host = {self.host!r} with port {first} cannot be listened on: {fault.strerror or fault}. "
                    f'Write under [{self.section}]: host = "0.0.0.0"'
                ) from None
            if self.wanted is not None:
                raise SettingsError(
                    f"{self.section}.port = {first} is taken by another process. Write under [{self.section}]: port = 0 "
                    "for any free one, or leave it out."
                ) from None
        await web.TCPSite(runner, self.host, 0).start()
        log.warning("the default port is taken, another one is used", default=first, port=runner.addresses[0][1])


def _shown(host: str) -> str:
    return "127.0.0.1" if host in {"0.0.0.0", "::", ""} else f"[{host}]" if ":" in host else host


def _metrics(registry: CollectorRegistry) -> Answer:
    async def metrics(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    return metrics


def _report(report: Report) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        good, words = report()
        return web.Response(text=words + "\n", status=200 if good else 503)

    return answer
