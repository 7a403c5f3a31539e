"""The laws of the fold are about logs with estimated errors in them."""

from __future__ import annotations

from tests.properties.partition_logs import log_of, run


def test_the_logs_of_the_laws_hold_estimates_of_predictions_labels_and_windows() -> None:
    explained: set[str] = set()
    windows = 0
    for seed in range(6):
        alerts, _, closed, _ = run(log_of(seed), [])
        explained |= {alert.kind for alert in alerts if alert.estimated_after is not None}
        windows += sum(window.estimated_loss is not None for window in closed)

    assert explained == {"prediction", "concept"}
    assert windows > 10
