"""When more predictions wait for labels than may, a sample does; when few wait, all do again."""

from __future__ import annotations

import msgspec
import pytest

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.labels.id_sample import IdSample
from stream_monitor.labels.join import LabelJoin, LabelSpec
from stream_monitor.metrics import Metrics
from stream_monitor.state.partition_state import PartitionState
from tests.builders import predictions_of, stored
from tests.properties.partition_logs import SPEC, TOPIC, batch_of, events_of
from tests.unit.test_labels_join import event, truth

FLOOD = 8_000
HORIZON_MS = 20_000
TIGHT = LabelSpec(horizon_ms=HORIZON_MS, max_pending=500, chunk_events=100)


def after_outage() -> LabelJoin:
    """One prediction a millisecond, and no label."""
    labels = LabelJoin(TIGHT)
    labels.observe(predictions_of([event(i, str(i), i) for i in range(FLOOD)]), [])
    assert labels.sampling_ratio <= 1 / 16
    return labels


def prompt(labels: LabelJoin, start: int, n: int, *, label_first: bool = False) -> int:
    """Predictions with their labels in turn, from offset ``start``; returns how many join."""
    joined = 0
    for i in range(start, start + 2 * n, 2):
        name = f"prompt {i}"
        places = (i + 1, i) if label_first else (i, i + 1)
        pair = predictions_of([event(places[0], name, i)]), [truth(places[1], name, i)]
        joined += len(labels.observe(*pair))
    return joined


def test_once_what_waited_in_a_flood_has_expired_all_labels_join_again() -> None:
    labels = after_outage()
    assert prompt(labels, FLOOD, 500) < 100

    prompt(labels, FLOOD + HORIZON_MS, 500)
    assert labels.sampling_ratio == 1

    assert prompt(labels, FLOOD + HORIZON_MS + 1_000, 500) == 500
    assert labels.counts.labels_sampled_out > 0


def test_labels_that_were_only_late_end_the_flood_and_do_not_wait_for_what_was_sampled_out() -> (
    None
):
    labels = after_outage()
    start = 2 * FLOOD
    labels.observe(predictions_of([]), [truth(FLOOD + i, str(i), FLOOD) for i in range(FLOOD)])

    prompt(labels, start, 500)
    assert (labels.sampling_ratio, labels.pending) == (1, 0)
    assert labels.early < 100
    assert prompt(labels, start + 1_000, 500) == 500


def test_labels_before_their_predictions_join_again_a_horizon_after_the_flood() -> None:
    labels = after_outage()
    end = FLOOD + HORIZON_MS
    prompt(labels, end, 500)
    assert prompt(labels, end + 1_000, 500, label_first=True) < 100
    prompt(labels, end + 2_000 + HORIZON_MS, 100)
    assert prompt(labels, end + 3_000 + HORIZON_MS, 500, label_first=True) == 500


def test_a_halving_is_undone_a_chunk_and_a_load_that_lasts_ends_at_one_share() -> None:
    labels = LabelJoin(TIGHT)
    shares = []
    for i in range(60_000):
        late = [truth(i, str(i - 3_001), i)] if i % 2 and i > 3_001 else []
        labels.observe(predictions_of([] if i % 2 else [event(i, str(i), i)]), late)
        if i % 100 == 0:
            shares.append(labels.sampling_ratio)

    assert 1 in shares
    assert set(shares[100:]) == {0.25}  # 1,500 wait of all, so 375 of 500


@pytest.mark.parametrize("widened", [[0] * 65, "x", [None], 7])
def test_an_impossible_sample_is_rejected(widened: object) -> None:
    parts = after_outage().take_changes()
    parts["meta"].sample.widened_ms = widened
    with pytest.raises(ValueError, match=r"meta"):
        LabelJoin.restore(TIGHT, stored(parts))


def test_early_labels_use_the_wider_sample_a_horizon_after_it_widened() -> None:
    sample = IdSample(halvings=2)
    sample.widen(10)
    sample.widen(20)
    assert (sample.threshold, sample.early_threshold) == (1 << 64, 1 << 62)
    sample.expire_widenings(10)
    assert sample.early_threshold == 1 << 63
    sample.halve()
    assert (sample.threshold, sample.early_threshold, sample.widened_ms) == (1 << 63, 1 << 63, [])


def test_the_metrics_have_the_sampling_ratio_and_the_rest() -> None:
    spec = msgspec.structs.replace(
        SPEC, labels=LabelSpec(horizon_ms=10**9, max_pending=50, chunk_events=128)
    )
    fold = PartitionState(PartitionMonitor(TOPIC, 3, spec), "p")
    fold.observe(batch_of(events_of(2, 700)))
    labels = fold.monitor.models["churn"].labels
    assert labels.sampling_ratio < 1
    assert labels.counts.labels_sampled_out > 0

    metrics = Metrics()
    metrics.watch(lambda: [(3, fold)])
    text = metrics.text().decode()

    of = '{model="churn",partition="3"}'
    assert f"driftline_label_sampling_ratio{of} {labels.sampling_ratio}" in text
    left_out = float(labels.counts.labels_sampled_out)
    assert f"driftline_labels_sampled_out_total{of} {left_out}" in text
