from __future__ import annotations

import msgspec
import pytest

from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.core.traffic import TrafficState
from stream_monitor.state_parts import decode_part, encode_part
from tests.unit.traffic_simulation import MINUTE, SECOND, SPEC, Partition, phases


@pytest.fixture
def known() -> Partition:
    """A partition whose model has sent an event a second for a quarter of an hour."""
    partition = Partition()
    assert phases(partition.live(15)) == []
    return partition


def test_silence_and_its_end_are_reported(known: Partition) -> None:
    stopped_ms = known.now_ms
    (started,) = known.live(3, None)
    (recovered,) = known.live(2)

    assert phases([started, recovered]) == [("silence", "started"), ("silence", "recovered")]
    assert started.explanation.startswith("No events for ")
    assert started.severity == "high"
    assert (started.series, started.version, started.kind) == ("events", "1", "volume")
    assert stopped_ms - 10 * SECOND < started.onset_ms <= stopped_ms
    assert stopped_ms + 10 * SECOND <= started.decided_ms <= stopped_ms + 45 * SECOND
    assert started.episode_id == recovered.episode_id
    assert "after 3 min without" in recovered.explanation


def test_a_few_events_do_not_end_a_silence(known: Partition) -> None:
    known.live(3, None)
    known.append(known.event())
    known.live(2, None)
    known.append(known.event())

    assert phases(known.live(2, None)) == []
    assert phases(known.alerts) == [("silence", "started")]


def test_no_alert_before_there_is_a_baseline() -> None:
    partition = Partition()
    partition.live(4)

    assert phases(partition.live(20, None)) == []


def test_time_without_any_record_not_even_ticks_is_no_silence(known: Partition) -> None:
    known.now_ms += 60 * MINUTE

    assert phases(known.live(5)) == []


def test_a_lasting_change_of_volume_is_reported_once(known: Partition) -> None:
    started = known.live(10, 4_000)
    (recovered,) = known.live(10)[-1:]

    assert phases(started)[0] == ("volume", "started")
    assert phases(started).count(("volume", "started")) == 1
    assert started[0].direction == "down"
    assert started[0].before == pytest.approx(60, rel=0.1)
    assert recovered.phase == "recovered"


def test_a_surge_is_reported(known: Partition) -> None:
    (started, *_) = known.live(10, 200)

    assert (started.channel, started.direction) == ("volume", "up")


def test_one_burst_is_no_change_of_volume(known: Partition) -> None:
    known.append(*(known.event() for _ in range(300)))

    assert phases(known.live(10)) == []


def test_a_history_that_is_appended_at_once_has_no_pace() -> None:
    partition = Partition(MonitorSpec())
    for _ in range(20):
        partition.now_ms += 3 * SECOND
        partition.append(*(partition.event() for _ in range(500)))

    assert phases(partition.live(30, None)) == []


def test_it_can_be_switched_off() -> None:
    off = msgspec.structs.replace(SPEC.traffic, enabled=False)
    partition = Partition(msgspec.structs.replace(SPEC, traffic=off))
    partition.live(15)

    assert phases(partition.live(10, None)) == []


def test_events_of_every_version_count_and_the_alert_is_of_the_champion(known: Partition) -> None:
    known.update("2")

    assert phases(known.live(20, version="1")) == []
    (started,) = known.live(3, None)
    assert (started.channel, started.version) == ("silence", "2")


def canary(partition: Partition, minutes: float, busy: str | None) -> list[DriftAlert]:
    """A canary has a twentieth of the traffic of the version that is busy."""
    reported: list[DriftAlert] = []
    for _ in range(round(minutes * 6)):
        reported += partition.append(partition.event("canary"))
        if busy is None:
            reported += partition.live(1 / 6, None)
        else:
            reported += partition.live(1 / 6, 500, version=busy)
    return reported


def test_silence_is_reported_although_a_canary_receives_events() -> None:
    partition = Partition()
    assert phases(canary(partition, 15, "1")) == []
    stopped_ms = partition.now_ms
    (started,) = [a for a in canary(partition, 3, None) if a.kind == "volume"]

    assert (started.channel, started.version) == ("silence", "1")
    assert started.explanation.startswith("No events of version 1 for ")
    assert stopped_ms - 10 * SECOND < started.onset_ms <= stopped_ms
    assert started.decided_ms <= stopped_ms + 45 * SECOND
    assert phases(canary(partition, 3, "1")) == [("silence", "recovered")]


@pytest.mark.parametrize("seed", range(3))
def test_a_canary_and_one_version_after_the_other_are_no_change_of_traffic(seed: int) -> None:
    partition = Partition(seed=seed)
    partition.live(15, 500)
    reported = canary(partition, 5, "1")
    reported += partition.live(5, 500, version="canary")
    for share in range(10):  # a ramp from one to the next
        reported += partition.live(0.5, 500, version="2" if share % 10 < share else "canary")
        reported += partition.live(share / 20, 500, version="2")
    reported += partition.live(5, 500, version="2")

    assert phases(reported) == []


def test_an_announcement_ends_no_silence(known: Partition) -> None:
    known.live(3, None)
    assert phases(known.update("2")) == []

    assert phases(known.live(2, version="2")) == [("silence", "recovered")]


def test_a_silence_that_a_person_resolves_is_usual_from_then_on(known: Partition) -> None:
    (started,) = known.live(3, None)
    resolved = known.command("resolve", started.episode_id)

    assert phases(resolved) == [("silence", "resolved")]
    assert resolved[0].explanation.endswith("resolved by ann.")
    assert phases(known.live(1, None)) == []
    known.live(15)
    assert phases(known.live(3, None)) == []


def test_a_volume_that_a_person_resolves_is_the_new_usual(known: Partition) -> None:
    started = known.live(10, 4_000)
    resolved = known.command("resolve", started[0].episode_id)

    assert phases(resolved) == [("volume", "resolved")]
    assert phases(known.live(20, 4_000)) == []


def test_hours_that_never_have_events_are_reported_once(known: Partition) -> None:
    hours = SPEC.traffic.period_ms / 2 / MINUTE
    reported = [phases(known.live(hours, None) + known.live(hours)) for _ in range(12)]

    assert reported[0] == [("silence", "started"), ("silence", "recovered")]
    assert [("silence", "started")] not in [each[:1] for each in reported[4:]]


def test_people_acknowledge_and_snooze_as_they_do_drift(known: Partition) -> None:
    (started,) = known.live(3, None)
    known.command("acknowledge", started.episode_id)
    known.command("snooze", started.episode_id, known.now_ms + MINUTE)
    reported = known.live(2, None)

    assert [(a.phase, a.acknowledged_by) for a in reported] == [("ongoing", "ann")]


def test_the_level_of_the_series_is_two_while_an_episode_is_open(known: Partition) -> None:
    known.live(3, None)
    assert known.monitor.levels()["m@1", "events"] == 2

    known.live(2)
    assert ("m@1", "events") not in known.monitor.levels()


def test_a_silence_continues_across_a_restart(known: Partition) -> None:
    known.live(3, None)
    known.restart()

    assert phases(known.live(2)) == [("silence", "recovered")]


@pytest.mark.parametrize("changes", [{"bucket_ms": 0}, {"cell_ms": 90_001}, {"period_ms": 1}])
def test_contradictory_settings_are_rejected(changes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="traffic:"):
        msgspec.convert(changes, TrafficSpec)


def test_a_bucket_that_does_not_fit_the_clock_is_no_silence(known: Partition) -> None:
    """A forged state: a worker must not evaluate millions of empty buckets up to now."""
    parts = {name: part for name, part in known.monitor.take_changes().items() if part}
    (name,) = (name for name in parts if name.endswith("traffic|now"))
    state = decode_part(parts[name], TrafficState)
    parts[name] = encode_part(msgspec.structs.replace(state, bucket=0))
    known.monitor = PartitionMonitor.restore("log", 0, SPEC, parts)

    assert phases(known.live(0.2)) == []
