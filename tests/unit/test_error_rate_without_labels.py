"""The error rate without labels: near the truth while only inputs move, blind to the truth."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import msgspec
import numpy as np
import pandas as pd
import pytest

from producer.events import Prediction
from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.version import VersionMonitor
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.batch import EventBatch, Ints
from stream_monitor.labels.join import JoinedLabel
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data
from stream_monitor.statistics.fixed_point import FIXED_POINT
from stream_monitor.windows.tumbling import TumblingWindows, WindowSpec
from tests.benchmarks.error_estimation import CHANGES, Change, Rows, estimated, profile_of, rows
from tests.builders import stored, table_of

NONE = CHANGES[0]
MIDNIGHT_MS = 19_676 * 24 * 3_600_000
BY_NAME: Mapping[str, Change] = {change.name: change for change in CHANGES}


@lru_cache(maxsize=1)
def profile() -> ReferenceProfile:
    return profile_of(rows(np.random.default_rng(0), 10_000, NONE))


def watched(reference: ReferenceProfile | None = None) -> VersionMonitor:
    return VersionMonitor("t", 0, reference or profile(), Budget(), EpisodePolicy(), 1000)


def batch_of(predictions: list[Prediction], start: int = 0) -> EventBatch:
    n = len(predictions)
    where = np.arange(start, start + n)
    return EventBatch(
        model="m",
        version="1",
        offsets=where,
        times_ms=where * 1000,
        ids=where.astype(np.uint64),
        predictions=predictions,
        features=table_of({}, n),
        segments=table_of({}, n),
    )


def labels_of(events: Rows, start: int = 0) -> list[JoinedLabel]:
    return [
        JoinedLabel(start + i, "1", (start + i) * 1000, 0, score, label)
        for i, (score, label) in enumerate(
            zip(events.scores.tolist(), events.labels.tolist(), strict=True)
        )
    ]


def reported(change: Change, seed: int = 7, n: int = 6_000) -> list[DriftAlert]:
    """The alerts of 2,000 events like the reference, then of ``n`` after a change; all labelled."""
    rng = np.random.default_rng(seed)
    version = watched()
    alerts: list[DriftAlert] = []
    start = 0
    for events in (rows(rng, 2_000, NONE), rows(rng, n, change)):
        alerts += version.observe(batch_of(events.scores.tolist(), start))[1]
        alerts += version.observe_labels(version.compare_labels(labels_of(events, start)))
        start += len(events.scores)
    return alerts


@pytest.mark.parametrize("name", ["none", "+0.5 sd", "+1 sd", "-1.5 sd", "x 0.5", "x 2"])
def test_the_estimate_is_near_the_truth_where_only_the_inputs_move(name: str) -> None:
    events = rows(np.random.default_rng(1), 40_000, BY_NAME[name])

    assert abs(estimated(profile(), events) - events.errors.mean()) < 0.025


def test_the_estimate_is_blind_to_a_change_of_the_truth() -> None:
    events = rows(np.random.default_rng(1), 40_000, BY_NAME["concept"])

    assert abs(estimated(profile(), events) - estimated_before()) < 0.01
    assert events.errors.mean() - estimated(profile(), events) > 0.1


def estimated_before() -> float:
    return ErrorEstimate(profile()).table.mean


def test_an_alert_of_the_prediction_has_the_expected_error() -> None:
    alerts = [alert for alert in reported(BY_NAME["-1.5 sd"]) if alert.kind == "prediction"]
    first = alerts[0]

    assert first.series == "prediction"
    assert first.estimated_before == pytest.approx(0.26, abs=0.01)
    assert first.estimated_after == pytest.approx(0.18, abs=0.04)
    assert "Expected error rate 26" in first.explanation
    assert "estimated without labels. Check which features changed" in first.explanation


def test_a_loss_that_the_predictions_explain_is_marked_as_explained() -> None:
    alerts = [alert for alert in reported(BY_NAME["-1.5 sd"]) if alert.kind == "concept"]

    assert [alert.channel for alert in alerts[:1]] == ["location"]
    assert alerts[0].explanation.endswith("a new profile would describe the model as it is now.")
    assert "the change of the inputs explains it" in alerts[0].explanation


@pytest.mark.parametrize("name", ["+1 sd", "-1.5 sd", "x 0.5", "x 2"])
def test_an_error_that_the_inputs_explain_does_not_contradict_the_estimate(name: str) -> None:
    assert not [alert for alert in reported(BY_NAME[name], n=10_000) if alert.channel == "residual"]


def test_concept_drift_is_reported_from_labels_alone() -> None:
    alerts = reported(BY_NAME["concept"])

    assert {alert.kind for alert in alerts} == {"concept"}
    assert [alert.phase for alert in alerts if alert.phase == "started"] == ["started"]
    first = alerts[0]
    assert first.after == pytest.approx(0.42, abs=0.08)
    assert first.estimated_after == pytest.approx(0.26, abs=0.04)
    assert "has changed (concept drift). Retrain on labelled" in first.explanation


def test_a_change_of_the_truth_that_easier_cases_hide_contradicts_the_estimate() -> None:
    """The error rate is unchanged: only its comparison with the expected error shows the change."""
    (first,) = [alert for alert in reported(BY_NAME["both"]) if alert.kind == "concept"]

    assert first.channel == "residual"
    assert first.before == pytest.approx(first.after or 0, abs=0.04)
    assert (first.after or 0) - (first.estimated_after or 0) > 0.05


def test_with_an_error_season_each_hour_is_compared_with_its_own_predictions() -> None:
    """At night scores lie in the middle and err more: that is no change, a twisted truth is."""
    rng = np.random.default_rng(0)
    n = 26_000
    times_ms = MIDNIGHT_MS + np.arange(n) * 60_000
    night = times_ms // 3_600_000 % 24 < 8
    scores = np.where(night, rng.beta(2, 2, n), rng.beta(0.5, 0.5, n))
    labels = (rng.random(n) < scores).astype(np.int64)
    labels[20_000:] ^= rng.random(n - 20_000) < 0.15
    frame = pd.DataFrame({"score": scores, "label": labels, "at": times_ms})
    reference = profile_from_frame(
        frame[:14_000], model="m", version="1", prediction="score", label="label", time="at"
    )
    version = watched(profile_from_data(profile_to_data(reference)))
    later = labels_of(Rows(np.zeros((n, 3)), scores, labels))[14_000:]
    later = [label._replace(event_time_ms=MIDNIGHT_MS + label.offset * 60_000) for label in later]

    assert reference.expected_loss is not None
    assert reference.expected_loss.outcome.calendar is not None
    assert version.observe_labels(version.compare_labels(later[:6_000])) == []
    alerts = version.observe_labels(version.compare_labels(later[6_000:]))
    assert [alert.phase for alert in alerts[:1]] == ["started"]
    assert (alerts[0].after or 0) - (alerts[0].estimated_after or 0) > 0.05


def test_no_change_raises_no_alert() -> None:
    assert reported(NONE, n=20_000) == []


def maps(rng: np.random.Generator, n: int, sureness: float) -> tuple[list[Prediction], list[str]]:
    """Predictions of three classes with calibrated probabilities."""
    logits = rng.standard_normal((n, 3)) * sureness
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (shares.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    names = np.array(["a", "b", "c"])
    predicted: list[Prediction] = [dict(zip("abc", row, strict=True)) for row in shares.tolist()]
    return predicted, names[truth].tolist()


def test_the_confidence_of_several_classes_is_a_signal_of_its_own() -> None:
    """The classes themselves stay as frequent as they were."""
    rng = np.random.default_rng(3)
    predicted, truth = maps(rng, 5_000, 3.0)
    reference = profile_from_frame(
        pd.DataFrame({"predicted": predicted, "truth": truth}),
        model="m",
        version="1",
        prediction="predicted",
        label="truth",
    )
    unsure, labels = maps(rng, 4_000, 1.5)
    version = watched(profile_from_data(profile_to_data(reference)))
    alerts = version.observe(batch_of(unsure))[1]
    joined = [
        JoinedLabel(i, "1", i, 0, p, y) for i, (p, y) in enumerate(zip(unsure, labels, strict=True))
    ]
    version.observe_labels(version.compare_labels(joined))
    assert version.estimate is not None
    shares = version.estimate.of_labels

    assert {alert.series for alert in alerts} == {"confidence"}
    assert "Expected error rate" in alerts[0].explanation
    assert shares.expected == pytest.approx(shares.realised, abs=0.05)


def test_noise_is_not_taken_for_knowledge() -> None:
    """Scores without information: an estimate from one half of them holds for the other half."""
    rng = np.random.default_rng(5)
    scores, labels = rng.random(2_000), (rng.random(2_000) < 0.3).astype(np.int64)
    made = profile_of(Rows(np.zeros((2_000, 3)), scores, labels))
    fresh = Rows(np.zeros((20_000, 3)), rng.random(20_000), np.zeros(20_000, dtype=np.int64))

    assert made.expected_loss is not None
    (residual,) = [c for c in made.expected_loss.outcome.channels if c.channel == "residual"]
    assert abs(residual.mean) < 0.01
    assert residual.sd * np.sqrt(residual.block) > 0.45  # no smaller than that of the labels
    assert estimated(made, fresh) == pytest.approx(0.5, abs=0.03)


def test_a_window_carries_the_estimate_of_its_events() -> None:
    scores = rows(np.random.default_rng(2), 1_200, NONE).scores.tolist()
    spec = WindowSpec(size_ms=1_000_000, grace_ms=0)
    windows, closed = TumblingWindows(spec, profile()), []
    for start in (0, 600):
        batch = batch_of(scores[start : start + 600], start)
        transformed, _, losses = watched().observe(batch)
        closed += windows.observe(batch.offsets, batch.times_ms, transformed, losses)
        parts = stored(windows.take_changes())
        windows = TumblingWindows(spec, profile())
        windows.restore(parts)
    (window,) = closed
    estimate = ErrorEstimate(profile())
    expected = estimate.losses_of(estimate.look_up(scores[:1_000]))

    assert window.n_estimated == 1_000
    assert window.estimated_loss == expected.sum() / 1_000 / FIXED_POINT


def test_recent_spans_do_not_depend_on_batches() -> None:
    losses: Ints = np.arange(5_000) * 100 % FIXED_POINT
    whole, parts = ErrorEstimate(profile()), ErrorEstimate(profile())
    whole.observe(losses)
    for start in range(0, 5_000, 700):
        parts.observe(losses[start : start + 700])
        again = ErrorEstimate(profile())
        again.restore(parts.snapshot())
        parts = again

    assert parts.snapshot() == whole.snapshot()
    assert whole.of_predictions.n_events == 1024 + 5_000 % 1024


def test_a_profile_with_an_estimate_is_read_back_and_one_without_too() -> None:
    data = profile_to_data(profile())
    without = {name: part for name, part in data.items() if name != "expected_loss"}

    assert profile_from_data(msgspec.json.decode(msgspec.json.encode(data))) == profile()
    assert profile_from_data(without).expected_loss is None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("starts", [0], "bins do not match"), ("starts", [1, *range(2, 51)], "bins overlap")],
)
def test_an_impossible_estimate_is_rejected(field: str, value: object, reason: str) -> None:
    data = profile_to_data(profile())
    data["expected_loss"] = data["expected_loss"] | {field: value}

    with pytest.raises(ValueError, match=reason):
        profile_from_data(data)


def test_a_missing_estimate_has_a_reason() -> None:
    rng = np.random.default_rng(4)
    predicted = rng.random(1_000) * 50
    number = profile_from_frame(
        pd.DataFrame({"predicted": predicted, "truth": predicted + 1}),
        model="m",
        version="1",
        prediction="predicted",
        label="truth",
    )
    few = profile_from_frame(
        pd.DataFrame({"predicted": rng.random(1_000), "truth": [1.0] * 100 + [None] * 900}),
        model="m",
        version="1",
        prediction="predicted",
        label="truth",
    )

    assert "contain no confidence" in number.skipped["expected loss of the model"]
    assert "100 labels of 1000" in few.skipped["expected loss of the model"]
