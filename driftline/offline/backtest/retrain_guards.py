"""The guards of a retrain over a stream: producers that change alone, and the golden set."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from driftline.offline.backtest.labelled_stream import Ints, LabelledStream
from producer.events import Prediction
from trainer.dataset.collector import CollectedEvents
from trainer.dataset.frame import ColumnRoles, build_dataset
from trainer.dataset.golden_set import read_golden_set
from trainer.dataset.source_exclusion import exclude_sources
from trainer.evaluation.gate import GateDecision
from trainer.fitting.predictions import predictions
from trainer.policy.excluded_sources import ExcludedSource, first_exclusions
from trainer.service.context import TrainerContext
from trainer.service.golden_check import decide_on_golden

THRESHOLD: Final = 0.5


class UsableRows(NamedTuple):
    """The rows that may train; ``declined`` is the reason if only single producers show a drift."""

    rows: Ints
    declined: str | None = None


class RetrainGuards:
    """Compares the producers of the rows, and models on the golden set, as the trainer does.

    Raises:
        InvalidGoldenSet: the golden set of the settings cannot be used.
    """

    def __init__(self, stream: LabelledStream, context: TrainerContext, model: str) -> None:
        self._stream, self._context, self._model = stream, context, model
        self._served: list[Prediction | None] = [None] * len(stream)
        self._excluded: list[ExcludedSource] = []
        file = context.gate.golden_file(model)
        features, min_rows = stream.features, context.gate.min_events
        self._golden = None if file is None else read_golden_set(file, features, min_rows)

    def record_served(self, start: int, served: list[Prediction | None]) -> None:
        """Record the predictions that were served for the rows from ``start`` on."""
        self._served[start : start + len(served)] = served

    def served(self, rows: Ints) -> list[Prediction | None]:
        """Return the predictions that were served for ``rows`` (n,)."""
        return [self._served[row] for row in rows.tolist()]

    def usable_rows(self, rows: Ints, since_ms: int, *, has_drift: bool) -> UsableRows:
        """Leave out the rows (n,) since ``since_ms`` of producers whose error alone has risen."""
        stream, max_share = self._stream, self._context.policy.max_excluded_source_share
        if stream.sources is None or not max_share:
            return UsableRows(rows)
        empty = build_dataset(CollectedEvents([], 0, 0, 0, 1.0), ColumnRoles(stream.task))
        sources = [stream.sources[row] for row in rows.tolist()]
        frame = pd.DataFrame(
            {
                "id": rows.astype(str),
                "time_ms": stream.times_ms[rows],
                "ce_source": sources,
                "label_ce_source": "",
                "prediction": pd.Series(self.served(rows), dtype=object),
                "label": pd.Series([stream.labels[r] for r in rows.tolist()], dtype=object),
            }
        )
        checked = exclude_sources(
            empty._replace(frame=frame),
            since_ms=since_ms,
            known=first_exclusions(self._excluded),
            task=stream.task,
            positive=stream.positive,
            threshold=THRESHOLD,
            max_share=max_share,
        )
        self._excluded += [
            ExcludedSource(column=column, name=one.name, since_ms=since_ms)
            for column, found in checked.excluded.items()
            for one in found
        ]
        left = checked.dataset.frame["id"].to_numpy().astype(np.int64)
        declined = has_drift and checked.is_without_drift
        return UsableRows(left, "; ".join(checked.sentences()) if declined else None)

    def on_golden_set(self, champion: Any, challenger: Any) -> GateDecision | None:
        """Compare two estimators on the golden set; ``None`` unless the challenger is worse."""
        golden, stream = self._golden, self._stream
        if golden is None:
            return None
        served, new = (
            predictions(one, golden[stream.features], stream.task, stream.positive)
            for one in (champion, challenger)
        )
        gate = self._context.gate
        decided = decide_on_golden(
            golden, served, new, gate, self._model, stream.task, stream.positive
        )
        return None if decided.promote else decided
