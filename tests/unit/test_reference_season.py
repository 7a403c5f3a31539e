"""A season is learnt where the reference proves one, taken out by event time, and not else."""

from __future__ import annotations

import copy
import re
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from stream_monitor.checks.feature import FeatureCheck
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.detectors.signal_detectors import SignalDetectors
from stream_monitor.episodes.finding import AlertSource
from stream_monitor.episodes.lifecycle import EpisodeTracker
from stream_monitor.episodes.messages import SignalScope, signal_message
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.fit import fit_feature, fit_profile
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import (
    FeatureReference,
    ReferenceProfile,
    profile_from_data,
    profile_to_data,
)
from stream_monitor.reference.season import DAY_MS, HOUR_MS, WEEK_MS, BinCalendar, Season
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints
from stream_monitor.windows.tumbling import TumblingWindows, WindowSpec

PER_DAY = 480
STEP_MS = DAY_MS // PER_DAY


def times(n: int, start: int = 0) -> Ints:
    return np.arange(start, start + n, dtype=np.int64) * STEP_MS


def daily(n: int, start: int = 0, seed: int = 1) -> Floats:
    noise = np.random.default_rng((seed, start)).standard_normal(n)
    sine: Floats = np.sin(2 * np.pi * times(n, start) / DAY_MS)
    return noise + sine


@cache
def fitted(n: int = 10 * PER_DAY) -> FeatureReference:
    return fit_feature("x", daily(n), times_ms=times(n))


def season_of(feature: FeatureReference) -> Season | None:
    return next(c.season for c in feature.channels if c.channel == "location")


def test_a_daily_season_is_learnt_from_ten_days() -> None:
    season = season_of(fitted())

    assert season is not None
    assert (season.period_ms, len(season.means)) == (DAY_MS, 24)
    assert season.n_periods == pytest.approx(10, abs=0.1)
    assert int(season.means.argmax()) in range(4, 8)
    assert int(season.means.argmin()) in range(16, 20)


def test_no_season_is_learnt_from_four_days_from_noise_from_dependence_or_without_times() -> None:
    rng = np.random.default_rng(2)
    n = 10 * PER_DAY
    dependent = np.convolve(rng.standard_normal(n + 99), 0.9 ** np.arange(100), "valid")

    assert season_of(fitted(4 * PER_DAY)) is None
    assert season_of(fit_feature("x", rng.standard_normal(n), times_ms=times(n))) is None
    assert season_of(fit_feature("x", dependent, times_ms=times(n))) is None
    assert season_of(fit_feature("x", daily(n))) is None


def test_the_hour_of_the_week_is_learnt_where_days_differ() -> None:
    n = 6 * 7 * PER_DAY
    when = times(n)
    weekend = (when // DAY_MS % 7 >= 5) * 1.5
    feature = fit_feature("x", daily(n) + weekend, times_ms=when)

    season = season_of(feature)
    assert season is not None
    assert (season.period_ms, len(season.means)) == (WEEK_MS, 168)


def signals(feature: FeatureReference, values: Floats, when: Ints) -> int:
    transform = Transform(feature)
    detectors = SignalDetectors(feature, transform, 6e6)
    return len(detectors.observe(transform.apply(values), when))


def test_a_season_as_before_is_silent_and_a_shift_under_it_is_found_at_once() -> None:
    start, n = 10 * PER_DAY, 60 * PER_DAY
    values, when = daily(n, start), times(n, start)
    blind = fit_feature("x", daily(start))

    assert signals(fitted(), values, when) == 0
    assert signals(fitted(), values[:200] + 0.8, when[:200]) > 0
    assert signals(blind, values[:200] + 0.8, when[:200]) == 0


def test_the_same_season_at_other_hours_is_a_change() -> None:
    start, n = 10 * PER_DAY, 2 * PER_DAY

    assert signals(fitted(), daily(n, start), times(n, start) + 12 * HOUR_MS) > 0


def test_a_season_needs_the_times_of_the_events() -> None:
    transform = Transform(fitted())
    with pytest.raises(ValueError, match="times"):
        SignalDetectors(fitted(), transform, 6e6).observe(transform.apply(daily(10)))


def test_residuals_do_not_depend_on_cuts() -> None:
    season = season_of(fitted())
    assert season is not None
    values = np.rint(daily(999) * FIXED_POINT).astype(np.int64)
    whole = season.residuals(values, times(999))
    parts = [season.residuals(values[i : i + 7], times(999)[i : i + 7]) for i in range(0, 999, 7)]

    assert np.concatenate(parts).tolist() == whole.tolist()


def test_an_episode_is_compared_with_the_reference_at_the_same_hours() -> None:
    """Six hours of a usual afternoon are no distance, though they are no usual day."""
    feature = fitted()
    assert feature.calendar is not None
    n = PER_DAY // 4
    transform = Transform(feature)
    bins = transform.bin[transform.apply(daily(n, seed=5)).index].astype(np.int64)
    tracks = [
        EpisodeTracker(feature.bin_counts, 1.0, EpisodePolicy(), calendar)
        for calendar in (None, feature.calendar)
    ]
    effects = []
    for track in tracks:
        counts = track._no_counts()
        counts.count(bins, times(n), None, None, track._calendar)
        effects.append(track._distance(counts)[0])

    assert effects[0] > 0.1
    assert effects[1] < 0.1


def test_hours_the_reference_never_saw_count_as_the_whole() -> None:
    counts = np.array([[30, 10], [0, 0]], dtype="<i4")
    calendar = BinCalendar(period_ms=DAY_MS, n_slots=2, counts=counts.tobytes(), tau=1.0)

    assert calendar.expected(np.array([0, 5])) == [1, 0]
    assert calendar.expected(np.array([5, 5])) == [30, 10]


@cache
def profile() -> ReferenceProfile:
    n = 10 * PER_DAY
    columns: dict[str, Any] = {"x": daily(n), "late": (daily(n, seed=3) > 1).tolist()}
    return fit_profile("m", "1", columns, task="binary", origin="training", times_ms=times(n))


def over_the_wire() -> Any:
    return msgspec.json.decode(msgspec.json.encode(profile_to_data(profile())))


def test_a_profile_with_seasons_reads_back() -> None:
    assert profile_from_data(over_the_wire()) == profile()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("calendar",), None, "season"),
        (("calendar", "n_slots"), 23, "calendar"),
        (("calendar", "tau"), 0.5, "tau"),
        (("calendar", "counts"), "////" * 320, "calendar"),
        (("calendar", "slot_means"), "AAAA", "means"),
        (("channels", 0, "season", "period_ms"), 0, "period"),
        (("channels", 0, "season", "n_periods"), 0.0, "period"),
        (("channels", 0, "season", "slot_means"), "", "slots"),
        (("channels", 0, "season", "slot_sds"), "AAAA" * 64, "sd"),
        (("channels", 2, "season"), "location's", "a season"),
    ],
    ids=str,
)
def test_an_inconsistent_season_is_rejected_with_a_reason(
    path: tuple[str | int, ...], value: Any, message: str
) -> None:
    data = copy.deepcopy(over_the_wire())
    target = data["features"]["x"]
    if value == "location's":
        value = target["channels"][0]["season"]
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value

    with pytest.raises(ValueError, match=message):
        profile_from_data(data)


@pytest.mark.parametrize("kind", ["seconds", "milliseconds", "dates", "text"])
def test_a_frame_names_the_column_of_its_times(kind: str) -> None:
    n = 10 * PER_DAY
    when: Any = np.asarray(times(n)) + 2_000 * WEEK_MS  # it is 2008, and a Thursday as in 1970
    if kind == "seconds":
        when = when / 1_000
    elif kind != "milliseconds":
        when = pd.to_datetime(when, unit="ms", utc=True)
    if kind == "text":
        when = [moment.isoformat() for moment in when]
    frame = pd.DataFrame({"x": daily(n), "at": when})

    made = profile_from_frame(frame, model="m", version="1", task="binary", time="at")
    assert list(made.features) == ["x"]
    assert season_of(made.features["x"]) == season_of(fitted())


def test_a_row_without_a_time_is_rejected() -> None:
    frame = pd.DataFrame({"x": daily(400), "at": [*times(399), None]})

    with pytest.raises(ValueError, match="'at'"):
        profile_from_frame(frame, model="m", version="1", task="binary", time="at")


@pytest.mark.parametrize(("start_h", "hours"), [(0, 1), (5.5, 1), (23.5, 1), (20, 9), (3, 24 * 7)])
def test_the_calendar_of_a_span_is_that_of_its_events(start_h: float, hours: float) -> None:
    calendar = fitted().calendar
    assert calendar is not None
    start_ms, end_ms = (
        10**12 + round(start_h * HOUR_MS),
        10**12 + round((start_h + hours) * HOUR_MS),
    )
    counted = np.bincount(
        calendar.slots_of(np.arange(start_ms, end_ms, 1_000)), minlength=calendar.n_slots
    )

    share = calendar.between(start_ms, end_ms)

    even = calendar.table.sum(axis=1)  # the reference has the same traffic at every hour, nearly
    expected = counted * even
    assert np.allclose(share / share.sum(), expected / expected.sum(), atol=1e-3)


@pytest.mark.parametrize("hour", [0, 6, 12, 18])
def test_a_window_of_one_hour_is_compared_with_that_hour(hour: int) -> None:
    profile = ReferenceProfile(
        model="m",
        version="1",
        task="binary",
        origin="training",
        features={"x": fitted()},
        prediction=None,
        loss=None,
        n_events=10 * PER_DAY,
    )
    size_ms, per_hour = HOUR_MS, 400
    start_ms = 100 * DAY_MS + hour * HOUR_MS
    when = start_ms + np.arange(per_hour, dtype=np.int64) * (size_ms // per_hour)
    usual = np.sin(2 * np.pi * when / DAY_MS) + np.random.default_rng(hour).standard_normal(
        per_hour
    )

    def effect(values: Floats) -> float:
        windows = TumblingWindows(WindowSpec(size_ms=size_ms), profile)
        transformed = {"x": Transform(fitted()).apply(values.tolist())}
        windows.observe(np.arange(per_hour), when, transformed)
        (closed,) = windows.observe(
            np.array([per_hour]),
            np.array([start_ms + 3 * size_ms]),
            {"x": Transform(fitted()).apply([0.0])},
        )
        return closed.features["x"].effect

    assert effect(usual) < 0.1
    assert effect(usual + 1.0) > 0.3


def test_four_weeks_prove_a_season_of_the_week() -> None:
    rng = np.random.default_rng(3)
    times = np.arange(4 * 7 * 24 * 10, dtype=np.int64) * 360_000
    weekend = times // 86_400_000 % 7 >= 5
    fitted = fit_feature("x", rng.normal(weekend * 2.0, 1.0), times_ms=times)

    season = fitted.channels[0].season
    assert season is not None
    assert season.period_ms == 7 * 86_400_000
    assert season.n_periods == pytest.approx(4, abs=0.1)
    assert fitted.channels[0].block == 8


def night_and_day(n: int, start: int, seed: int) -> Floats:
    """100 at midnight, 113 at six, 87 at eighteen; skewed noise of mean 0."""
    rng = np.random.default_rng(seed)
    return 100 + 13 * np.sin(2 * np.pi * times(n, start) / DAY_MS) + rng.exponential(5, n) - 5


def reported_at_six(*, profile_before: bool) -> tuple[str, float | None]:
    n = 10 * PER_DAY
    feature = fit_feature("x", night_and_day(n, 0, 1), times_ms=times(n))
    if profile_before:
        assert feature.calendar is not None
        calendar = msgspec.structs.replace(feature.calendar, slot_means=b"")
        feature = msgspec.structs.replace(feature, calendar=calendar)
    series = MonitoredSignal(feature, "data", 1e6, EpisodePolicy())
    start = n + PER_DAY // 4 - 40  # the fresh events lie around six
    values = night_and_day(400, start, 2) + 16
    at = np.arange(400)
    findings = series.observe(
        series.transform.apply(values), at, times(400, start), lambda p, back: (p - back, 0)
    )
    first = next(d for d in findings if d.check == "data" and d.decision.phase == "started")
    check = FeatureCheck(AlertSource("t", 0, "m", "1", "training"), "x", series)
    (finding,) = check.findings_of([first])
    return finding.explanation, finding.after


def test_a_sentence_compares_with_the_reference_at_the_same_hours() -> None:
    sentence, now = reported_at_six(profile_before=False)
    found = re.match(r"`x`: mean at these hours ([\d.]+) → ([\d.]+) since", sentence)
    assert found is not None, sentence
    before, after = map(float, found.groups())
    assert now is not None
    assert after == pytest.approx(now, abs=0.6)  # three digits of it
    # Of the whole it would be 100; what was added is 16, and the noise of 64 events 0.6.
    assert before == pytest.approx(now - 16, abs=2)
    assert before == pytest.approx(112.5, abs=1)
    assert reported_at_six(profile_before=True)[0].startswith("`x`: mean 100 → 1")


def test_a_share_is_compared_with_that_of_the_same_hours() -> None:
    n = 10 * PER_DAY
    rng = np.random.default_rng(5)

    def late(n: int, start: int, more: float) -> list[bool]:
        share = 0.3 + 0.25 * np.sin(2 * np.pi * times(n, start) / DAY_MS) + more
        found: list[bool] = (rng.random(n) < share).tolist()
        return found

    feature = fit_feature("late", late(n, 0, 0.0), times_ms=times(n))
    calendar = feature.calendar
    assert calendar is not None
    slots = np.zeros(24, dtype=np.int64)
    slots[6] = 100
    decision = PhaseDecision(
        "started",
        Suspicion(0, "rule", "location", "up", 0, 0, 0, 0),
        0.5,
        0.0,
        100,
        0,
        (20, 80),
        0,
        0,
        slots=tuple(slots.tolist()),
    )
    sentence = signal_message(SignalScope("data", "late", "1"), "data", feature, decision, 0.8)
    found = re.match(
        r"`late`: share of `(true|false)` at these hours ([\d.]+) % → ([\d.]+) %", sentence
    )
    assert found is not None, sentence
    before, after = (55, 80) if found[1] == "true" else (45, 20)
    assert float(found[2]) == pytest.approx(before, abs=8)
    assert float(found[3]) == after


def test_a_season_has_its_explained_share_and_its_unknown_hours() -> None:
    feature = fitted()
    season, calendar = season_of(feature), feature.calendar
    assert season is not None
    assert calendar is not None
    # A sine of amplitude 1 and noise of variance 1: a third of the variance.
    assert season.explained(calendar.table.sum(axis=1)) == pytest.approx(1 / 3, abs=0.04)
    assert season.uncertainty == pytest.approx(1.1, abs=0.01)
