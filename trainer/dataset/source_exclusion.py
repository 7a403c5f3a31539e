"""Excludes the new rows of deviating sources from a training set, and names the sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.dataset.frame import Dataset, fingerprint
from trainer.evaluation.deviating_sources import (
    DeviatingSource,
    LossChange,
    deviating_sources,
    loss_change,
)
from trainer.evaluation.losses import losses, resolve_metric
from trainer.policy.excluded_sources import ExcludedSource

PROVENANCE: Final = {"ce_source": "events", "label_ce_source": "labels"}
"""The columns of the frame that name the producer of an event and of its label."""


class SourceExclusion(NamedTuple):
    """The dataset without the new rows of deviating sources, and those rows by source.

    ``remaining`` is the change of the loss on the other rows; ``None``: too few to compare.
    """

    dataset: Dataset
    excluded: dict[str, list[DeviatingSource]]
    remaining: LossChange | None

    @property
    def is_without_drift(self) -> bool:
        """Whether the loss rose in the excluded sources only."""
        any_excluded = any(self.excluded.values())
        return any_excluded and self.remaining is not None and not self.remaining.is_rise

    def sentences(self) -> list[str]:
        """Describe each excluded source."""
        return [
            f"{PROVENANCE[column]} from {one.name or 'producers without ce_source'}: loss "
            f"{one.change.before:.3f} → {one.change.after:.3f}, elsewhere {one.others.before:.3f} "
            f"→ {one.others.after:.3f}"
            for column, found in self.excluded.items()
            for one in found
        ]


def exclude_sources(
    dataset: Dataset,
    *,
    since_ms: int,
    known: Iterable[ExcludedSource] = (),
    task: Task,
    positive: ClassLabel,
    threshold: float,
    max_share: float,
) -> SourceExclusion:
    """Leave out the rows since ``since_ms`` of sources whose loss alone has risen.

    For ``known`` sources the rows since their first exclusion are new.  Sources of events are
    compared first, then sources of labels on the rows that are left.
    """
    frame = dataset.frame
    times_ms = frame["time_ms"].to_numpy()
    is_new = times_ms >= since_ms
    for earlier in known:
        is_of_source = (frame[earlier.column] == earlier.name).to_numpy()
        is_new |= is_of_source & (times_ms >= earlier.since_ms)
    served: list[Prediction | None] = [
        None if score is None or score != score else score  # noqa: PLR0124 - NaN
        for score in frame["prediction"].tolist()
    ]
    found_losses = losses(
        served,
        frame["label"].tolist(),
        task,
        threshold=threshold,
        positive=positive,
        metric=resolve_metric("auto", task),
    )
    kept = np.ones(len(frame), dtype=np.bool_)
    excluded: dict[str, list[DeviatingSource]] = {}
    by_source: dict[str, int] = {}
    for column in PROVENANCE:
        sources = frame[column].fillna("").astype(str).to_numpy()
        excluded[column] = deviating_sources(
            found_losses[kept], is_new[kept], sources[kept].tolist(), max_share
        )
        for one in excluded[column]:
            gone = kept & is_new & (sources == one.name)
            by_source[f"{column} {one.name}".strip()] = int(gone.sum())
            kept &= ~gone
    remaining = loss_change(found_losses[kept], is_new[kept])
    if not by_source:
        return SourceExclusion(dataset, excluded, remaining)
    left = frame[kept].reset_index(drop=True)
    ids = zip(left["id"].tolist(), left["label"].tolist(), strict=True)
    record = msgspec.structs.replace(
        dataset.record,
        rows=len(left),
        excluded_sources=by_source,
        sha256=fingerprint(ids),
        last_ms=int(left["time_ms"].iloc[-1]) if len(left) else None,
    )
    return SourceExclusion(dataset._replace(frame=left, record=record), excluded, remaining)
