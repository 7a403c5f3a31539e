from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.failpoints import parse_failpoint
from stream_monitor.contracts import DriftAlert
from tests import builders
from trainer.policy.data_quality_guard import QualityEpisode
from trainer.policy.decide import Decision, History, decide
from trainer.policy.excluded_ranges import ExcludedRange, excluded_range_of, excludes_data
from trainer.policy.retrain_policy import DAY_MS, RetrainPolicy

SPEC = RetrainPolicy()
NOW_MS = 1_700_000_000_000
BROKEN = QualityEpisode("q", "temp", None, NOW_MS - 60_000, None, "temp: missing 1 % → 9 %")
IMPROVED = {"direction": "better", "before": 0.39, "after": 0.16}
TEMP = {"kind": "data", "series": "feature/temp", "feature": "temp"}


def alert(**changes: object) -> DriftAlert:
    """An alert of the error of model ``m``, decided now."""
    return builders.alert(
        **{
            "episode_id": "e1",
            "kind": "concept",
            "severity": "high",
            "series": "loss",
            "feature": None,
            "onset_ms": NOW_MS - 3_600_000,
            "detected_ms": NOW_MS - 60_000,
            "decided_ms": NOW_MS,
        }
        | changes
    )


DAY_OF_JOBS = (NOW_MS - DAY_MS + 1, *[NOW_MS] * (SPEC.max_retrains_per_day - 1))


def decided(history: History = History(), **changes: object) -> Decision:  # noqa: B008 - immutable
    return decide(alert(**changes), history, SPEC)


def test_a_loss_that_fell_less_than_it_should_have_is_no_improvement() -> None:
    assert decided(direction="up", before=0.39, after=0.16).action == "request"
    assert decided(direction="down", before=0.39, after=0.5).action == "request"
    assert decided(kind="data", direction="down").action == "request"


def test_an_episode_that_may_be_over_asks_for_nothing() -> None:
    assert (
        decided(phase="ongoing", recovery_events=310, recovery_events_needed=600).action == "ignore"
    )
    assert decided(phase="ongoing", recovery_events=0).action == "request"


@pytest.mark.parametrize("kind", ["data", "concept"])
@pytest.mark.parametrize("phase", ["started", "ongoing"])
def test_confirmed_drift_asks_for_a_retrain(kind: str, phase: str) -> None:
    decision = decided(kind=kind, phase=phase)

    assert (decision.action, decision.rule) == ("request", "drift")
    assert decision.numbers["min_labelled_events"] == 1_000


@pytest.mark.parametrize(
    ("history", "changes", "rule"),
    [
        (History(), {"kind": "quality"}, "data_quality"),
        (History(), {"kind": "quality", "cause": "schema"}, "data_quality"),
        (History(), {"kind": "data", "cause": "unit_change"}, "data_quality"),
        (History(), {"direction": "better"}, "improved"),
        (History(), IMPROVED, "improved"),
        (History(), {"kind": "volume"}, "traffic"),
        (History(), {"kind": "labels", "severity": "high"}, "traffic"),
        (History(has_factory=False), {}, "no_factory"),
        (History(champion="2"), {}, "old_version"),
        (History(), {"champion": "2"}, "old_version"),
        (History(champion="1"), {"champion": "2"}, "old_version"),
        (History(quality=(BROKEN,), running_job_id="j"), TEMP, "data_quality_open"),
        (History(running_job_id="j"), {}, "already_running"),
        (History(finished_ms=NOW_MS - SPEC.cooldown_ms + 1), {}, "cooldown"),
        (History(), {"kind": "data", "severity": "low"}, "immaterial"),
        (History(), {"kind": "prediction", "severity": "high"}, "immaterial"),
        (History(asked_ms=DAY_OF_JOBS), {}, "daily_budget"),
    ],
)
def test_a_decline_names_its_rule(history: History, changes: dict[str, str], rule: str) -> None:
    decision = decided(history, **changes)

    assert (decision.action, decision.rule) == ("decline", rule)
    assert decision.reason.endswith(".")


def test_limits_are_exact() -> None:
    assert decided(History(finished_ms=NOW_MS - SPEC.cooldown_ms)).action == "request"
    assert decided(History(asked_ms=(*DAY_OF_JOBS[1:], NOW_MS - DAY_MS))).action == "request"


@pytest.mark.parametrize("phase", ["started", "ongoing", "recovered", "superseded"])
def test_a_drill_asks_for_nothing_and_ends_nothing(phase: str) -> None:
    history = History(waiting_episode_id="e1", running_job_id="j")

    assert decided(history, drill=True, phase=phase) == Decision("ignore", "drill")


def test_an_episode_is_decided_on_once() -> None:
    assert decided(History(episode_decided=True), phase="ongoing").action == "ignore"


def test_the_end_of_an_episode_cancels_the_job_that_waits_for_labels() -> None:
    assert decided(History(waiting_episode_id="e1"), phase="recovered").action == "cancel"
    assert decided(History(waiting_episode_id="e1"), phase="superseded").action == "cancel"
    assert decided(History(waiting_episode_id="e1"), phase="resolved").action == "cancel"
    assert decided(History(waiting_episode_id="e2"), phase="recovered").action == "ignore"


@pytest.mark.parametrize("phase", ["acknowledged", "snoozed"])
def test_a_command_on_an_episode_requests_no_retrain(phase: str) -> None:
    assert decided(phase=phase).action == "ignore"


@given(
    running=st.none() | st.just("j"),
    finished=st.none() | st.integers(0, 2 * NOW_MS),
    asked=st.lists(st.integers(0, 2 * NOW_MS), max_size=6).map(tuple),
    champion=st.sampled_from([None, "1", "2"]),
    phase=st.sampled_from(["started", "ongoing", "recovered", "superseded"]),
    known=st.booleans(),
)
def test_broken_data_never_ask_for_a_retrain(
    running: str | None,
    finished: int | None,
    asked: tuple[int, ...],
    champion: str | None,
    phase: str,
    known: bool,  # noqa: FBT001
) -> None:
    history = History(
        champion,
        running_job_id=running,
        episode_decided=known,
        finished_ms=finished,
        asked_ms=asked,
    )
    for changes in ({"kind": "quality"}, {"kind": "data", "cause": "unit_change"}):
        assert decide(alert(phase=phase, **changes), history, SPEC).action in ("decline", "ignore")


@given(
    running=st.none() | st.just("j"),
    asked=st.lists(st.integers(0, 2 * NOW_MS), max_size=6).map(tuple),
    starts=st.lists(st.integers(0, 2 * NOW_MS), min_size=1, max_size=4),
    ends=st.lists(st.none() | st.integers(0, 2 * NOW_MS), min_size=4, max_size=4),
    onset_ms=st.integers(0, NOW_MS),
)
def test_drift_of_a_feature_asks_only_where_nothing_of_it_is_broken_and_counts_from_there(
    running: str | None,
    asked: tuple[int, ...],
    starts: list[int],
    ends: list[int | None],
    onset_ms: int,
) -> None:
    quality = tuple(
        BROKEN._replace(episode_id=f"q{i}", start_ms=start, end_ms=ends[i])
        for i, start in enumerate(starts)
    )
    history = History(running_job_id=running, asked_ms=asked, quality=quality)

    decision = decide(alert(onset_ms=onset_ms, **TEMP), history, SPEC)

    broken = [one.start_ms for one in quality if one.end_ms is None]
    if broken:
        assert (decision.action, decision.rule) == ("decline", "data_quality_open")
        assert decision.numbers["quality_onset_ms"] == min(broken)
    elif decision.action == "request":
        over = [one.end_ms for one in quality if one.end_ms is not None]
        assert decision.numbers["labels_since_ms"] == max([onset_ms, *over])


def test_a_broken_span_lasts_from_the_onset_to_the_recovery() -> None:
    broken = alert(kind="quality", cause="unit_change")

    assert excludes_data(broken)
    assert excluded_range_of(broken) == ExcludedRange("e1", broken.onset_ms, None, "1")
    assert excluded_range_of(alert(phase="recovered")).end_ms == NOW_MS
    assert not excludes_data(alert(kind="quality", severity="low"))


def test_impossible_limits_are_rejected() -> None:
    with pytest.raises(ValueError, match="max_rows must be positive"):
        RetrainPolicy(max_rows=0)
    with pytest.raises(ValueError, match="holdout_rows must be positive"):
        RetrainPolicy(holdout_rows=0)


@pytest.mark.parametrize(
    "setting", ["nowhere", "trainer.alert.received:0", "trainer.alert.received:x"]
)
def test_an_unknown_failpoint_is_rejected(setting: str) -> None:
    with pytest.raises(ValueError, match="DRIFTLINE_FAILPOINT"):
        parse_failpoint(setting)


@pytest.mark.parametrize("kind", ["data", "prediction", "concept"])
def test_an_estimated_error_alone_neither_asks_for_a_retrain_nor_prevents_one(kind: str) -> None:
    """The estimate needs no label and proves nothing; only labelled events compare challengers."""
    without = decided(kind=kind)

    assert decided(kind=kind, estimated_before=0.24, estimated_after=0.6) == without
    assert decided(kind=kind, estimated_before=0.24, estimated_after=0.1) == without
