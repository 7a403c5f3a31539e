"""The reason why all values of a feature are invalid: missing, wrong type or unknown category.

The check of validity counts valid and invalid values only.  Where all of them are invalid, the
value at the deciding event gives the reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from producer.events import Value
from stream_monitor.checks.monitored_signal import Finding
from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.episodes.messages import all_invalid_message
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.feature_reference import FeatureKind, FeatureReference


def explain_invalid_values(
    alerts: Iterable[DriftAlert],
    findings: Sequence[Finding],
    reference: FeatureReference,
    batch: EventBatch,
) -> Iterator[DriftAlert]:
    """The alerts of ``findings`` on a feature of ``batch``; those of all its events say why."""
    for alert, (track, decision) in zip(alerts, findings, strict=True):
        whole = track == "validity" and decision.bins[-1] == decision.n_events
        if not whole or decision.phase in ENDED_PHASES:
            yield alert
            continue
        row = int(np.searchsorted(batch.offsets, decision.offset))
        why = invalid_reason(batch.features.column(reference.name)[row], reference.kind)
        yield msgspec.structs.replace(
            alert,
            explanation=all_invalid_message(
                reference.name, why, decision.suspicion.onset_ms, alert.version, alert.segment
            ),
        )


def invalid_reason(value: Value, kind: FeatureKind) -> str:
    """What is wrong with an invalid value of a feature of such a kind.

    >>> [invalid_reason(value, "numeric") for value in (None, "71.6", 1e300)]
    ['missing', 'sent as text', 'out of range']
    >>> invalid_reason("XX", "categorical"), invalid_reason(2.5, "categorical")
    ('unseen categories', 'sent as numbers')
    >>> invalid_reason(7, "boolean")
    'neither true nor false'
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN differs from itself
        return "missing"
    if kind == "categorical":
        return "sent as numbers" if isinstance(value, float) else "unseen categories"
    if isinstance(value, str):
        return "sent as text"
    return "out of range" if kind == "numeric" else "neither true nor false"
