"""A clock that is off by an hour is noticed, a replay and a slow batch are not taken for one."""

from __future__ import annotations

import pytest

from driftline.doctor.clock_skew import MIN_EVENTS, REPLAY_AGE_MS, TimestampedEvent, check_clocks

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


def events(source: str, behind_ms: int, n: int = MIN_EVENTS) -> list[TimestampedEvent]:
    return [
        TimestampedEvent(source, NOW_MS - 1_000 * i - behind_ms, NOW_MS - 1_000 * i)
        for i in range(n)
    ]


@pytest.mark.parametrize(
    ("behind_ms", "expected"),
    [
        (HOUR_MS, "event times of /host/churn are 60 min before the append times"),
        (-HOUR_MS, "event times of /host/churn are 60 min after the append times"),
        (14 * HOUR_MS, "are 14 h before the append times"),  # a time zone that was left out
    ],
)
def test_a_producer_whose_clock_is_off_is_named(behind_ms: int, expected: str) -> None:
    found = check_clocks([*events("/host/churn", behind_ms), *events("/well", 200)], NOW_MS)

    assert [each.level for each in found] == ["warning"]
    assert expected in found[0].found
    assert found[0].fix


@pytest.mark.parametrize(
    "sample",
    [
        [],
        events("/well", 0),
        events("/slow-batch", 4 * 60_000),
        events("/replay", REPLAY_AGE_MS),
        events("/replay", 12 * 365 * 24 * HOUR_MS),
        events("/few", HOUR_MS, MIN_EVENTS - 1),
    ],
)
def test_plausible_times_are_no_clock_skew(sample: list[TimestampedEvent]) -> None:
    assert [each.level for each in check_clocks(sample, NOW_MS)] == ["ok"]


def test_a_few_late_events_among_many_are_no_clock_skew() -> None:
    sample = [*events("/host", 100, 60), *events("/host", HOUR_MS, 29)]

    assert [each.level for each in check_clocks(sample, NOW_MS)] == ["ok"]


def test_a_broker_whose_clock_is_ahead_is_named() -> None:
    (found,) = check_clocks(events("/host", 100), NOW_MS - 2 * HOUR_MS)

    assert found.check == "clock of the broker"
    assert "2 h ahead of this machine's clock" in found.found
