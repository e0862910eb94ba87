"""The Faust app, made from settings by a factory: importing this reads no setting and touches no broker."""

from __future__ import annotations

import asyncio
import faulthandler
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import faust
import mode
from yarl import URL

from listwire.clock import Clock
from listwire.control import Pauses
from listwire.kafka import servers, tls
from listwire.settings.models import Kafka
from stream.connections import Connection
from stream.dead_letters import DeadLetters
from stream.fail_stop import EXIT_CODE, FailStop, end_process_after
from stream.lanes import Deliver, Lanes
from stream.pauses import PauseWatch
from stream.progress import Progress
from stream.transport import RunTransport
from stream.watchdog import Watchdog

# Records a fetch hands over at most; also the size that runs are cut to.
FETCHED_AT_ONCE = 1000
# Bytes that Kafka sends of one partition at once (a larger record comes whole). They wait in memory until its lane has room.
FETCHED_BYTES = 512 << 10
# Seconds for a stop, besides the attempt under way: a join that is under way, the last commit, closing connections.
STOP_WITHIN = 20.0
# Seconds between the last of our own work and the end of the process.
LINGER = 2.0


class App(faust.App):
    lanes: Lanes
    progress: Progress
    fail: FailStop
    letters: DeadLetters
    close_vendors: Callable[[], Any]
    watchdog: Watchdog
    pauses: PauseWatch

    def on_init_dependencies(self) -> list[Any]:
        # First, so that it runs before the consumer has joined anything.
        self.watchdog = Watchdog(self, loop=self.loop, beacon=self.beacon)
        return [self.watchdog, self.pauses, *super().on_init_dependencies()]

    def _create_directories(self) -> None:
        """None: there are no tables, and a container's file system may be read-only."""

    @property
    def exit_code(self) -> int:
        return EXIT_CODE if self.fail.fault is not None else int(self.crashed)

    async def on_stop(self) -> None:
        """Same order as at a rebalance: no new runs, the attempt under way ends, and only then Faust's last commit."""
        end_process_after(self.lanes.grace + STOP_WITHIN, lambda: self.exit_code)
        self.progress.ready = False
        if self._consumer is not None:
            self._consumer.stop_flow()
        self.flow_control.suspend()
        await self.lanes.close()
        await super().on_stop()
        await self.letters.stop()
        await self.close_vendors()

    async def on_shutdown(self) -> None:
        """All is done. What has not ended by now is aiokafka asking a Kafka that is away, deaf to its cancellation."""
        await super().on_shutdown()
        end_process_after(LINGER, lambda: self.exit_code)


@dataclass(frozen=True)
class Agent:
    """What one worker is made of. `limit`: records a delivery; `abreast`: deliveries of one partition that may be
    under way at once, of different keys. `grace`: seconds that an attempt under way may take at a
    rebalance or stop, so longer than the vendor's time-out.
    """

    worker: str
    group: str
    topic: str
    deliver: Deliver
    limit: int
    letters: DeadLetters
    close_vendors: Callable[[], Any]
    grace: float = 12.0
    abreast: int = 1
    connections: Mapping[str, Connection] = field(default_factory=dict)


def make_app(agent: Agent, kafka: Kafka, clock: Clock, progress: Progress, loop: asyncio.AbstractEventLoop) -> App:
    """The event loop must exist and be current. Each setting that is not Faust's default is there because of a fault seen
    with the default: events lost, a hang, or memory.
    """
    app = App(
        agent.group,
        loop=loop,
        broker=[URL(f"kafka://{server.strip()}") for server in servers(kafka).split(",")],
        **_credentials(kafka),
        broker_client_id=f"{agent.group}",
        store=URL("memory://"),
        web_enabled=False,
        topic_allow_declare=False,  # topics are provisioned by `listwire topics ensure`
        topic_disable_leader=True,
        table_standby_replicas=0,
        cython_optimizations=True,  # the default does not resume a paused partition until its queue is empty
        stream_wait_empty=False,  # True would block a stop or rebalance until the vendor is back
        stream_buffer_maxsize=64,  # runs, not records
        stream_processing_timeout=10 * 86_400,
        consumer_auto_offset_reset="earliest",
        broker_max_poll_interval=10 * 86_400,  # at the default, a long outage ends in a permanent silent hang
        broker_commit_interval=1.0,
        broker_commit_livelock_soft_timeout=10 * 86_400,  # unreliable (#166, #503, #629): the watchdog looks instead
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.5,
        broker_request_timeout=30.0,
        broker_rebalance_timeout=60.0,
        broker_max_poll_records=FETCHED_AT_ONCE,
        consumer_max_fetch_size=FETCHED_BYTES,
        worker_redirect_stdouts=False,
    )
    app.transport = RunTransport(app.conf.broker, app, loop=loop)
    app.progress = progress
    app.fail = FailStop(app)
    app.letters = agent.letters
    app.close_vendors = agent.close_vendors
    app.pauses = PauseWatch(Pauses(kafka), agent.connections, loop=loop)
    app.lanes = Lanes(
        agent.worker,
        agent.deliver,
        app.fail,
        limit=agent.limit,
        abreast=agent.abreast,
        grace=agent.grace,
        moved=progress.moved,
    )
    topic = app.topic(agent.topic, key_serializer="raw", value_serializer="records")
    app.agent(topic, name=f"{agent.group}.lanes")(into_lanes(app))
    app.finalize()
    return app


def into_lanes(app: App) -> Callable[[Any], Any]:
    """The agent: puts each run into its partition's lane and goes on, never waiting."""

    async def lanes(stream: Any) -> None:
        try:
            async for event in stream.noack().events():
                message = event.message
                app.lanes.put(message.tp, event.value, event.ack, app.consumer._committed_offset[message.tp])
        except Exception as fault:
            app.lanes.fail(fault)
            await asyncio.Event().wait()  # Faust would restart the agent and go on behind the hole

    return lanes


def _credentials(kafka: Kafka) -> dict[str, Any]:
    context = tls(kafka)
    if kafka.security_protocol.startswith("SASL"):
        password = kafka.password
        return {
            "broker_credentials": faust.SASLCredentials(
                username=kafka.sasl_username,
                password=password.get_secret_value() if password else None,
                mechanism=kafka.sasl_mechanism,
                ssl_context=context,
            )
        }
    return {"broker_credentials": faust.SSLCredentials(context=context)} if context else {}


class Worker(mode.Worker):
    """mode's worker rather than Faust's: no banner, no spinner, no working directory, and our own logging."""

    async def on_start(self) -> None:
        self.services[0].in_worker = True
        await super().on_start()

    def _on_sigusr1(self) -> None:
        """Where everything stands. mode would print all local variables beside it, keys and addresses among them."""
        faulthandler.dump_traceback(all_threads=True)

    def _on_sigusr2(self) -> None:
        """Mode would stop the process in a debugger, for whoever sends the signal."""
        self._on_sigusr1()
