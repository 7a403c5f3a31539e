"""Shadow predictions have windows and an error of their own, and change nothing that is served."""

from __future__ import annotations

import random
from typing import Final

import msgspec

from producer.codec import encode
from producer.events import Event, InferenceEvent, Label, Tick
from stream_monitor.core.observation import Observation
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.shadows import MAX_SHADOWS
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.state.partition_state import PERFORMANCE, WINDOW, PartitionStateFactory
from stream_monitor.windows.performance import WindowPerformance
from stream_monitor.windows.tumbling import WindowSpec
from tests.builders import batch_of, inference_event, record_of

MINUTE_MS: Final = 60_000
SPEC: Final = MonitorSpec(
    warm_up_events=320,
    warm_up_labels=300,
    idle_ms=10 * MINUTE_MS,
    windows=WindowSpec(size_ms=10 * MINUTE_MS, grace_ms=0),
)


def records_of(events: list[Event]) -> list[ConsumerRecord]:
    """A record a second."""
    return [record_of(i, event, i * 1_000) for i, event in enumerate(events)]


def scored(
    i: int, prediction: float, version: str = "1", *, shadow: bool = False
) -> InferenceEvent:
    rng = random.Random(i)  # noqa: S311
    return inference_event(
        f"e{i}",
        {} if shadow else {"x": rng.gauss(0, 1)},
        prediction,
        version=version,
        time_ms=i * 1_000,
        shadow=shadow,
    )


def labelled(n: int, *, shadow: str = "2") -> list[Event]:
    """Requests that version 1 answers wrongly and the shadow rightly, with their labels."""
    events: list[Event] = []
    for i in range(n):
        truth = i % 2
        events += [
            scored(i, float(1 - truth)),
            scored(i, float(truth), shadow, shadow=True),
            Label(id=f"e{i}", model="m", label=truth, time_ms=i * 1_000),
            Tick(time_ms=i * 1_000),
        ]
    return events


def observed(events: list[Event]) -> tuple[PartitionMonitor, Observation]:
    monitor = PartitionMonitor("t", 0, SPEC)
    return monitor, monitor.observe(batch_of(records_of(events)))


def shadow_versions(monitor: PartitionMonitor) -> list[str]:
    shadows = monitor.models["m"].shadows
    return [] if shadows is None else list(shadows.versions)


def test_one_label_joins_the_served_prediction_and_the_shadow() -> None:
    state = PartitionStateFactory(SPEC, "d").new("t", 0)
    outbox = state.observe(batch_of(records_of(labelled(1900)))).outbox
    performance = {
        field.rpartition(":")[2]: msgspec.json.decode(blob, type=WindowPerformance)
        for field, blob in outbox.items()
        if field.startswith(PERFORMANCE)
    }

    served = [one for one in performance.values() if not one.shadow]
    shadow = [one for one in performance.values() if one.shadow]
    assert {(one.version, one.loss) for one in served} == {("1", 1.0)}
    assert {(one.version, one.loss) for one in shadow} == {("2", 0.0)}
    assert all(one.n_labelled > 40 for one in shadow)


def test_a_shadow_has_windows_with_its_predictions_under_a_key_of_their_own() -> None:
    state = PartitionStateFactory(SPEC, "d").new("t", 0)
    outbox = state.observe(batch_of(records_of(labelled(1900)))).outbox
    windows = [field.removeprefix(WINDOW) for field in outbox if field.startswith(WINDOW)]

    assert "d:window:m@1/600000/0" in windows
    assert "d:window:m@2 (shadow)/600000/0" in windows
    window = msgspec.json.decode(outbox[f"{WINDOW}d:window:m@2 (shadow)/600000/0"])
    assert window["n_events"] == 600
    assert window["features"]["prediction"]["bins"] == [300, 300]


def test_a_shadow_is_no_traffic_and_no_watched_version() -> None:
    monitor, seen = observed(labelled(1900))
    model = monitor.models["m"]

    assert monitor.counters.shadow == 1900
    assert monitor.counters.valid == 1900
    assert model.admitted_versions == {"1"}
    assert {row.key.version for row in monitor.coverage()["m"] if row.key.version} == {"1"}
    assert not [alert for alert in seen.alerts if alert.version == "2"]


def test_a_repeated_shadow_prediction_is_a_duplicate_and_one_that_serves_later_is_none() -> None:
    shadow = scored(330, 0.5, "2", shadow=True)
    events: list[Event] = [scored(i, 0.5) for i in range(330)]
    monitor, _ = observed([*events, shadow, shadow, scored(330, 0.5), scored(330, 0.5, "2")])

    assert (monitor.counters.shadow, monitor.counters.duplicate) == (1, 1)
    assert monitor.counters.valid == 332


def test_shadow_predictions_before_a_reference_are_counted_by_a_reason() -> None:
    events: list[Event] = [scored(i, 0.5, "2", shadow=True) for i in range(30)]
    monitor, _ = observed([scored(0, 0.5), *events])

    rows = {row.key.reason: row.total for row in monitor.coverage()["m"]}
    assert rows["shadow_not_recorded"] == 30
    assert monitor.counters.records == 31


def test_made_up_versions_fill_no_state() -> None:
    events: list[Event] = [scored(i, 0.5) for i in range(330)]
    events += [scored(330, 0.5, f"v{i}", shadow=True) for i in range(50)]
    monitor, _ = observed(events)

    assert len(shadow_versions(monitor)) == MAX_SHADOWS


def test_an_idle_shadow_makes_place_for_the_next() -> None:
    events: list[Event] = [scored(i, 0.5) for i in range(330)]
    events += [scored(330, 0.5, f"v{i}", shadow=True) for i in range(MAX_SHADOWS)]
    events += [scored(i, 0.5) for i in range(330, 330 + SPEC.max_micro_batch_offsets)]
    events += [scored(i, 0.5, "next", shadow=True) for i in range(330, 340)]
    monitor, _ = observed(events)

    assert shadow_versions(monitor) == ["next"]
    assert not [name for name in monitor.take_changes() if "shadow|version|v0" in name]


def test_state_without_shadows_has_no_part_for_them() -> None:
    monitor, _ = observed([scored(i, 0.5) for i in range(330)])

    assert not [name for name in monitor.take_changes() if "shadow" in name]


def test_an_event_on_the_wire_names_a_shadow_only_where_it_is_one() -> None:
    assert b"shadow" not in encode(scored(0, 0.5))
    assert b'"shadow":true' in encode(scored(0, 0.5, "2", shadow=True))
