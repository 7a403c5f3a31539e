"""Why all values of a feature are invalid: missing, of another type, or names nobody knows.

A reference knows valid and invalid values.  Which of the reasons it is stands in the events alone,
and where all of them are invalid the one that decided speaks for all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from producer.events import Value
from stream_monitor.alerts.series import Decision
from stream_monitor.alerts.wording import moment
from stream_monitor.contracts import ENDED, DriftAlert
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.feature import FeatureKind, FeatureReference


def with_reasons(
    alerts: Iterable[DriftAlert],
    decisions: Sequence[Decision],
    reference: FeatureReference,
    batch: EventBatch,
) -> Iterator[DriftAlert]:
    """The alerts of ``decisions`` on a feature of ``batch``; those of all its events say why."""
    for alert, (track, verdict) in zip(alerts, decisions, strict=True):
        whole = track == "validity" and verdict.bins[-1] == verdict.n_events
        if not whole or verdict.phase in ENDED:
            yield alert
            continue
        row = int(np.searchsorted(batch.offsets, verdict.offset))
        why = reason(batch.features.column(reference.name)[row], reference.kind)
        since = moment(verdict.suspicion.onset_ms)
        said = f"{reference.name}: {why} in all events, since {since}"
        yield msgspec.structs.replace(alert, explanation=said)


def reason(value: Value, kind: FeatureKind) -> str:
    """What is wrong with an invalid value of a feature of such a kind.

    >>> reason(None, "numeric"), reason("71.6", "numeric"), reason(1e300, "numeric")
    ('missing', 'sent as text', 'out of range')
    >>> reason("XX", "categorical"), reason(2.5, "categorical"), reason(7, "boolean")
    ('unseen categories', 'sent as numbers', 'neither true nor false')
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN differs from itself
        return "missing"
    if kind == "categorical":
        return "sent as numbers" if isinstance(value, float) else "unseen categories"
    if isinstance(value, str):
        return "sent as text"
    return "out of range" if kind == "numeric" else "neither true nor false"
