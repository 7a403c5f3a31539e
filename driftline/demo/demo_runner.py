"""Run the demo: start all processes, show alerts and retrains, verify the result."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError
from driftline.cli.connection import connect_redis, load_settings
from driftline.demo import reconciliation, verification
from driftline.demo.monthly_errors import ErrorRates, Month, by_month, error_rates
from driftline.demo.reconciliation import (
    Done,
    Progress,
    Ready,
    ServerMessage,
    VersionChanged,
    counts,
)
from driftline.demo.scenario import (
    BROKEN_FEATURE,
    FACTORY,
    INCIDENT,
    MODEL,
    RETRAIN_DECISION,
    RETRAIN_GATE,
)
from driftline.demo.screen import Screen
from driftline.stack import LocalStack, ServerStartError
from driftline.stack.child_process import ChildProcess
from driftline.stack.server_process import free_port
from driftline.stack.temporary_folder import temporary_folder
from driftline.topics import topic_registry
from driftline.topics.topic_reader import TopicDecoder, TopicReader
from producer.routing import topic_names
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from stream_monitor.settings import Settings
from trainer.contracts import RetrainEvent
from trainer.registry.registry import REGISTRY_FOLDER

OWN_PREFIX: Final = "driftline"
DASHBOARD_PORT: Final = 8765
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
"""The model is small, and the monitor needs a core."""
_DECODER: Final[msgspec.json.Decoder[ServerMessage]] = msgspec.json.Decoder(ServerMessage)


class DemoResult(NamedTuple):
    """The result of the demo: the summary, the missing records, and the error rate by month."""

    summary: dict[str, Any]
    lost: reconciliation.MissingRecords
    months: list[Month]
    errors: ErrorRates


class DemoRun:
    """A running demo: its processes, its alerts and its retrains."""

    def __init__(self, settings: Settings, screen: Screen, began: float) -> None:
        self.settings, self.screen, self._began = settings, screen, began
        self.first_alert_s: float | None = None
        self.ready = False
        self.written: reconciliation.ServerCounts | None = None
        self._seen: set[str] = set()
        self.children: dict[str, ChildProcess] = {}
        client, names = settings.kafka.client(), topic_names(settings.topics.prefix)
        self._alerts = TopicReader(client, names.alerts)
        self._retrains = TopicReader(client, names.retrain)
        self._alerts_in = TopicDecoder(names.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._retrains_in = TopicDecoder(names.retrain, RetrainEvent)

    def close(self) -> None:
        """Stop the processes, in the reverse order of their start."""
        self._alerts.close()
        self._retrains.close()
        for child in reversed(self.children.values()):
            child.stop()

    def elapsed_s(self) -> float:
        """Seconds since the start of the command."""
        return time.monotonic() - self._began

    def poll(self) -> None:
        """Show the alerts and retrains since the last call.

        Raises:
            CommandError: one of the processes ended.
        """
        for alert in self._alerts_in.values(self._alerts.poll(0.1)):
            if self._is_new(alert.alert_id):
                if self.first_alert_s is None and alert.kind != "coverage":
                    self.first_alert_s = self.elapsed_s()
                self.screen.alert(alert, self.elapsed_s())
        for event in self._retrains_in.values(self._retrains.poll(0)):
            if self._is_new(event.id):
                self.screen.retrain(event, self.elapsed_s())
        for child in self.children.values():
            for line in child.new_lines():
                if child.name == "dashboard":  # its address, as soon as it answers
                    self.screen.print_line(line.decode().rstrip())
                else:
                    self._handle(_DECODER.decode(line))
            ended = child.exit_code
            if ended is not None and not (child.name == "model-server" and self.written):
                raise CommandError(
                    f"the {child.name} ended with exit code {ended}",
                    where=str(child.log),
                    why="\n" + child.tail(),
                )

    def _is_new(self, repeatable_id: str) -> bool:
        if repeatable_id in self._seen:
            return False
        self._seen.add(repeatable_id)
        return True

    def _handle(self, line: ServerMessage) -> None:
        match line:
            case Ready(trained_on=n, out_of_fold_error=error):
                self.ready = True
                self.screen.print_line(
                    f"Model     {MODEL}: trained on {n:,} flights; {error:.1%} of its predictions "
                    "for other flights are wrong"
                )
            case VersionChanged(version=version, event_time_ms=now):
                moment = datetime.fromtimestamp(now / 1000, UTC)
                self.screen.print_line(
                    f"          {moment:%d %b %H:%M}  version {version} is in service"
                )
            case Progress(done=done, of=of, event_time_ms=now):
                self.screen.progress(done, of, now)
            case Done(written=written):
                self.written = written


def run(
    screen: Screen,
    *,
    seconds: float,
    keep: bool,
    began: float,
    with_dashboard: bool,
    show: Callable[[DemoResult], None],
) -> DemoResult:
    """Replay the year in ``seconds``, and ``show`` the result.

    ``keep`` then leaves all processes running until Ctrl-C.  ``began`` is ``time.monotonic()`` at
    the start of the command.

    Raises:
        CommandError: a process did not start, ended too early, or stalled.
    """
    port = _dashboard_port() if with_dashboard else None
    with contextlib.ExitStack() as cleanup:
        try:
            stack = cleanup.enter_context(LocalStack.start())
        except ServerStartError as failed:
            raise CommandError(
                "the local Kafka and Redis did not start", why=str(failed), code=EXIT_UNREACHABLE
            ) from failed
        for line in stack.describe():
            screen.print_line(line)
        settings = load_settings(
            bootstrap_servers=stack.bootstrap_servers, redis_url=stack.redis_url, prefix=_prefix()
        )
        client = settings.kafka.client()
        topics = topic_registry.load_registry(settings.topics.prefix)
        topic_registry.create_topics(client, topics)
        if settings.topics.prefix != OWN_PREFIX:
            cleanup.callback(_delete_topics_and_keys, settings, [topic.name for topic in topics])
        folder = cleanup.enter_context(temporary_folder("demo", keep_on_failure=True))
        demo_run = cleanup.enter_context(running_demo(settings, screen, began))
        data_dir = folder / "trainer"
        environment = stack.monitor_environment()
        demo_run.children |= start_serving(settings, environment, folder, data_dir, seconds)
        if port is not None:
            demo_run.children["dashboard"] = start_dashboard(settings, environment, folder, port)
        screen.print_line(
            f"Incident  {INCIDENT[0]:%d %b} to {INCIDENT[1]:%d %b}: {BROKEN_FEATURE} is sent in °C "
            "instead of °F; the monitor does not know"
        )
        while not demo_run.ready:
            demo_run.poll()
        # Start the trainer later: three processes that import at once would delay the first alert.
        demo_run.children["trainer"] = start_trainer(settings, environment, folder, data_dir)
        while demo_run.written is None:
            demo_run.poll()
        screen.close()
        result = verify(demo_run, demo_run.written, stack.broker, data_dir)
        show(result)
        if keep:
            _wait_for_ctrl_c(demo_run, settings)
    return result


def _prefix() -> str:
    """The prefix of the demo's topics: a random one on external servers."""
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or os.environ.get("REDIS_URL")
    return f"{OWN_PREFIX}-demo-{secrets.token_hex(4)}" if external else OWN_PREFIX


def _delete_topics_and_keys(settings: Settings, topics: list[str]) -> None:
    """Delete the demo's topics and keys from external servers."""
    topic_registry.delete_topics(settings.kafka.client(), topics)
    redis = connect_redis(settings)
    topic, prefix = settings.topics.events, settings.topics.prefix
    for pattern in (f"driftline:{{{topic}:*", f"{prefix}:window:*", f"{prefix}:performance:*"):
        for key in redis.scan_iter(match=pattern, count=1_000):
            redis.delete(key)
    redis.close()


@contextlib.contextmanager
def running_demo(settings: Settings, screen: Screen, began: float) -> Iterator[DemoRun]:
    """A `DemoRun` whose processes are stopped at the end, also after an error."""
    demo_run = DemoRun(settings, screen, began)
    try:
        yield demo_run
    finally:
        screen.close()
        demo_run.close()


def start_serving(
    settings: Settings, environment: Mapping[str, str], folder: Path, data_dir: Path, seconds: float
) -> dict[str, ChildProcess]:
    """Start the model server and the monitor."""
    servers = _connection_arguments(settings)
    servers += ["--redis-url", settings.redis.url]
    server = [*servers, "--data-dir", str(data_dir), "--seconds", str(seconds)]
    monitor = ["monitor", *servers, "--web-port", "0"]
    limited = {**environment, **ONE_THREAD}
    return {
        "model-server": ChildProcess(
            "model-server", "driftline.demo.model_server", server, limited, folder
        ),
        "monitor": ChildProcess("monitor", "driftline", monitor, limited, folder),
    }


def start_trainer(
    settings: Settings, environment: Mapping[str, str], folder: Path, data_dir: Path
) -> ChildProcess:
    """Start the trainer; it reads the alerts from the beginning of their topic."""
    arguments = [
        "train",
        *_connection_arguments(settings),
        "--data-dir",
        str(data_dir),
        "--model",
        MODEL,
        "--factory",
        FACTORY,
    ]
    trainer = {
        "DRIFTLINE_TRAINER__MODE": "auto",
        "DRIFTLINE_TRAINER__POLICY": json.dumps(RETRAIN_DECISION),
        "DRIFTLINE_TRAINER__GATE": json.dumps(RETRAIN_GATE),
    }
    return ChildProcess(
        "trainer", "driftline", arguments, {**environment, **ONE_THREAD, **trainer}, folder
    )


def _dashboard_port() -> int:
    """The dashboard's own port, or a free one where it is in use."""
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", DASHBOARD_PORT))
        except OSError:
            return free_port()
    return DASHBOARD_PORT


def start_dashboard(
    settings: Settings, environment: Mapping[str, str], folder: Path, port: int
) -> ChildProcess:
    """Start the dashboard; it leaves the processor to the monitor and the trainer."""
    arguments = [
        "dashboard",
        *_connection_arguments(settings),
        "--redis-url",
        settings.redis.url,
        "--port",
        str(port),
    ]
    return ChildProcess(
        "dashboard", "driftline", arguments, {**environment, **ONE_THREAD}, folder, niceness=15
    )


def _connection_arguments(settings: Settings) -> list[str]:
    return [
        "--bootstrap-servers",
        settings.kafka.bootstrap_servers,
        "--prefix",
        settings.topics.prefix,
    ]


def verify(
    demo_run: DemoRun, written: reconciliation.ServerCounts, broker: str, data_dir: Path
) -> DemoResult:
    """Read the result back from Kafka and Redis, and compare it with ``written``.

    Raises:
        CommandError: the monitor or the trainer stalled.
    """
    settings = demo_run.settings
    client, topics = settings.kafka.client(), settings.topics
    log = reconciliation.EventTopicCounts()
    with TopicReader(client, topics.events) as reader:
        verification.read_event_topic(reader, log, lambda: log.holds(written))
        _wait_for_monitor(demo_run, log)  # its last alerts may start a retrain
        try:
            jobs = verification.read_retrains(client, topic_names(topics.prefix).retrain)
        except verification.StalledError as stalled:
            raise _stalled(demo_run, "trainer", stalled) from stalled
        verification.read_event_topic(reader, log, lambda: True)  # the retrains' model updates
        state = _wait_for_monitor(demo_run, log)
        verification.read_event_topic(reader, log, lambda: log.reaches(state))
    demo_run.poll()
    published = verification.read_published(client, topics.alerts, topics.dead_letters, state)
    alerts = reconciliation.unique_alerts(published.alerts)
    n_dead_letters = len(published.dead_letters)
    lost = reconciliation.count_missing(written, log, state, len(alerts), n_dead_letters)
    compared = verification.compare_policies(log, data_dir / REGISTRY_FOLDER)
    errors = error_rates(compared.flights)
    seconds = reconciliation.Seconds(demo_run.first_alert_s, demo_run.elapsed_s())
    retrains = {**counts(jobs), "scheduled": compared.scheduled_fits}
    summary = reconciliation.summary(
        broker, log, state.values(), alerts, n_dead_letters, lost, retrains, errors, seconds
    )
    return DemoResult(summary, lost, by_month(compared.flights), errors)


def _wait_for_monitor(
    demo_run: DemoRun, log: reconciliation.EventTopicCounts
) -> dict[int, reconciliation.PartitionCounts]:
    """Wait until the monitor has processed the records of ``log``; returns its state."""
    settings = demo_run.settings
    with contextlib.closing(connect_redis(settings)) as redis:
        try:
            return verification.wait_until_processed(
                redis, settings.topics.events, log.ends, demo_run.poll
            )
        except verification.StalledError as stalled:
            raise _stalled(demo_run, "monitor", stalled) from stalled


def _stalled(demo_run: DemoRun, name: str, stalled: verification.StalledError) -> CommandError:
    child = demo_run.children[name]
    return CommandError(
        f"the {name} stalled", where=str(child.log), why=f"{stalled}\n{child.tail()}"
    )


def _wait_for_ctrl_c(demo_run: DemoRun, settings: Settings) -> None:
    demo_run.screen.print_line(
        f"Kafka {settings.kafka.bootstrap_servers}, {settings.redis.url} and the dashboard keep "
        "running; Ctrl-C stops them"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            demo_run.poll()
