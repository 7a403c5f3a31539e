"""Invalid, multiple and missing predictions: the event still counts, and an alert is raised."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from producer.events import Event, Label, ModelUpdate
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.core.warm_up import WarmUp, WarmUpRow, task_of
from stream_monitor.detectors.calibration import Budget
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.outputs import output_names
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from tests.builders import batch_of, inference_event, record_of, stored
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import run

SPEC = MonitorSpec(budget=Budget(false_alerts=1.0, per_events=100_000), warm_up_events=600)
N = 600

Predict = Callable[[random.Random, int], Any]


def score(rng: random.Random, _: int) -> float:
    return min(1.0, max(0.0, rng.gauss(0.4, 0.1)))


def outputs(rng: random.Random, _: int) -> dict[str, float]:
    return {"eta": rng.gauss(30, 5), "price": rng.gauss(200, 20)}


def listed(rng: random.Random, _: int) -> list[float]:
    return [rng.gauss(30, 5), rng.gauss(200, 20)]


def profile(predict: Predict, seed: int = 1) -> ReferenceProfile:
    rng = random.Random(seed)  # noqa: S311
    predicted = [predict(rng, i) for i in range(2_000)]
    columns = {"x": [rng.gauss(0, 1) for _ in predicted]}
    return fit_profile(
        "m", "1", columns, predictions=predicted, task=task_of(predicted), origin="training"
    )


def reported(
    before: Predict,
    after: Predict,
    n_after: int = 1_000,
    *,
    warm: bool = False,
    coverage: bool = False,
) -> list[DriftAlert]:
    """The alerts of `N` events that are as the reference, and then of others."""
    rng = random.Random(2)  # noqa: S311
    records = []
    if not warm:
        data = profile_to_data(profile(before))
        update = ModelUpdate(id="u", model="m", version="1", time_ms=0, profile=data)
        records.append(record_of(0, update))
    for i in range(N + n_after):
        event = inference_event(
            f"e{i}", {"x": rng.gauss(0, 1)}, (before if i < N else after)(rng, i), time_ms=i * 1_000
        )
        records.append(record_of(i + 1, event, i * 1_000))
    monitor = PartitionMonitor("t", 0, SPEC)
    seen = monitor.observe(RecordBatch("t", 0, "e", 0, len(records) + 1, records))
    assert not seen.dead_letters
    assert monitor.counters.valid == N + n_after
    without = ("volume",) if coverage else ("coverage", "volume")
    return [alert for alert in seen.alerts if alert.kind not in without]


def always(value: Any) -> Predict:
    return lambda _rng, _i: value


@pytest.mark.parametrize("before", [score, outputs, listed])
@pytest.mark.parametrize("after", [None, ["first", "second"], {"a": [1]}, "no number"])
def test_a_model_with_invalid_predictions_is_reported_at_once(before: Predict, after: Any) -> None:
    alerts = reported(before, always(after))
    assert alerts
    assert {(alert.kind, alert.phase) for alert in alerts} == {("quality", "started")}
    assert all(alert.series.startswith("prediction") for alert in alerts)
    assert all("prediction" in alert.explanation.lower() for alert in alerts)
    assert max(alert.decided_offset for alert in alerts) <= N + 100


def test_one_prediction_in_ten_that_is_not_a_number_is_reported() -> None:
    def partly(rng: random.Random, i: int) -> float | None:
        return None if i % 10 == 0 else score(rng, i)

    [alert] = reported(score, partly)
    assert (alert.kind, alert.series) == ("quality", "prediction")


@pytest.mark.parametrize("before", [score, outputs, listed])
def test_events_without_a_prediction_change_nothing_of_the_model(before: Predict) -> None:
    def seldom(rng: random.Random, i: int) -> Any:
        return before(rng, i) if i % 3 == 0 else UNSET

    assert reported(before, always(UNSET)) == []
    assert reported(before, seldom, 3_000) == []
    assert reported(seldom, before, 3_000) == []


@pytest.mark.parametrize("before", [score, outputs, listed])
def test_events_that_lose_their_prediction_are_named_as_not_watched(before: Predict) -> None:
    [alert] = reported(before, always(UNSET), coverage=True)
    assert (alert.kind, alert.cause, alert.severity) == ("coverage", "prediction_absent", "medium")
    assert "have no prediction" in alert.explanation
    assert alert.decided_offset <= N + 100
    assert reported(before, before, coverage=True) == []


def test_a_shift_is_found_among_events_without_a_prediction() -> None:
    def seldom(rng: random.Random, i: int) -> Any:
        return min(1.0, score(rng, i) + 0.2) if i % 3 == 0 else UNSET

    [alert] = reported(score, seldom)
    assert (alert.kind, alert.series, alert.direction) == ("prediction", "prediction", "up")
    assert N - 100 <= alert.onset_offset <= N + 60


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize("before", [outputs, listed])
def test_each_of_several_outputs_is_watched(before: Predict, *, warm: bool) -> None:
    def after(rng: random.Random, i: int) -> Any:
        predicted = before(rng, i)
        if isinstance(predicted, dict):
            return predicted | {"price": predicted["price"] + 40}
        return [predicted[0], predicted[1] + 40]

    [alert] = reported(before, after, warm=warm)
    name = "price" if before is outputs else "1"
    assert (alert.kind, alert.series) == ("prediction", f"prediction/{name}")
    assert alert.explanation.startswith(f"Prediction `{name}`: mean ")


def test_a_missing_output_is_quality() -> None:
    [alert] = reported(outputs, lambda rng, i: {"eta": outputs(rng, i)["eta"]})
    assert (alert.kind, alert.series) == ("quality", "prediction/price")


@pytest.mark.parametrize(
    ("predictions", "names"),
    [
        ([{"UA": 0.7, "AA": 0.3}] * 9 + [None], []),
        ([{"UA": 0.5}, {"AA": 0.6}, {"DL": 0.7}], []),  # the best one of many
        ([{"spam": 0.9, "urgent": 0.8}, {"spam": 0.1, "urgent": 0.9}], ["spam", "urgent"]),
        ([{"a": 3.0, "b": -1.0}], ["a", "b"]),
        ([[1.0, 2.0, 3.0]] * 3 + [[1.0]], ["0", "1", "2"]),
        ([0.5, 0.6, [1.0, 2.0]], []),
        ([None, UNSET], []),
        ([], []),
    ],
)
def test_the_names_of_several_outputs(predictions: list[Any], names: list[str]) -> None:
    assert output_names(predictions) == names


def test_a_warm_up_keeps_what_has_no_prediction_apart_from_what_is_invalid() -> None:
    rows = [WarmUpRow({"x": 1.0}, i, p) for i, p in enumerate((UNSET, None, 0.5))]
    warm_up = WarmUp("m", "1", 5)
    warm_up._rows = list(rows)
    parts = stored(warm_up.take_changes())
    again = WarmUp("m", "1", 5)
    again.restore(parts)
    assert again._rows == rows


def odd(rng: random.Random, i: int) -> Any:
    """Predictions of every kind, later ones higher; from the 500th event on some have none."""
    predicted = min(1.0, score(rng, i) + 0.3 * (i > 900))
    if i < 500 or i % 3:
        return predicted
    return [UNSET, None, [predicted, 1.0], UNSET, {"a": predicted}][i // 3 % 5]


@given(st.lists(st.integers(0, 1_500), max_size=4))
@settings(max_examples=examples(4))
def test_results_do_not_depend_on_batch_boundaries_or_restarts(cuts: list[int]) -> None:
    assert {"prediction", "quality"} <= {alert.kind for alert in ODD[0]}
    assert run(LOG, [499, 905, *cuts], restart=True) == ODD


def log_of(predict: Predict) -> list[ConsumerRecord]:
    rng = random.Random(7)  # noqa: S311
    records: list[ConsumerRecord] = []
    for i in range(1_500):
        event = inference_event(
            f"e{i}",
            {"x": rng.gauss(0, 1)},
            predict(rng, i),
            time_ms=i * 1_000,
            segment={"site": "north"},
        )
        label = Label(id=f"e{i}", model="m", label=int(i % 2), time_ms=i * 1_000)
        for one in (event, label):
            offset = len(records)
            records.append(record_of(offset, one, i * 1_000))
    return records


LOG = log_of(odd)
ODD = run(LOG, [])


LABELLED = [
    ("binary", 1, None, 1, True),
    ("binary", 1, None, True, True),
    ("binary", 1, None, 2, False),
    ("binary", 1, None, "yes", False),
    ("binary", 1, None, [1], False),
    ("binary", 2, ("1", "2"), 1, True),
    ("binary", 2, ("1", "2"), 0, False),
    ("binary", "yes", ("no", "yes"), "no", True),
    ("binary", "yes", ("no", "yes"), 0, True),
    ("binary", "yes", ("no", "yes"), "nope", False),
    ("regression", 1, None, "4.5", False),
    ("regression", 1, None, 4.5, True),
]


@pytest.mark.parametrize(("task", "positive", "classes", "label", "compared"), LABELLED)
def test_a_label_is_compared_or_counted_as_not_comparable(
    task: Any, positive: Any, classes: tuple[str, ...] | None, label: Any, *, compared: bool
) -> None:
    rng = random.Random(1)  # noqa: S311
    predicted = [score(rng, i) for i in range(400)]
    losses = [float(p > 0.5) for p in predicted] if classes else None
    made = fit_profile(
        "m",
        "1",
        {"x": predicted},
        predictions=predicted,
        task=task,
        origin="training",
        positive=positive,
        losses=losses,
    )
    made = msgspec.structs.replace(made, labels=classes or ())
    update = ModelUpdate(id="u", model="m", version="1", time_ms=0, profile=profile_to_data(made))
    events: list[Event] = [
        update,
        *(inference_event(f"e{i}", {"x": 0.1}, 0.4, time_ms=i) for i in range(5)),
        *(Label(id=f"e{i}", model="m", label=label, time_ms=i) for i in range(5)),
    ]
    records = [record_of(i, e, 9) for i, e in enumerate(events)]
    monitor = PartitionMonitor("t", 0, SPEC)
    monitor.observe(batch_of(records))
    watched = monitor.models["m"]
    counts = {row.key.reason: row.total for row in watched.coverage.last_hour(9)}
    assert monitor.counters.labels == monitor.counters.joined == 5
    assert watched.versions["1"].not_comparable == (0 if compared else 5)
    assert counts.get("label_not_comparable", 0) == (0 if compared else 5)


def test_labels_of_a_version_that_warms_up_are_counted_under_a_reason_of_their_own() -> None:
    """An episode for its labels would repeat the one that its events open."""
    rng = random.Random(3)  # noqa: S311
    n = SPEC.warm_up_events
    events: list[Event] = []
    for i in range(n + 50):
        events.append(
            inference_event(f"e{i}", {"x": rng.gauss(0, 1)}, score(rng, i), time_ms=i * 1_000)
        )
        events.append(Label(id=f"e{i}", model="m", label=i % 2, time_ms=i * 1_000))
    records = [record_of(i, e, i * 500) for i, e in enumerate(events)]
    for cuts in ([], [333], [100, 601, 1_199, 1_200, 1_201]):
        monitor = PartitionMonitor("t", 0, SPEC)
        alerts: list[DriftAlert] = []
        for start, end in pairwise([0, *cuts, len(records)]):
            batch = RecordBatch("t", 0, "e", start, end, records[start:end])
            alerts += monitor.observe(batch).alerts
        rows = monitor.models["m"].coverage.last_hour(records[-1].timestamp_ms)
        counts = {row.key.reason: row.total for row in rows}
        assert (counts["warming_up"], counts["label_warming_up"]) == (n, n - 1)
        assert {alert.cause for alert in alerts if alert.kind == "coverage"} == {"warming_up"}
