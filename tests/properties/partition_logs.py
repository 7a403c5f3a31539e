"""Random logs of one partition, and the results of processing them in any batches."""

from __future__ import annotations

import functools
import random
from itertools import pairwise
from typing import Any, Literal

import msgspec
from hypothesis import strategies as st

from producer.codec import encode
from producer.events import (
    CE_TYPE_OF,
    Command,
    Event,
    InferenceEvent,
    Label,
    ModelUpdate,
    Tick,
    Value,
)
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DeadLetter, DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.expected_loss_fit import with_expected_loss
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.reference.segment_fit import with_segments
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.tumbling import WindowSpec
from tests.builders import inference_event, record_of
from tests.hypothesis_profiles import PROFILE

seeds = st.integers(0, 1_000_000)
if PROFILE == "fast":  # the laws share a few logs, other ones in each run
    seeds = st.sampled_from(random.Random().sample(range(1_000_000), 4))  # noqa: S311
some_cuts = st.lists(st.integers(0, 5000), max_size=25)

Act = Literal["acknowledge", "snooze", "resolve"]

TOPIC = "driftline.events.v1"
MINUTE_MS = 60_000
SPEC = MonitorSpec(
    budget=Budget(false_alerts=1.0, per_events=2_000),  # loose, so that something happens
    windows=WindowSpec(size_ms=10 * MINUTE_MS, grace_ms=MINUTE_MS, idle_close_ms=30_000),
    labels=LabelSpec(horizon_ms=60 * MINUTE_MS, max_pending=400, chunk_events=128),
    episodes=EpisodePolicy(
        min_effect=0.02,
        min_window_events=100,
        first_test_events=32,
        clear_windows=2,
        cooldown_ms=6 * MINUTE_MS,
    ),
    traffic=TrafficSpec(
        bucket_ms=5_000,
        cell_ms=MINUTE_MS,
        period_ms=2 * MINUTE_MS,
        max_gap_ms=30_000,
        baseline_ms=3 * MINUTE_MS,
        label_baseline_ms=5 * MINUTE_MS,
    ),
    warm_up_events=320,
    idle_ms=4 * MINUTE_MS,
    warm_up_labels=300,
)


def model_event(
    rng: random.Random, i: int, version: str, shift: float, follows: int = 1
) -> InferenceEvent:
    time_ms = i * 1000 + rng.randint(-90_000, 0)
    age = rng.gauss(40 + shift, 10)
    return inference_event(
        f"e{i}",
        {
            "age": None if rng.random() < 0.02 else age,
            "visits": 1.0 if i >= 2300 else follows * (age - 40 - shift) / 10 + rng.gauss(0, 0.8),
            "plan": rng.choice(["free", "pro", "pro", "team"]) if shift < 9 else "free",
            "active": rng.random() < 0.3,
            **({"trial": 1.0} if 1200 <= i < 1500 else {}),
        },
        min(1.0, max(0.0, rng.gauss(0.3 + shift / 50, 0.1))),
        model="churn",
        version=version,
        time_ms=max(0, time_ms),
        segment={"site": "north"} if i % 3 else None,
    )


def profile(rng: random.Random, version: str) -> dict[str, Any]:
    rows = [model_event(rng, i, version, 0.0) for i in range(900)]
    columns = {name: [row.features[name] for row in rows] for name in rows[0].features}
    predictions = [row.prediction_or_none for row in rows]
    losses = [float(rng.random() < 0.2) for _ in rows]
    made = fit_profile(
        "churn",
        version,
        columns,
        predictions=predictions,
        losses=losses,
        task="binary",
        origin="training",
    )
    made = with_expected_loss(made, predictions, losses)
    sites: list[Value] = [(row.segment or {}).get("site") for row in rows]
    made = with_segments(
        made, columns, ["plan=pro", "site"], attributes={"site": sites}, predictions=predictions
    )
    assert [segment.name for segment in made.segments] == ["site=north", "plan=pro"]
    return profile_to_data(made)


@functools.lru_cache(maxsize=32)
def log_of(seed: int, n: int = 2600) -> list[ConsumerRecord]:
    """Records of all kinds that a partition may hold: drift, damage, and commands on episodes."""
    records = events_of(seed, n)
    return with_commands(random.Random(seed), records, run(records, [])[0])  # noqa: S311


@functools.lru_cache(maxsize=32)
def whole(seed: int, n: int = 2600) -> Results:
    """The results of a log that is processed as one batch."""
    return run(log_of(seed, n), [])


def with_commands(
    rng: random.Random, records: list[ConsumerRecord], alerts: list[DriftAlert]
) -> list[ConsumerRecord]:
    """Commands to these episodes, most of them while they are open, at free offsets."""
    index = {record.offset: i for i, record in enumerate(records)}
    commands: dict[int, ConsumerRecord] = {}
    last = ("coverage", "rejected")  # what the others get does not depend on them
    in_order = sorted(alerts, key=lambda alert: alert.kind in last or alert.cause in last)
    for n, alert in enumerate(in_order):
        far = rng.random() < 0.3  # snoozed for long, then resolved: the next is suppressed
        acts: list[Act] = rng.choice([[], ["acknowledge"], ["acknowledge", "snooze"], ["resolve"]])
        for k, action in enumerate(("snooze", "resolve") if far else acts):
            delay = 20 * k if far else rng.choice([0, 1, 20, 200])
            i = min(len(records) - 1, index[alert.decided_offset] + delay)
            offset, timestamp_ms = records[i].offset + 1, records[i].timestamp_ms
            span_ms = 4_000_000 if far else rng.choice([-1000, 5_000, 120_000])
            until_ms = timestamp_ms + span_ms
            number = k if far else rng.randint(0, 2)
            model = rng.choice(["churn"] * 9 + ["nobody"])
            command = Command(
                id=f"c{n}-{number}" + "-nobody" * (model == "nobody"),
                model=model,
                action=action,
                episode=rng.choice([alert.episode_id] * 9 + ["e"]),
                actor="ann",
                time_ms=timestamp_ms,
                until_ms=until_ms if action == "snooze" and rng.random() < 0.9 else None,
                reason=rng.choice(["", "known"]),
            )
            record = record_of(offset, command, timestamp_ms)
            if alert.kind != "coverage" or offset not in commands:
                commands[offset] = record
    return sorted([*records, *commands.values()], key=lambda record: record.offset)


def events_of(seed: int, n: int) -> list[ConsumerRecord]:
    """Events, labels, updates, ticks and rubbish; every second offset is free."""
    rng = random.Random(seed)  # noqa: S311
    values: list[tuple[Event | bytes, int]] = []
    labels: list[tuple[int, Label]] = []
    if rng.random() < 0.7:
        update = ModelUpdate(
            id="u1", model="churn", version="1", time_ms=0, profile=profile(rng, "1")
        )
        values.append((update, 0))
    change = rng.randint(600, 1500)
    stop, thin, dumb, tardy = random.Random(-seed - 1).sample(range(600, 1500), 4)  # noqa: S311
    clock_ms, served = 0, "1"
    for i in range(n):
        worse = change + 250 <= i < change + 700 or i >= change + 1100
        shift = 12.0 if worse else 3.0 * (change <= i < change + 250)
        clock_ms += 1000 if rng.random() > 0.002 else 40_000
        n_ticks = 60 * (i == stop) + (thin <= i < thin + 70)  # time passes, nothing comes
        values += [(Tick(time_ms=t), t) for t in range(clock_ms, clock_ms + 5_000 * n_ticks, 5_000)]
        clock_ms += 5_000 * n_ticks
        version = served if i >= 2150 else "1"  # the old one serves on for a while
        event = model_event(rng, i, version, shift, -1 if 400 <= i < 580 else 1)
        event = msgspec.structs.replace(event, time_ms=min(event.time_ms, clock_ms))
        values.append((event, clock_ms))
        if rng.random() < 0.05:
            values.append((event, clock_ms))
        if rng.random() < 0.01:
            values.append((rng.choice([b"", b"{", b'{"id": 1}', b"\xff" * 40]), clock_ms))
        if rng.random() < 0.005:
            values.append((Tick(time_ms=clock_ms + 35_000), clock_ms + 35_000))
        if rng.random() < 0.6 and not dumb <= i < dumb + 900:
            wrong = rng.random() < (0.5 if shift else 0.2)
            truth = int((event.prediction >= 0.5) != wrong)  # type: ignore[operator]
            late = rng.randint(-3, 400)
            at_ms = clock_ms + 3_000_000 * (tardy <= i < tardy + 200)
            labels.append((i + late, Label(id=event.id, model="churn", label=truth, time_ms=at_ms)))
        if i == 2000 and rng.random() < 0.5:
            second = ModelUpdate(
                id="u2", model="churn", version="2", time_ms=clock_ms, profile=profile(rng, "2")
            )
            values.append((second, clock_ms))
            served = "2"
    for at, label in sorted(labels, key=lambda pair: -pair[0]):
        at = min(len(values), max(0, at))  # noqa: PLW2901
        values.insert(at, (label, values[at - 1][1] if at else 0))
    records, offset = list[ConsumerRecord](), 0
    for value, timestamp_ms in values:
        offset += 2 + 2 * (rng.random() < 0.01)  # transaction markers leave holes
        raw = value if isinstance(value, bytes) else encode(value)
        kind = None if isinstance(value, bytes) else CE_TYPE_OF[type(value)]
        records.append(ConsumerRecord(offset, timestamp_ms, kind, raw))
    return records


def batch_of(records: list[ConsumerRecord]) -> RecordBatch:
    return RecordBatch(TOPIC, 0, "epoch", records[0].offset, records[-1].offset + 1, records)


Results = tuple[list[DriftAlert], list[DeadLetter], list[ClosedWindow], bytes]


def run(
    records: list[ConsumerRecord],
    cuts: list[int],
    *,
    restart: bool = False,
    spec: MonitorSpec = SPEC,
) -> Results:
    """Apply the records, cut at ``cuts``; with ``restart`` a new process continues at every cut.

    The last result is the whole stored state.
    """
    monitor = PartitionMonitor(TOPIC, 0, spec)
    fields: dict[str, bytes] = {}
    alerts: list[DriftAlert] = []
    dead_letters: list[DeadLetter] = []
    windows: list[ClosedWindow] = []
    for start, end in pairwise(sorted({0, len(records), *cuts})):
        seen = monitor.observe(batch_of(records[start:end]))
        alerts += seen.alerts
        dead_letters += seen.dead_letters
        windows += seen.windows
        if restart or end == len(records):
            store(fields, monitor.take_changes())
        if restart:
            monitor = PartitionMonitor.restore(TOPIC, 0, spec, fields)
    windows.sort(key=lambda w: (w.closed_offset, w.model, w.version, w.start_ms))
    return alerts, dead_letters, windows, state_of(fields)


def store(fields: dict[str, bytes], changes: dict[str, bytes]) -> None:
    for name, part in changes.items():
        if part:
            fields[name] = part
        else:
            fields.pop(name, None)


def state_of(fields: dict[str, bytes]) -> bytes:
    plain = {name: json_of(msgspec.msgpack.decode(raw)) for name, raw in fields.items()}
    return msgspec.json.encode(plain, order="sorted")


def json_of(data: Any) -> Any:
    """Data with text as all keys."""
    if isinstance(data, list | tuple):
        return [json_of(item) for item in data]
    if isinstance(data, dict):
        return {k if isinstance(k, str) else repr(k): json_of(v) for k, v in data.items()}
    return data


def with_shadows(seed: int, records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    """Shadow predictions of two versions next to the events of a log, at free offsets.

    Some come twice, the second version joins late and the first one pauses, and a third one shares
    its name with a version in service.
    """
    rng = random.Random(-seed - 2)  # noqa: S311
    taken = {record.offset for record in records}
    shadows: list[ConsumerRecord] = []
    for i, record in enumerate(records):
        if record.kind != CE_TYPE_OF[InferenceEvent] or record.offset + 1 in taken:
            continue
        served = msgspec.json.decode(record.value or b"", type=InferenceEvent)
        versions = ["s1"] * (not 1200 <= i < 2400) + ["s2"] * (i > 800) + ["2"] * (i > 3000)
        if not versions or rng.random() < 0.3:
            continue
        shadow = msgspec.structs.replace(
            served,
            features={} if rng.random() < 0.5 else served.features,
            prediction=rng.random(),
            version=rng.choice(versions),
            shadow=True,
        )
        again = shadows[-1].value if shadows and rng.random() < 0.03 else encode(shadow)
        offset = record.offset + 1
        shadows.append(ConsumerRecord(offset, record.timestamp_ms, record.kind, again))
    return sorted([*records, *shadows], key=lambda record: record.offset)


def without_shadows(records: list[ConsumerRecord]) -> list[ConsumerRecord]:
    """The same log with a tick in the place of each shadow prediction."""
    return [
        ConsumerRecord(
            record.offset,
            record.timestamp_ms,
            CE_TYPE_OF[Tick],
            encode(Tick(time_ms=record.timestamp_ms)),
        )
        if record.value is not None and b'"shadow":true' in record.value
        else record
        for record in records
    ]
