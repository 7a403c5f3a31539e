"""A warm-up collects the same rows for any batch boundaries, and becomes a reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.events import Value
from stream_monitor.core.version import VersionMonitor
from stream_monitor.core.warm_up import WarmUp, features_of
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.columns import to_batch
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.fit import fit_profile
from tests.builders import inference_event

ROWS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.none() | st.floats(-1, 1), max_size=3),
    min_size=1,
    max_size=12,
)


def taken(rows: list[dict[str, Value]], cuts: list[int]) -> WarmUp:
    events = [inference_event(str(i), row, time_ms=i) for i, row in enumerate(rows)]
    warm_up = WarmUp("m", "1", 200)
    edges = [0, *cuts, len(rows)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            warm_up.add(to_batch("m", "1", range(start, end), events[start:end]))
    return warm_up


def test_names_that_few_rows_have_become_no_features() -> None:
    rows: list[dict[str, Value]] = [{"a": i / 60, f"made-up-{i}": 1.0} for i in range(60)]
    rows += [{"a": i / 60, "b": i % 7} for i in range(60, 1_000)]

    assert sorted(taken(rows, [50]).profile().features) == ["a", "b"]


def test_the_most_frequent_names_become_features() -> None:
    counts = {f"n{i:03}": 100 + (i % 3) for i in range(700)}
    found = features_of(counts, 1_000)

    assert len(found) == 512
    assert found == sorted(found)
    assert all(f"n{i:03}" in found for i in range(700) if i % 3)


@given(ROWS, st.lists(st.integers(0, 12), max_size=4))
def test_features_that_only_some_events_have_leave_the_same_rows(
    rows: list[dict[str, Value]], cuts: list[int]
) -> None:
    inside = sorted(min(cut, len(rows)) for cut in cuts)
    assert taken(rows, inside).take_changes() == taken(rows, []).take_changes()


@pytest.mark.parametrize(
    ("negative", "positive", "reported"), [(0, 1, True), ("0", "1", True), ("no", "yes", False)]
)
def test_text_labels_need_the_positive_one(
    negative: int | str, positive: int | str, *, reported: bool
) -> None:
    """Taken for negative ones, a change of the scores alone would be one of the truth."""
    rng = np.random.default_rng(8)
    profile = fit_profile(
        "m",
        "1",
        {},
        predictions=rng.uniform(0.0, 1.0, 500).tolist(),
        task="binary",
        origin="warm_up",
    )
    version = VersionMonitor("t", 0, profile, Budget(), EpisodePolicy(), 500)
    alerts = []
    for i in range(4_000):
        score = float(rng.uniform(0.0, 1.0) if i < 2_000 else rng.uniform(0.6, 1.0))
        is_so = (rng.random() < score) != (i >= 2_000)  # the truth turns round
        joined = JoinedLabel(i, "1", 1_000 * i, 0, score, positive if is_so else negative)
        alerts += version.observe_labels(version.compare_labels([joined]))

    assert [alert.kind for alert in alerts] == ["concept"] * reported
    assert version.not_comparable == (0 if reported else 4_000)
