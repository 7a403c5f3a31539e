"""`/metrics` says whose records are rejected, and by whom; labels are bounded and escaped."""

from __future__ import annotations

import msgspec

from stream_monitor.metrics import MAX_REJECTED, Metrics
from tests.builders import dead_letter

LETTER = dead_letter(0, size_bytes=0)


def test_by_model_reason_and_producer() -> None:
    metrics = Metrics()
    metrics.observed((), [LETTER, LETTER])
    line = (
        'driftline_records_rejected_total{model="fraud",producer="/svc",reason="invalid_event"} 2.0'
    )
    assert line in metrics.text().decode()


def test_made_up_names_and_producers_are_bounded_and_escaped() -> None:
    metrics = Metrics()
    hostile = [
        msgspec.structs.replace(LETTER, model=f"m{n}", source=f"\x1b\u202e\n{n}")
        for n in range(2 * MAX_REJECTED)
    ]
    metrics.observed((), hostile)
    lines = [
        x for x in metrics.text().decode().split("\n") if x.startswith("driftline_records_rej")
    ]
    assert len(lines) <= 2 * (MAX_REJECTED + 1)
    assert all(line.isprintable() for line in lines)
    other = f'{{model="other",producer="other",reason="invalid_event"}} {float(MAX_REJECTED)}'
    assert f"driftline_records_rejected_total{other}" in lines
