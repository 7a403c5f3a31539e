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

from driftline import topic_registry
from driftline.commands.connection import connect_redis, load_settings
from driftline.commands.failure import UNREACHABLE, Failure
from driftline.demo import audit, ledger
from driftline.demo.children import Child
from driftline.demo.comparison import ErrorRates, Month, by_month, error_rates
from driftline.demo.lines import Done, Line, Progress, Ready, Swapped
from driftline.demo.retrains import counts
from driftline.demo.scenario import (
    BROKEN_FEATURE,
    FACTORY,
    INCIDENT,
    MODEL,
    RETRAIN_DECISION,
    RETRAIN_GATE,
)
from driftline.demo.screen import Screen
from driftline.reading import TopicReader
from driftline.stack import LocalStack, ServerFailed
from driftline.stack.folder import own_folder
from driftline.topic_values import TopicValues
from producer.routing import topic_names
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from stream_monitor.settings import Settings
from trainer.contracts import RetrainEvent
from trainer.registry.registry import FOLDER as REGISTRY_FOLDER

OWN_PREFIX: Final = "driftline"
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1"}
"""The model is small, and the monitor wants a core."""
_LINES: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Result(NamedTuple):
    """What the demo found: the summary, where something is missing, and the year by month."""

    summary: dict[str, Any]
    lost: ledger.Loss
    months: list[Month]
    errors: ErrorRates


class Play:
    """A running demo: its processes, and the alerts as they come."""

    def __init__(self, settings: Settings, screen: Screen, began: float) -> None:
        self.settings, self.screen, self._began = settings, screen, began
        self.first_alert_s: float | None = None
        self.ready = False
        self.written: ledger.Written | None = None
        self._seen: set[str] = set()
        self.children: dict[str, Child] = {}
        client, names = settings.kafka.client(), topic_names(settings.topics.prefix)
        self._alerts = TopicReader(client, names.alerts)
        self._retrains = TopicReader(client, names.retrain)
        self._alert_of = TopicValues(names.alerts, DriftAlert, kind=ALERT_CE_TYPE)
        self._retrain_of = TopicValues(names.retrain, RetrainEvent)

    def close(self) -> None:
        """Stop the processes, last started first."""
        self._alerts.close()
        self._retrains.close()
        for child in reversed(self.children.values()):
            child.stop()

    def elapsed_s(self) -> float:
        """Since the start of the command."""
        return time.monotonic() - self._began

    def turn(self) -> None:
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
                self._hear(_LINES.decode(line))
            ended = child.exit_code
            if ended is not None and not (child.name == "model-server" and self.written):
                raise Failure(
                    f"the {child.name} ended with exit code {ended}",
                    where=str(child.log),
                    why="\n" + child.tail(),
                )

    def _is_new(self, repeatable_id: str) -> bool:
        if repeatable_id in self._seen:
            return False
        self._seen.add(repeatable_id)
        return True

    def _hear(self, line: Line) -> None:
        match line:
            case Ready(trained_on=n, out_of_fold_error=error):
                self.ready = True
                self.screen.say(
                    f"Model     {MODEL}: trained on {n:,} flights, wrong in {error:.1%} of those "
                    "it had not seen"
                )
            case Swapped(version=version, event_time_ms=now):
                moment = datetime.fromtimestamp(now / 1000, UTC)
                self.screen.say(f"          {moment:%d %b %H:%M}  version {version} answers")
            case Progress(done=done, of=of, event_time_ms=now):
                self.screen.progress(done, of, now)
            case Done(written=written):
                self.written = written


def run(screen: Screen, *, seconds: float, keep: bool, began: float) -> Result:
    """Play the year in ``seconds``; ``keep`` leaves the stack running until Ctrl-C.

    ``began`` is ``time.monotonic()`` at the start of the command.

    Raises:
        Failure: something did not start, or ended that should not have.
    """
    with contextlib.ExitStack() as cleanup:
        try:
            stack = cleanup.enter_context(LocalStack.start())
        except ServerFailed as failed:
            raise Failure(
                "the local stack did not come up", why=str(failed), code=UNREACHABLE
            ) from failed
        for line in stack.describe():
            screen.say(line)
        settings = load_settings(
            bootstrap_servers=stack.bootstrap_servers, redis_url=stack.redis_url, prefix=_prefix()
        )
        client = settings.kafka.client()
        topics = topic_registry.load_registry(settings.topics.prefix)
        topic_registry.create_topics(client, topics)
        if settings.topics.prefix != OWN_PREFIX:
            cleanup.callback(_leave_no_trace, settings, [topic.name for topic in topics])
        folder = cleanup.enter_context(own_folder("demo", stays_after_failure=True))
        play = cleanup.enter_context(playing(settings, screen, began))
        home = folder / "trainer"
        environment = stack.settings_env()
        play.children |= start_serving(settings, environment, folder, home, seconds)
        screen.say(
            f"Incident  {INCIDENT[0]:%d %b} to {INCIDENT[1]:%d %b}: {BROKEN_FEATURE} comes in "
            "degrees Celsius, and nobody tells the monitor"
        )
        while not play.ready:
            play.turn()
        # Not before: three processes that import at once would make a person wait.
        play.children["trainer"] = start_trainer(settings, environment, folder, home)
        while play.written is None:
            play.turn()
        screen.close()
        result = reckon(play, play.written, stack.broker, home)
        if keep:
            _wait_for_ctrl_c(play, settings)
    return result


def _prefix() -> str:
    """In a cluster that belongs to somebody the demo's topics are its own, and are removed."""
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or os.environ.get("REDIS_URL")
    return f"{OWN_PREFIX}-demo-{secrets.token_hex(4)}" if external else OWN_PREFIX


def _leave_no_trace(settings: Settings, topics: list[str]) -> None:
    """Remove the demo's topics and keys from servers that stay."""
    topic_registry.delete_topics(settings.kafka.client(), topics)
    redis = connect_redis(settings)
    topic, prefix = settings.topics.events, settings.topics.prefix
    for pattern in (f"driftline:{{{topic}:*", f"{prefix}:window:*", f"{prefix}:performance:*"):
        for key in redis.scan_iter(match=pattern, count=1_000):
            redis.delete(key)
    redis.close()


@contextlib.contextmanager
def playing(settings: Settings, screen: Screen, began: float) -> Iterator[Play]:
    """A `Play` whose processes are stopped at the end, whatever happens."""
    play = Play(settings, screen, began)
    try:
        yield play
    finally:
        screen.close()
        play.close()


def start_serving(
    settings: Settings, environment: Mapping[str, str], folder: Path, home: Path, seconds: float
) -> dict[str, Child]:
    """The processes that are there from the first moment: the monitor, and a model server."""
    place = _place(settings)
    place += ["--redis-url", settings.redis.url]
    server = [*place, "--home", str(home), "--seconds", str(seconds)]
    monitor = ["monitor", *place, "--web-port", "0"]
    limited = {**environment, **ONE_THREAD}
    return {
        "model-server": Child("model-server", "driftline.demo.server", server, limited, folder),
        "monitor": Child("monitor", "driftline", monitor, limited, folder),
    }


def start_trainer(
    settings: Settings, environment: Mapping[str, str], folder: Path, home: Path
) -> Child:
    """The trainer, which reads the alerts from their beginning, whenever it comes."""
    arguments = [
        "train", *_place(settings), "--home", str(home),
        "--model", MODEL, "--factory", FACTORY,
    ]  # fmt: skip
    trainer = {
        "DRIFTLINE_TRAINER__DECISION": json.dumps(RETRAIN_DECISION),
        "DRIFTLINE_TRAINER__GATE": json.dumps(RETRAIN_GATE),
    }
    return Child(
        "trainer", "driftline", arguments, {**environment, **ONE_THREAD, **trainer}, folder
    )


def _place(settings: Settings) -> list[str]:
    return [
        "--bootstrap-servers", settings.kafka.bootstrap_servers,
        "--prefix", settings.topics.prefix,
    ]  # fmt: skip


def reckon(play: Play, written: ledger.Written, broker: str, home: Path) -> Result:
    """Read back what is there, and compare."""
    settings = play.settings
    client, topics = settings.kafka.client(), settings.topics
    try:
        jobs = audit.read_retrains(client, topic_names(topics.prefix).retrain)
    except audit.Stuck as stuck:
        raise _stuck(play, "trainer", stuck) from stuck
    log = audit.read_log(client, topics.events, written)
    redis = connect_redis(settings)
    try:
        state = audit.wait_until_processed(redis, topics.events, log.ends, play.turn)
    except audit.Stuck as stuck:
        raise _stuck(play, "monitor", stuck) from stuck
    finally:
        redis.close()
    play.turn()
    outcome = audit.read_outcome(client, topics.alerts, topics.dead_letters, state)
    alerts = ledger.unique(outcome.alerts)
    n_letters = len(outcome.dead_letters)
    lost = ledger.loss(written, log, state, len(alerts), n_letters)
    flights = audit.compare(log, home / REGISTRY_FOLDER)
    errors = error_rates(flights)
    seconds = ledger.Seconds(play.first_alert_s, play.elapsed_s())
    summary = ledger.summary(
        broker, log, state.values(), alerts, n_letters, lost, counts(jobs), errors, seconds
    )
    return Result(summary, lost, by_month(flights), errors)


def _stuck(play: Play, name: str, stuck: audit.Stuck) -> Failure:
    child = play.children[name]
    return Failure(f"the {name} is stuck", where=str(child.log), why=f"{stuck}\n{child.tail()}")


def _wait_for_ctrl_c(play: Play, settings: Settings) -> None:
    play.screen.say(
        f"Kafka {settings.kafka.bootstrap_servers} and {settings.redis.url} stay; Ctrl-C stops"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            play.turn()
