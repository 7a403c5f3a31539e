"""The demo from start to end: stack, monitor, model server, alerts, and the reckoning."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError
from driftline.cli.connection import connect_redis, load_settings
from driftline.demo import reconciliation as ledger
from driftline.demo import verification as audit
from driftline.demo.child_process import ChildProcess
from driftline.demo.monthly_errors import ErrorRates, Month, by_month, error_rates
from driftline.demo.retrain_events import counts
from driftline.demo.scenario import (
    BROKEN_FEATURE,
    FACTORY,
    INCIDENT,
    MODEL,
    RETRAIN_DECISION,
    RETRAIN_GATE,
)
from driftline.demo.screen import Screen
from driftline.demo.server_messages import Done, Progress, Ready, ServerMessage, VersionChanged
from driftline.stack import LocalStack, ServerStartError
from driftline.stack.temporary_folder import temporary_folder
from driftline.topics import topic_registry
from driftline.topics.topic_decoder import TopicDecoder
from driftline.topics.topic_reader import TopicReader
from producer.routing import topic_names
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from stream_monitor.settings import Settings
from trainer.contracts import RetrainEvent
from trainer.registry.registry import REGISTRY_FOLDER

OWN_PREFIX: Final = "driftline"
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
"""The model is small, and the monitor wants a core."""
_DECODER: Final[msgspec.json.Decoder[ServerMessage]] = msgspec.json.Decoder(ServerMessage)


class DemoResult(NamedTuple):
    """What the demo found: the summary, where something is missing, and the year by month."""

    summary: dict[str, Any]
    lost: ledger.MissingRecords
    months: list[Month]
    errors: ErrorRates


class DemoRun:
    """A running demo: its processes, and the alerts as they come."""

    def __init__(self, settings: Settings, screen: Screen, began: float) -> None:
        self.settings, self.screen, self._began = settings, screen, began
        self.first_alert_s: float | None = None
        self.ready = False
        self.written: ledger.ServerCounts | None = None
        self._seen: set[str] = set()
        self.children: dict[str, ChildProcess] = {}
        client, names = settings.kafka.client(), topic_names(settings.topics.prefix)
        self._alerts = TopicReader(client, names.alerts)
        self._retrains = TopicReader(client, names.retrain)
        self._alert_of = TopicDecoder(names.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._retrain_of = TopicDecoder(names.retrain, RetrainEvent)

    def close(self) -> None:
        """Stop the processes, last started first."""
        self._alerts.close()
        self._retrains.close()
        for child in reversed(self.children.values()):
            child.stop()

    def elapsed_s(self) -> float:
        """Since the start of the command."""
        return time.monotonic() - self._began

    def poll(self) -> None:
        """Show what happened since the last turn; fail if a process has."""
        for record in self._alerts.poll(0.1):
            alert = self._alert_of.of(record)
            if alert is not None and self._is_new(alert.alert_id):
                if self.first_alert_s is None and alert.kind != "coverage":
                    self.first_alert_s = self.elapsed_s()
                self.screen.alert(alert, self.elapsed_s())
        for record in self._retrains.poll(0):
            event = self._retrain_of.of(record)
            if event is not None and self._is_new(event.id):
                self.screen.retrain(event, self.elapsed_s())
        for child in self.children.values():
            for line in child.new_lines():
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
                    f"Model     {MODEL}: trained on {n:,} flights, wrong in {error:.1%} of those "
                    "it had not seen"
                )
            case VersionChanged(version=version, event_time_ms=now):
                moment = datetime.fromtimestamp(now / 1000, UTC)
                self.screen.print_line(f"          {moment:%d %b %H:%M}  version {version} answers")
            case Progress(done=done, of=of, event_time_ms=now):
                self.screen.progress(done, of, now)
            case Done(written=written):
                self.written = written


def run(screen: Screen, *, seconds: float, keep: bool, began: float) -> DemoResult:
    """Play the year in ``seconds``; ``keep`` leaves the stack running until Ctrl-C.

    ``began`` is ``time.monotonic()`` at the start of the command.

    Raises:
        CommandError: something did not start, or ended that should not have.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            stack = cleanup.enter_context(LocalStack.start())
        except ServerStartError as failed:
            raise CommandError(
                "the local stack did not come up", why=str(failed), code=EXIT_UNREACHABLE
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
        screen.print_line(
            f"Incident  {INCIDENT[0]:%d %b} to {INCIDENT[1]:%d %b}: {BROKEN_FEATURE} comes in "
            "degrees Celsius, and nobody tells the monitor"
        )
        while not demo_run.ready:
            demo_run.poll()
        # Not before: three processes that import at once would make a person wait.
        demo_run.children["trainer"] = start_trainer(settings, environment, folder, data_dir)
        while demo_run.written is None:
            demo_run.poll()
        screen.close()
        result = verify(demo_run, demo_run.written, stack.broker, data_dir)
        if keep:
            _wait_for_ctrl_c(demo_run, settings)
    return result


def _prefix() -> str:
    """In a cluster that belongs to somebody the demo's topics are its own, and are removed."""
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or os.environ.get("REDIS_URL")
    return f"{OWN_PREFIX}-demo-{secrets.token_hex(4)}" if external else OWN_PREFIX


def _delete_topics_and_keys(settings: Settings, topics: list[str]) -> None:
    """Remove the demo's topics and keys from servers that stay."""
    topic_registry.delete_topics(settings.kafka.client(), topics)
    redis = connect_redis(settings)
    topic, prefix = settings.topics.events, settings.topics.prefix
    for pattern in (f"driftline:{{{topic}:*", f"{prefix}:window:*", f"{prefix}:performance:*"):
        for key in redis.scan_iter(match=pattern, count=1_000):
            redis.delete(key)
    redis.close()


@contextlib.contextmanager
def running_demo(settings: Settings, screen: Screen, began: float) -> Iterator[DemoRun]:
    """A `DemoRun` whose processes are stopped at the end, whatever happens."""
    demo_run = DemoRun(settings, screen, began)
    try:
        yield demo_run
    finally:
        screen.close()
        demo_run.close()


def start_serving(
    settings: Settings, environment: Mapping[str, str], folder: Path, data_dir: Path, seconds: float
) -> dict[str, ChildProcess]:
    """The processes that are there from the first moment: the monitor, and a model server."""
    place = _connection_arguments(settings)
    place += ["--redis-url", settings.redis.url]
    server = [*place, "--data-dir", str(data_dir), "--seconds", str(seconds)]
    monitor = ["monitor", *place, "--web-port", "0"]
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
    """The trainer, which reads the alerts from their beginning, whenever it comes."""
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
        "DRIFTLINE_TRAINER__POLICY": json.dumps(RETRAIN_DECISION),
        "DRIFTLINE_TRAINER__GATE": json.dumps(RETRAIN_GATE),
    }
    return ChildProcess(
        "trainer", "driftline", arguments, {**environment, **ONE_THREAD, **trainer}, folder
    )


def _connection_arguments(settings: Settings) -> list[str]:
    return [
        "--bootstrap-servers",
        settings.kafka.bootstrap_servers,
        "--prefix",
        settings.topics.prefix,
    ]


def verify(
    demo_run: DemoRun, written: ledger.ServerCounts, broker: str, data_dir: Path
) -> DemoResult:
    """Read back what is there, and compare."""
    settings = demo_run.settings
    client, topics = settings.kafka.client(), settings.topics
    try:
        jobs = audit.read_retrains(client, topic_names(topics.prefix).retrain)
    except audit.StalledError as stalled:
        raise _stalled(demo_run, "trainer", stalled) from stalled
    log = audit.read_event_topic(client, topics.events, written)
    redis = connect_redis(settings)
    try:
        state = audit.wait_until_processed(redis, topics.events, log.ends, demo_run.poll)
    except audit.StalledError as stalled:
        raise _stalled(demo_run, "monitor", stalled) from stalled
    finally:
        redis.close()
    demo_run.poll()
    outcome = audit.read_published(client, topics.alerts, topics.dead_letters, state)
    alerts = ledger.unique_alerts(outcome.alerts)
    n_letters = len(outcome.dead_letters)
    lost = ledger.count_missing(written, log, state, len(alerts), n_letters)
    flights = audit.score_with_first_version(log, data_dir / REGISTRY_FOLDER)
    errors = error_rates(flights)
    seconds = ledger.Seconds(demo_run.first_alert_s, demo_run.elapsed_s())
    summary = ledger.summary(
        broker, log, state.values(), alerts, n_letters, lost, counts(jobs), errors, seconds
    )
    return DemoResult(summary, lost, by_month(flights), errors)


def _stalled(demo_run: DemoRun, name: str, stalled: audit.StalledError) -> CommandError:
    child = demo_run.children[name]
    return CommandError(
        f"the {name} is stuck", where=str(child.log), why=f"{stalled}\n{child.tail()}"
    )


def _wait_for_ctrl_c(demo_run: DemoRun, settings: Settings) -> None:
    demo_run.screen.print_line(
        f"Kafka {settings.kafka.bootstrap_servers} and {settings.redis.url} stay; Ctrl-C stops"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            demo_run.poll()
