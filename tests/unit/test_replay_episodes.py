"""Episodes of a replay, and what is computed from them: rules of pure functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from driftline.offline.check.column_check import holm
from driftline.offline.injection import parse
from driftline.offline.replay.replay_episodes import ReplayEpisode, n_incidents, only_in
from driftline.offline.replay.replay_report import injection_results
from driftline.offline.replay.row_records import RowOffsets
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import IncidentPolicy
from tests.builders import alert


def episode(feature: str, onset: int, alerted: int, ended: int | None = None) -> ReplayEpisode:
    return ReplayEpisode(
        feature=feature,
        kind="data",
        detector="adwin",
        severity="low",
        started_at="",
        ended_at=None,
        onset_event=onset,
        detected_event=alerted,
        alerted_event=alerted,
        ended_event=ended,
        explanation="",
    )


def test_changes_close_together_are_one_incident_by_time_or_by_rows() -> None:
    def at(row: int, name: str) -> DriftAlert:
        ms = 1_000 * row
        return alert(alert_id=name, episode_id=name, series=name, onset_ms=ms, decided_ms=ms)

    near, far = [at(0, "a"), at(2_000, "b")], [at(0, "a"), at(2_001, "b")]
    assert n_incidents([], None) == 0
    assert n_incidents(near, None) == 1
    assert n_incidents(far, None) == 2
    assert n_incidents(far, IncidentPolicy()) == 1
    assert n_incidents(near, IncidentPolicy(window_ms=60_000, cooldown_ms=0)) == 2
    assert n_incidents(near, IncidentPolicy(min_series=3)) == 0


def test_a_change_is_found_by_the_next_alert_of_its_column() -> None:
    injections = [parse("mean:a:1@100"), parse("mean:a:1@500"), parse("mean:b:1@100")]
    found = injection_results(injections, [episode("a", 90, 99), episode("a", 500, 530)])
    assert [one.delay_events for one in found] == [None, 30, None]
    assert [one.open_since for one in found] == [99, None, None]
    (missed,) = injection_results(injections[:1], [episode("a", 10, 20, ended=50)])
    assert (missed.delay_events, missed.open_since) == (None, None)


def test_the_same_change_is_neither_new_nor_gone() -> None:
    here = [episode("a", 10, 20, ended=50), episode("b", 10, 20)]
    there = [episode("a", 45, 60), episode("a", 70, 80)]
    assert only_in(here, there) == [here[1]]
    assert only_in(there, here) == [there[1]]


@given(st.integers(1, 2), st.integers(0, 10**9))
def test_a_place_leads_back_to_its_row(stride: int, row: int) -> None:
    places = RowOffsets(stride)
    assert {places.row(places.offset(row) + k) for k in range(stride)} == {row}
    assert places.offset(row) >= 1


@given(st.lists(st.floats(0, 1), max_size=30), st.floats(0.0001, 0.5))
def test_holm_rejects_at_least_what_bonferroni_does_and_the_smallest_first(
    p_values: list[float], alpha: float
) -> None:
    rejected = holm(p_values, alpha)
    for p, was_rejected in zip(p_values, rejected, strict=True):
        if p <= alpha / len(p_values):
            assert was_rejected
        if was_rejected:
            assert p <= alpha
    kept = [p for p, was in zip(p_values, rejected, strict=True) if not was]
    gone = [p for p, was in zip(p_values, rejected, strict=True) if was]
    assert not gone or not kept or max(gone) <= min(kept)
