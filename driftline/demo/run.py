"""The demo from start to end: stack, monitor, model server, alerts, and the reckoning."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from driftline import topic_registry
from driftline.commands.connection import connect_redis, load_settings
from driftline.commands.failure import UNREACHABLE, Failure
from driftline.demo import audit, ledger
from driftline.demo.children import Child
from driftline.demo.lines import Done, Line, Progress, Ready
from driftline.demo.scenario import BROKEN_FEATURE, INCIDENT, MODEL
from driftline.demo.screen import Screen
from driftline.reading import TopicReader
from driftline.stack import LocalStack, ServerFailed
from stream_monitor.contracts import DriftAlert
from stream_monitor.settings import Settings

OWN_PREFIX: Final = "driftline"
_LINES: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Result(NamedTuple):
    """What the demo found: the summary, and where something is missing."""

    summary: dict[str, Any]
    lost: ledger.Loss


class Play:
    """A running demo: its processes, and the alerts as they come."""

    def __init__(self, settings: Settings, screen: Screen, began: float) -> None:
        self.settings, self.screen, self._began = settings, screen, began
        self.first_alert_s: float | None = None
        self.written: ledger.Written | None = None
        self._seen: set[str] = set()
        self.children: dict[str, Child] = {}
        self._reader = TopicReader(settings.kafka.client(), settings.topics.alerts)

    def close(self) -> None:
        """Stop the processes, last started first."""
        self._reader.close()
        for child in reversed(self.children.values()):
            child.stop()

    def elapsed_s(self) -> float:
        """Since the start of the command."""
        return time.monotonic() - self._began

    def turn(self) -> None:
        """Show what happened since the last turn; fail if a process has."""
        for record in self._reader.poll(0.1):
            alert = msgspec.json.decode(record.value or b"", type=DriftAlert)
            if alert.alert_id not in self._seen:
                self._seen.add(alert.alert_id)
                if self.first_alert_s is None:
                    self.first_alert_s = self.elapsed_s()
                self.screen.alert(alert, self.elapsed_s())
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

    def _hear(self, line: Line) -> None:
        match line:
            case Ready(trained_on=n, out_of_fold_error=error):
                self.screen.say(
                    f"Model     {MODEL}: trained on {n:,} flights, wrong in {error:.1%} of those "
                    "it had not seen"
                )
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
        folder = cleanup.enter_context(_log_folder())
        play = cleanup.enter_context(playing(settings, screen, began))
        play.children |= start_children(settings, stack.settings_env(), folder, seconds)
        screen.say(
            f"Incident  {INCIDENT[0]:%d %b} to {INCIDENT[1]:%d %b}: {BROKEN_FEATURE} comes in "
            "degrees Celsius, and nobody tells the monitor"
        )
        while play.written is None:
            play.turn()
        screen.close()
        result = reckon(play, play.written, stack.broker)
        if keep:
            _wait_for_ctrl_c(play, settings)
    return result


@contextlib.contextmanager
def _log_folder() -> Iterator[Path]:
    """Where the processes' logs go; it stays when something failed, for people to look."""
    folder = Path(tempfile.mkdtemp(prefix="driftline-demo-"))
    yield folder
    shutil.rmtree(folder)


def _prefix() -> str:
    """In a cluster that belongs to somebody the demo's topics are its own, and are removed."""
    external = os.environ.get("KAFKA_BOOTSTRAP_SERVERS") or os.environ.get("REDIS_URL")
    return f"{OWN_PREFIX}-demo-{secrets.token_hex(4)}" if external else OWN_PREFIX


def _leave_no_trace(settings: Settings, topics: list[str]) -> None:
    """Remove the demo's topics and keys from servers that stay."""
    topic_registry.delete_topics(settings.kafka.client(), topics)
    redis = connect_redis(settings)
    topic, prefix = settings.topics.events, settings.topics.prefix
    for pattern in (f"driftline:{{{topic}:*", f"{prefix}:window:*"):
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


def start_children(
    settings: Settings, environment: Mapping[str, str], folder: Path, seconds: float
) -> dict[str, Child]:
    """The processes of production: the monitor and a model server.  The trainer joins them here."""
    place = [
        "--bootstrap-servers", settings.kafka.bootstrap_servers,
        "--prefix", settings.topics.prefix,
    ]  # fmt: skip
    commands = {
        "model-server": [
            "-m", "driftline.demo.server", *place, "--seconds", str(seconds),
        ],
        "monitor": [
            "-m", "driftline", "monitor", *place, "--redis-url", settings.redis.url,
            "--web-port", "0",
        ],
    }  # fmt: skip
    one_thread = {"OMP_NUM_THREADS": "1"}  # the model is small, and the monitor wants a core
    return {
        name: Child(name, arguments, {**environment, **one_thread}, folder)
        for name, arguments in commands.items()
    }


def reckon(play: Play, written: ledger.Written, broker: str) -> Result:
    """Read back what is there, and compare."""
    settings = play.settings
    client, topics = settings.kafka.client(), settings.topics
    log = audit.read_log(client, topics.events, written)
    redis = connect_redis(settings)
    try:
        state = audit.wait_until_processed(redis, topics.events, log.ends, play.turn)
    except audit.Stuck as stuck:
        monitor = play.children["monitor"]
        raise Failure(
            "the monitor is stuck", where=str(monitor.log), why=f"{stuck}\n{monitor.tail()}"
        ) from stuck
    finally:
        redis.close()
    play.turn()
    outcome = audit.read_outcome(client, topics.alerts, topics.dead_letters, state)
    alerts = ledger.unique(outcome.alerts)
    n_letters = len(outcome.dead_letters)
    lost = ledger.loss(written, log, state, len(alerts), n_letters)
    seconds = ledger.Seconds(play.first_alert_s, play.elapsed_s())
    summary = ledger.summary(broker, log, state.values(), alerts, n_letters, lost, seconds)
    return Result(summary, lost)


def _wait_for_ctrl_c(play: Play, settings: Settings) -> None:
    play.screen.say(
        f"Kafka {settings.kafka.bootstrap_servers} and {settings.redis.url} stay; Ctrl-C stops"
    )
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            play.turn()
