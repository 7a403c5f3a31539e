"""A dashboard on the real output of a monitor that ran in this process, without servers."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from typing import Any, Final

import httpx
import msgspec
import uvicorn

from driftline.dashboard.incident_page import Examples, IncidentView
from driftline.dashboard.observation import (
    Observation,
    PartitionPosition,
    ServerStatus,
    TrainerView,
)
from driftline.dashboard.observer import ModelDetail, Observer
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.server import address_of, listen
from driftline.dashboard.web_app import web_app
from driftline.dashboard.window_store import VersionWindows
from driftline.monitor_state.coverage_report import merged
from driftline.topics.events_around import EventAt
from producer.events import Event, InferenceEvent, Label
from stream_monitor.contracts import DriftAlert
from stream_monitor.settings import Settings
from stream_monitor.state.partition_state import (
    ALERT,
    PERFORMANCE,
    WINDOW,
    PartitionState,
    PartitionStateFactory,
)
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.performance import WindowPerformance
from stream_monitor.worker_heartbeat import WorkerHeartbeat
from tests.builders import batch_of, inference_event, record_of
from trainer.contracts import RetrainEvent

HOSTILE_MODEL: Final = "<script>alert(1)</script>'\"&/..%2f"
HOSTILE_FEATURE: Final = '"><img src=x onerror=alert(2)>'
HOSTILE_CATEGORY: Final = "</text></svg><script>alert(3)</script>"
START_MS: Final = 1_700_000_000_000 // 3_600_000 * 3_600_000
NOW_MS: Final = START_MS + 40 * 3_600_000
SETTINGS: Final[dict[str, Any]] = {
    "monitor": {"warm_up_events": 600, "warm_up_labels": 300},
    "budget": {"false_alerts": 1, "per_events": 20_000},
    "windows": {"size_ms": 600_000, "grace_ms": 60_000},
}


def drifting_log(model: str, feature: str, n_events: int = 3_000) -> Iterator[Event]:
    """Events of one model, half of them with a shift of ``feature``, and their labels."""
    rng = random.Random(7)  # noqa: S311
    for i in range(n_events):
        shift = 40.0 if i > n_events // 2 else 0.0
        score = min(1.0, max(0.0, rng.gauss(0.4, 0.1)))
        values: dict[str, Any] = {
            feature: rng.gauss(50 + shift, 10),
            "age": rng.gauss(40, 10),
            "plan": rng.choice((HOSTILE_CATEGORY, "free", "pro")),
        }
        time_ms = START_MS + 20_000 * i
        event = inference_event(f"e{i}", values, score, model=model, time_ms=time_ms)
        yield event
        yield Label(id=event.id, model=model, label=int(score > 0.4), time_ms=time_ms + 60_000)


class OfflineObserver(Observer):
    """An observer that observed once: a monitor's output on a log."""

    def __init__(self, state: PartitionState, seen: Observation, detail: ModelDetail) -> None:
        super().__init__(Settings(**SETTINGS))
        self.state, self.current, self._detail = state, seen, detail
        self.n_viewed = 0

    def detail(self, model: str, n_models: int = 1) -> ModelDetail:
        del model, n_models
        return self._detail

    def viewed(self) -> None:
        self.n_viewed += 1


def observe_log(model: str, feature: str, **changes: object) -> OfflineObserver:
    """An observer after a monitor read `drifting_log`; ``changes`` replace parts of what it saw."""
    settings = Settings(**SETTINGS)
    state = PartitionStateFactory(settings.monitor_spec(), "driftline").new("log", 0)
    alerts: list[DriftAlert] = []
    windows: list[ClosedWindow] = []
    performance: dict[tuple[str, int], WindowPerformance] = {}
    records = [
        record_of(i, event, getattr(event, "time_ms", 0))
        for i, event in enumerate(drifting_log(model, feature))
    ]
    for start in range(0, len(records), 500):
        result = state.observe(batch_of(records[start : start + 500], topic="log"))
        for name, blob in result.outbox.items():
            if name.startswith(ALERT):
                alerts.append(msgspec.json.decode(blob, type=DriftAlert))
            elif name.startswith(WINDOW):
                windows.append(msgspec.json.decode(blob, type=ClosedWindow))
            elif name.startswith(PERFORMANCE):
                figures = msgspec.json.decode(blob, type=WindowPerformance)
                performance[figures.version, figures.start_ms] = figures
    watched = state.monitor.models[model].versions["1"]
    detail = ModelDetail(
        {"1": watched.profile},
        [
            VersionWindows(
                "1", shadow=False, windows=windows, performance=list(performance.values())
            )
        ],
    )
    rows = [(name, row) for name, found in state.coverage().items() for row in found]
    seen = Observation(
        now_ms=NOW_MS,
        servers=[
            ServerStatus(name="Kafka", reachable=True, since_ms=START_MS),
            ServerStatus(name="Redis", reachable=True, since_ms=START_MS),
        ],
        partitions=[
            PartitionPosition(
                partition=0,
                next=len(records),
                end=len(records),
                events=3_000,
                dead_lettered=0,
                clock_ms=NOW_MS,
            )
        ],
        events_per_s=12.5,
        workers=[WorkerHeartbeat(member="a", host="h", pid=1, time_ms=NOW_MS, partitions=[0])],
        trainer=TrainerView(time_ms=NOW_MS, lag=0, jobs=0),
        alerts=alerts,
        retrains=[
            RetrainEvent(
                id=f"r{alert.alert_id}",
                job_id=f"j{alert.alert_id}",
                step="declined",
                model=model,
                champion="1",
                caused_by=alert.alert_id,
                episode_id=alert.episode_id,
                rule="immaterial",
                reason=alert.explanation,
                numbers={"series": alert.series},
                time_ms=alert.decided_ms,
            )
            for alert in alerts
        ],
        coverage_ms=NOW_MS,
        coverage=merged(rows),
        models=[model],
        served={model: "1"},
    )
    return OfflineObserver(state, msgspec.structs.replace(seen, **changes), detail)


class OfflineReadModel(ReadModel):
    """A read model without an event topic."""

    def newest_events(self, name: str, version: str) -> list[EventAt]:
        """The second half of `drifting_log`."""
        del name, version
        events = [
            EventAt(i, event)
            for i, event in enumerate(drifting_log("m", HOSTILE_FEATURE))
            if isinstance(event, InferenceEvent)
        ]
        return events[1_500:]

    def examples(self, view: IncidentView) -> Examples | None:
        del view
        return None


@contextlib.contextmanager
def client_of(
    observer: Observer, *, token: str = "", host: str = "127.0.0.1"
) -> Iterator[httpx.Client]:
    """A client of the dashboard of ``observer``, which asks for the host name ``host``."""
    read = OfflineReadModel(observer, Settings(**SETTINGS))
    app = web_app(
        read, place="kafka:9092 / driftline", version="0", hosts={"127.0.0.1"}, token=token
    )
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        headers = {"host": host}
        with httpx.Client(base_url=address_of(listener), headers=headers, timeout=30) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
