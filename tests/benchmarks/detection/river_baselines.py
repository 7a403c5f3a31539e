"""River's detectors as they come, on values as they come or standardised by the reference."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from river import drift

from tests.benchmarks.detection.streams import Column, as_numbers

Baseline: TypeAlias = Literal["ADWIN, raw", "ADWIN, z", "Page-Hinkley, raw", "Page-Hinkley, z"]
BASELINES: Final[tuple[Baseline, ...]] = (
    "ADWIN, raw",
    "ADWIN, z",
    "Page-Hinkley, raw",
    "Page-Hinkley, z",
)


def alarms(
    baseline: Baseline, reference: Column, column: Column, *, first_after: int = -1
) -> list[int]:
    """Where it fires in ``column``; with ``first_after`` only the first one at or after that."""
    known, values = as_numbers(reference), as_numbers(column)
    if baseline.endswith("z"):
        values = (values - known.mean()) / (known.std() or 1.0)
    detector = drift.ADWIN() if baseline.startswith("ADWIN") else drift.PageHinkley()
    found = []
    for i, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            found.append(i)
            if 0 <= first_after <= i:
                return [i]
    return [i for i in found if i >= first_after]
