"""Quiet hours delay what is not urgent, and the digest is due once a day."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.notify.schedule import DailySpan, Schedule, minute_of_day, time_zone
from tests.unit.notify_subjects import HOUR_MS, NOON_MS

NIGHT = Schedule(quiet_hours=DailySpan.parse("22:00-07:00"), quiet_except="high")


def at(hour: int, minute: int = 0, day: int = 15, month: int = 11) -> int:
    return int(datetime(2023, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("hour", "waits"), [(21, False), (22, True), (0, True), (6, True), (7, False), (12, False)]
)
def test_in_quiet_hours_only_urgent_incidents_are_sent(hour: int, *, waits: bool) -> None:
    assert NIGHT.waits("medium", at(hour)) is waits
    assert NIGHT.waits("high", at(hour)) is False


def test_quiet_hours_are_of_the_time_zone_of_the_target() -> None:
    berlin = Schedule(quiet_hours=DailySpan.parse("22:00-07:00"), zone="Europe/Berlin")

    assert berlin.waits("low", at(21, 30))
    assert not berlin.waits("low", at(6, 30))


@given(st.integers(0, 1439), st.integers(0, 1439), st.integers(0, 1439))
def test_a_minute_is_in_a_span_or_in_the_span_of_the_other_hours(a: int, b: int, m: int) -> None:
    if a != b:
        assert DailySpan(a, b).contains(m) is not DailySpan(b, a).contains(m)


@given(st.integers(0, 1439), st.integers(NOON_MS, NOON_MS + 400 * 24 * HOUR_MS))
def test_the_latest_digest_is_at_its_minute_and_less_than_a_day_old(minute: int, now: int) -> None:
    due = Schedule(digest_minute=minute).latest_digest_ms(now)

    assert due is not None
    assert 0 <= now - due < 24 * HOUR_MS
    moment = datetime.fromtimestamp(due / 1000, UTC)
    assert (moment.hour * 60 + moment.minute, moment.second) == (minute, 0)


def test_the_digest_is_at_the_same_local_time_after_the_clocks_change() -> None:
    berlin = Schedule(digest_minute=minute_of_day("08:00"), zone="Europe/Berlin")

    assert berlin.latest_digest_ms(at(12, day=28, month=10)) == at(6, day=28, month=10)
    assert berlin.latest_digest_ms(at(12, day=29, month=10)) == at(7, day=29, month=10)


@pytest.mark.parametrize("text", ["", "22:00", "22-7", "24:00-07:00", "07:00-07:00", "x-y"])
def test_an_invalid_part_of_a_day_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no part of a day|no time of the day|same time"):
        DailySpan.parse(text)


@pytest.mark.parametrize("name", ["Mars/Olympus", "../etc/passwd", ""])
def test_an_unknown_time_zone_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="is no time zone"):
        time_zone(name)
