"""Versions side by side: canary, A/B, rollback, a late deploy.  Each is watched."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec
import pytest

from producer.events import Event, InferenceEvent, Label, ModelUpdate, Tick
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.incidents import incidents_of
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.fit import MIN_EVENTS, fit_profile
from stream_monitor.reference.profile import profile_to_data
from tests.builders import inference_event, record_of
from tests.properties.partition_logs import TOPIC, batch_of
from trainer.policy.decide import History, decide
from trainer.policy.retrain_policy import RetrainPolicy

HOUR_MS = 3_600_000
SECOND_MS = 1_000
SPEC = MonitorSpec(warm_up_events=MIN_EVENTS)
SHIFTED = 4.0
Timed = tuple[Event, int]


def announced(version: str, update_id: str = "") -> ModelUpdate:
    rng = random.Random(0)  # noqa: S311
    ages = [rng.gauss(0, 1) for _ in range(2_000)]
    losses = [float(rng.random() < 0.1) for _ in ages]
    made = fit_profile("m", version, {"age": ages}, losses=losses, task="binary", origin="training")
    return ModelUpdate(
        id=update_id or f"u{version}",
        model="m",
        version=version,
        time_ms=0,
        profile=profile_to_data(made),
    )


class Log:
    """Records a second apart, and the monitor that reads them."""

    def __init__(self, spec: MonitorSpec = SPEC, seed: int = 0) -> None:
        self.spec, self.monitor = spec, PartitionMonitor(TOPIC, 0, spec)
        self.records: list[ConsumerRecord] = []
        self.alerts: list[DriftAlert] = []
        self.now_ms = 0
        self._rng = random.Random(seed)  # noqa: S311

    def write(self, *events: Event) -> list[DriftAlert]:
        """Gives the alerts about drift, without those about coverage and traffic."""
        new = []
        for event in events:
            self.now_ms += SECOND_MS
            offset = len(self.records)
            new.append(record_of(offset, event, self.now_ms))
            self.records.append(new[-1])
        reported = drift(self.monitor.observe(batch_of(new)).alerts)
        self.alerts += reported
        return reported

    def events(self, n: int, versions: Sequence[str], mean: float = 0.0) -> list[DriftAlert]:
        """So many events, the versions in turn."""
        first = len(self.records)
        times = range(self.now_ms + SECOND_MS, self.now_ms + (n + 1) * SECOND_MS, SECOND_MS)
        return self.write(
            *[self._event(first + i, versions, mean, time_ms) for i, time_ms in enumerate(times)]
        )

    def _event(self, i: int, versions: Sequence[str], mean: float, time_ms: int) -> InferenceEvent:
        return inference_event(
            f"e{i}",
            {"age": self._rng.gauss(mean, 1)},
            0.9,
            version=versions[i % len(versions)],
            time_ms=time_ms,
        )

    def pause(self, hours: float) -> list[DriftAlert]:
        """Time passes, and ticks come."""
        reported: list[DriftAlert] = []
        end_ms = self.now_ms + round(hours * HOUR_MS)
        while self.now_ms < end_ms:
            self.now_ms += 60 * SECOND_MS
            reported += self.write(Tick(time_ms=self.now_ms))
        return reported

    def again(self, cuts: Iterable[int]) -> list[DriftAlert]:
        """The alerts of another monitor that reads the records in these batches, with restarts."""
        monitor, stored = PartitionMonitor(TOPIC, 0, self.spec), dict[str, bytes]()
        reported: list[DriftAlert] = []
        for start, end in pairwise(sorted({0, *cuts, len(self.records)})):
            reported += drift(monitor.observe(batch_of(self.records[start:end])).alerts)
            stored |= monitor.take_changes()
            stored = {name: part for name, part in stored.items() if part}
            monitor = PartitionMonitor.restore(TOPIC, 0, self.spec, stored)
        return reported


def drift(alerts: Iterable[DriftAlert]) -> list[DriftAlert]:
    return [a for a in alerts if a.kind not in ("coverage", "volume", "labels")]


def phases(alerts: Iterable[DriftAlert]) -> list[tuple[str, str, str]]:
    return [(a.version, a.series, a.phase) for a in alerts if a.phase != "ongoing"]


def test_a_shift_is_found_as_soon_whether_another_version_was_announced_or_not() -> None:
    """README's own recipe: announce the next version while the present one serves."""
    found = []
    for next_one in ((), (announced("2"),)):
        log = Log()
        log.write(announced("1"), *next_one)
        log.events(600, ["1"])
        (alert,) = [a for a in log.events(300, ["1"], SHIFTED) if a.phase == "started"]
        found.append(alert.decided_offset - 600 - len(next_one))
        assert (alert.version, alert.series, alert.kind) == ("1", "feature/age", "data")
        assert alert.champion == ("2" if next_one else None)
    assert found[0] == found[1] < 100


def test_only_the_champions_episodes_ask_for_a_retrain() -> None:
    log = Log()
    log.write(announced("1"), announced("2"))
    log.events(400, ["1", "2"])
    log.events(400, ["1", "2"], SHIFTED)
    decided = {
        a.version: decide(a, History(), RetrainPolicy()) for a in log.alerts if a.phase == "started"
    }

    assert (decided["2"].action, decided["2"].rule) == ("request", "drift")
    assert (decided["1"].action, decided["1"].rule) == ("decline", "old_version")
    assert decided["1"].reason.startswith("Version 1 is not the champion (2 is)")


def test_versions_that_one_change_moved_are_one_incident() -> None:
    log = Log()
    log.write(announced("1"), announced("2"))
    log.events(400, ["1", "2"])
    log.events(400, ["1", "2"], SHIFTED)

    (incident,) = incidents_of(log.alerts)

    assert {(m.version, m.series) for m in incident.members} == {
        ("1", "feature/age"),
        ("2", "feature/age"),
    }


def test_episodes_end_an_hour_after_the_last_event_and_not_at_the_announcement() -> None:
    log = Log()
    log.write(announced("1"))
    log.events(600, ["1"])
    log.events(200, ["1"], SHIFTED)
    last_ms = log.now_ms
    assert log.write(announced("2")) == []
    for _ in range(59):
        log.now_ms += 59 * SECOND_MS
        assert phases(log.events(1, ["2"])) == []
    log.now_ms += 59 * SECOND_MS
    (ended,) = log.events(1, ["2"])

    assert (ended.version, ended.phase) == ("1", "superseded")
    assert ended.explanation.startswith("`age`: ended, because its version is idle")
    assert log.records[ended.decided_offset].timestamp_ms - last_ms >= HOUR_MS
    assert log.records[ended.decided_offset - 1].timestamp_ms - last_ms < HOUR_MS
    for cuts in (range(0, len(log.records), 97), [ended.decided_offset], [3]):
        assert log.again(cuts) == log.alerts


@pytest.mark.parametrize(("shift", "soon"), [(0.5, 700), (SHIFTED, 150)])
def test_a_version_that_comes_back_with_its_drift_is_reported_again(
    shift: float, soon: int
) -> None:
    """Its detectors knew the change already, and would never have signalled it again."""
    log = Log()
    log.write(announced("1"), announced("2"))
    log.events(600, ["1"])
    log.events(1_000, ["1"], shift)
    log.events(2, ["2"])
    log.pause(1.1)
    assert [phase for *_, phase in phases(log.alerts)] == ["started", "superseded"]
    assert phases(log.events(soon, ["1"], shift)) == [("1", "feature/age", "started")]


def test_a_model_that_sleeps_wakes_with_the_episodes_it_had() -> None:
    """Whether a version was announced, or none ever was."""
    for head in ((announced("1"),), ()):
        log = Log()
        log.write(Tick(time_ms=0), *head)
        log.events(900, ["1"])
        log.events(300, ["1"], SHIFTED)
        assert phases(log.alerts) == [("1", "feature/age", "started")]

        assert phases(log.pause(30)) == []
        assert phases(log.events(300, ["1"], SHIFTED)) == []


def test_without_an_announcement_another_versions_events_supersede() -> None:
    log = Log()
    log.events(900, ["1"])
    log.events(300, ["1"], SHIFTED)
    log.pause(2)
    reported = log.events(3, ["2"])

    assert phases(reported) == [("1", "feature/age", "superseded")]
    assert reported[0].decided_offset == len(log.records) - 2  # the record after the event
    assert log.again(range(0, len(log.records), 50)) == log.alerts


def test_a_version_after_a_rollback_continues_with_its_state() -> None:
    log = Log()
    log.write(announced("1"))
    log.events(600, ["1"])
    watched = log.monitor.models["m"].versions["1"]
    log.write(announced("2"))
    log.events(300, ["2"])

    log.write(announced("1", "rollback"))
    assert log.monitor.models["m"].versions["1"] is watched
    (alert,) = [a for a in log.events(200, ["1"], SHIFTED) if a.phase == "started"]
    assert (alert.version, alert.champion) == ("1", None)


def test_labels_of_an_idle_version_are_compared_and_their_episodes_end() -> None:
    log = Log()
    log.write(announced("1"))
    log.events(600, ["1"])
    log.write(announced("2"))
    log.events(10, ["2"])
    log.pause(2)
    wrong = [Label(id=f"e{i}", model="m", label=0, time_ms=log.now_ms) for i in range(1, 400)]
    started = log.write(*wrong)

    assert phases(started)[0] == ("1", "loss", "started")
    assert started[0].champion == "2"
    last_ms = log.now_ms
    ended = [a for a in log.pause(2) if a.phase == "superseded"]
    assert phases(ended) == [("1", "loss", "superseded")]
    assert log.records[ended[0].decided_offset].timestamp_ms - last_ms >= HOUR_MS
    for cuts in (range(0, len(log.records), 61), [ended[0].decided_offset], [3]):
        assert log.again(cuts) == log.alerts


@pytest.mark.parametrize("seed", range(2))
def test_two_versions_on_stationary_data_keep_to_the_budget_together(seed: int) -> None:
    """Each event is seen by one version, so that the budget per events is shared as they are."""
    budget = Budget(false_alerts=1.0, per_events=2_000)
    spec = msgspec.structs.replace(SPEC, budget=budget)
    log = Log(spec, seed)
    log.write(announced("1"), announced("2"))
    log.events(20_000, ["1", "1", "1", "2"])

    assert sum(alert.phase == "started" for alert in log.alerts) <= 10


def test_a_canary_has_the_rate_of_the_model_in_a_budget_per_week() -> None:
    """With its own rate, a tenth of it, it would have ten times the false alarms at the end."""
    spec = msgspec.structs.replace(SPEC, budget=Budget(per_weeks=1.0))
    log = Log(spec)
    log.events(MIN_EVENTS, ["1"])
    log.events(10 * MIN_EVENTS, ["1"] * 9 + ["2"])

    first, canary = log.monitor.models["m"].versions.values()
    assert canary.profile.events_per_week == pytest.approx(first.profile.events_per_week, rel=0.05)
    assert canary.arl0_events == pytest.approx(first.arl0_events, rel=0.05)
