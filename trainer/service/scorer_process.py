"""The scorer process: joins labels and events, and scores the stored versions on them.

It uses no database, and a record or an estimator that crashes it leaves the trainer and its jobs
alone.  Its first message on stdin is a `ScorerRequest`; it
writes `ScoredEvents`, and a `ScorerStatus` every few seconds, to stdout.  It ends when stdin does.
"""

from __future__ import annotations

import os
import queue
import resource
import sys
import threading
import time
from pathlib import Path
from typing import IO, Final

import msgspec

from producer.routing import partitions_of_model
from trainer.dataset.event_follower import EventFollower, start_offsets
from trainer.jobs.comparisons import Position
from trainer.registry.registry import registry_of
from trainer.service.labelled_events import MAX_SCORED_EVENTS, LabelledEvents
from trainer.service.scored_events import (
    ChampionsChanged,
    ScorerFailed,
    ScorerRequest,
    ScorerStatus,
    read_frame,
    write_message,
)
from trainer.service.version_scorer import VersionScorer

SCORE_INTERVAL_S: Final = 1.0
"""A prediction of one row costs about as much as of some hundred, so labels are collected."""
STATUS_INTERVAL_S: Final = 5.0
REFRESH_INTERVAL_S: Final = 60.0
"""A rejected challenger is scored from the next refresh on; a new champion at once."""
TOPOLOGY_INTERVAL_S: Final = 60.0
POLL_S: Final = 0.25
_NICENESS: Final = 10
"""Retrains, and the model servers and monitors of the same machine, come first."""
SILENT_S: Final = 5.0
"""A partition without a record for so long is at its end: ends of transactions are no records."""


class ScorerProcess:
    """Follows the models of a request until the process ends."""

    def __init__(self, request: ScorerRequest, output: IO[bytes]) -> None:
        self._request, self._output = request, output
        self._champions = request.champions
        registry = registry_of(Path(request.data_dir))
        policy = request.policy
        self._starts = start_offsets(request.client, request.topic, request.lookback_records)
        self._scorers: dict[str, VersionScorer] = {}
        self._models: dict[str, LabelledEvents] = {}
        for model in request.champions:
            scorer = VersionScorer(
                registry, model, max_versions=policy.max_versions, metric=request.metric
            )
            positions = _by_partition(request.positions.get(model, []))
            n_partitions = len(self._starts)  # a server may not know the shards of its model yet
            places = {
                *partitions_of_model(model, request.shards, n_partitions),
                *partitions_of_model(model, 1, n_partitions),
            }
            self._scorers[model] = scorer
            self._models[model] = LabelledEvents(
                model,
                scorer,
                positions=positions,
                starts={p: s for p, s in self._starts.items() if p in places or p in positions},
                block_events=policy.block_events,
                max_events_per_s=policy.max_events_per_s,
                is_scored=policy.enabled or model in request.pools,
            )
        first = self._first_offsets()
        self._follower = EventFollower(request.client, request.topic, first)
        self._read_s = dict.fromkeys(first, time.monotonic())

    def _first_offsets(self) -> dict[int, int]:
        first: dict[int, int] = {}
        for events in self._models.values():
            for partition, offset in events.read_from().items():
                first[partition] = min(first.get(partition, offset), offset)
        return first

    def run(self, changes: queue.SimpleQueue[ChampionsChanged]) -> None:
        """Read and score; return when the topic has other partitions than at the start."""
        score_s = status_s = refresh_s = 0.0
        topology_s = time.monotonic() + TOPOLOGY_INTERVAL_S
        while True:
            now_s = time.monotonic()
            while not changes.empty():
                self._champions, refresh_s = changes.get().champions, 0.0
            if now_s >= refresh_s:
                refresh_s = now_s + REFRESH_INTERVAL_S
                self._refresh()
            is_full = self._read()
            if is_full or now_s >= score_s:
                score_s = now_s + SCORE_INTERVAL_S
                self._score()
            if now_s >= status_s:
                status_s = now_s + STATUS_INTERVAL_S
                self._report()
            if now_s >= topology_s:
                topology_s = now_s + TOPOLOGY_INTERVAL_S
                if self._has_other_partitions():
                    return

    def _refresh(self) -> None:
        for model, scorer in self._scorers.items():
            scorer.refresh(self._champions.get(model, ""))
            if self._request.policy.enabled or model in self._request.pools:
                for _ in scorer.load():
                    self._report()  # the trainer must not take the process for a silent one

    def _read(self) -> bool:
        """Read some records; return whether as many labelled events wait as are scored at once."""
        ahead = set().union(*(events.partitions_ahead for events in self._models.values()))
        self._follower.pause(ahead)
        now_s = time.monotonic()
        for record in self._follower.poll(POLL_S):
            self._read_s[record.partition] = now_s
            for model, events in self._models.items():
                if record.event is not None and record.event.model == model:
                    events.add(*record[:3], record.event, row=record.row)
                else:
                    events.skip(*record[:3])
        return any(events.n_waiting >= MAX_SCORED_EVENTS for events in self._models.values())

    def _has_other_partitions(self) -> bool:
        now = start_offsets(self._request.client, self._request.topic, 0)
        return now.keys() != self._starts.keys()

    def _score(self) -> None:
        silent_s = time.monotonic() - SILENT_S
        at_end = {p for p, lag in self._follower.lags().items() if lag == 0}
        at_end |= {p for p, read_s in self._read_s.items() if read_s < silent_s}
        for events in self._models.values():
            scored = events.scored(at_end)
            if scored is not None:
                write_message(self._output, scored)

    def _report(self) -> None:
        status = ScorerStatus(
            lag=self._follower.lags(),
            n_scored_versions={m: s.n_versions for m, s in self._scorers.items()},
            n_unlabelled={m: e.n_unlabelled for m, e in self._models.items()},
            left_out={
                f"{model}@{version}": why
                for model, scorer in self._scorers.items()
                for version, why in scorer.left_out.items()
            },
        )
        write_message(self._output, status)


def _by_partition(positions: list[Position]) -> dict[int, Position]:
    return {position.partition: position for position in positions}


def main() -> None:
    """Run until stdin ends; an error is reported as the last message."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # an estimator that prints must not disturb the messages
    os.nice(_NICENESS)
    request = msgspec.msgpack.decode(read_frame(sys.stdin.buffer) or b"", type=ScorerRequest)
    _limit_memory(request.max_memory_bytes)
    changes: queue.SimpleQueue[ChampionsChanged] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(changes,), daemon=True).start()
    try:
        ScorerProcess(request, output).run(changes)
    except BrokenPipeError:
        pass  # the trainer has ended
    except Exception as error:  # noqa: BLE001 - whatever it is, the trainer reports it
        write_message(output, ScorerFailed(why=f"{type(error).__name__}: {error}"))
    os._exit(0)  # without waiting for librdkafka


def _receive(changes: queue.SimpleQueue[ChampionsChanged]) -> None:
    while (frame := read_frame(sys.stdin.buffer)) is not None:
        changes.put(msgspec.msgpack.decode(frame, type=ChampionsChanged))
    os._exit(0)


def _limit_memory(max_memory_bytes: int) -> None:
    """Limit the data segment, so that a decompression bomb ends this process only."""
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = max_memory_bytes if hard == resource.RLIM_INFINITY else min(hard, max_memory_bytes)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


if __name__ == "__main__":
    main()
