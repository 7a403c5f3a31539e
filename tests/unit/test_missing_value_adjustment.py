"""A change that invalid values may explain raises an alert of broken data, and no other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from stream_monitor.checks.monitored_signal import SignalDecision
from stream_monitor.episodes.missing_values import fill_missing
from stream_monitor.statistics.distance import distances
from tests.benchmarks.detection.changes import Change, column_of
from tests.benchmarks.detection.feature_monitor import Watch
from tests.benchmarks.detection.plan import HIDDEN
from tests.benchmarks.detection.streams import Column, Floats, Stream, seen, times_ms

N_REFERENCE = 10_000
START = 12_500
N = START + 10_000
CATEGORIES = Stream("5 categories")


def latent(seed: int, n: int = N) -> tuple[np.random.Generator, Floats]:
    rng = np.random.default_rng(seed)
    return rng, rng.standard_normal(n)


def started(column: Column) -> list[tuple[str, int]]:
    """The signals that raised an alert, and the number of events after the change."""
    series = Watch(column[:N_REFERENCE]).series
    found: list[SignalDecision] = []
    for start in range(N_REFERENCE, len(column), 2_000):
        part = column[start : start + 2_000]
        times = times_ms(start, len(part))
        offsets = np.arange(start, start + len(part))
        found += series.observe(
            series.transform.apply(part), offsets, times, lambda at, back: (at - back, 0)
        )
    begun = [d for d in found if d.decision.phase == "started"]
    return sorted(((d.check, d.decision.offset - START) for d in begun), key=lambda each: each[1])


@pytest.mark.parametrize("stream", [Stream(), Stream("lognormal"), CATEGORIES])
@pytest.mark.parametrize("change", HIDDEN)
def test_values_missing_by_their_value_are_one_quality_alert(
    stream: Stream, change: Change
) -> None:
    rng, z = latent(1)

    reported = started(column_of(stream, change, z, START, rng))

    assert [track for track, _ in reported] == ["validity"]


def test_a_value_that_was_usually_missing_before_is_no_excuse() -> None:
    rng, z = latent(2)
    always = Change("shift", shift=0.5, missing_before=0.1, missing=0.1)

    reported = started(column_of(Stream(), always, z, START, rng))

    assert [track for track, _ in reported] == ["data"]


def test_a_change_larger_than_the_missing_values_explain_is_reported() -> None:
    rng, z = latent(3)
    both = Change("shift", shift=1.0, missing=0.05)

    reported = started(column_of(Stream(), both, z, START, rng))

    assert {track for track, _ in reported} == {"data", "validity"}
    assert len(reported) == 2


def test_drift_that_lasts_after_broken_data_is_reported_then() -> None:
    """A category gets a new name, then disappears: the valid values do not drift."""
    _, z = latent(4, N + 20_000)
    column = list(seen(CATEGORIES, z))
    sent: list[str] = [
        "new" if START <= i < N and value == "c0" else value
        for i, value in enumerate(column)
        if i < N or value != "c0"
    ]

    (first, _), (then, after) = started(sent)

    assert (first, then) == ("validity", "data")
    assert N - START < after < N - START + 2_000


@given(
    counts=st.lists(st.integers(0, 200), min_size=2, max_size=10),
    n_more=st.integers(1, 300),
    seed=st.integers(0, 1000),
)
def test_no_other_way_of_giving_back_leaves_less(counts: list[int], n_more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    expected = rng.integers(1, 300, len(counts)).tolist()

    filled = fill_missing(counts, expected, n_more)

    other = rng.multinomial(n_more, rng.dirichlet(np.ones(len(counts)))) + counts
    assert all(a >= b for a, b in zip(filled, counts, strict=True))
    assert abs(sum(filled) - sum(counts) - n_more) <= len(counts) / 2
    assume(sum(filled))  # of one event, halves may be left of each
    rounding = len(counts) * 3 / sum(filled)
    of_filled = distances(filled, expected, 1.0).psi
    assert of_filled <= distances(other.tolist(), expected, 1.0).psi + rounding
