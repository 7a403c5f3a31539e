"""The baseline policies: never retrain, retrain on a schedule, retrain when ADWIN signals."""

from __future__ import annotations

import math
import re
from typing import Final, NamedTuple, Protocol

import numpy as np

from driftline.offline.backtest.fitted_versions import FittedVersion, FittedVersions
from driftline.offline.backtest.labelled_stream import Ints
from driftline.offline.tables.source_error import SourceError
from producer.events import Prediction
from stream_monitor.detectors.river_adwin import ADWIN
from trainer.fitting.model_fit import can_fit

MIN_FIT_ROWS: Final = 200
ADWIN_WINDOW_ROWS: Final = 2_500


class Change(NamedTuple):
    """A change of the served model before the row ``row``: the kind, and the reason for people."""

    row: int
    kind: str
    reason: str


class LoopPolicy(Protocol):
    """A policy: serves predictions, and decides after each chunk what to serve next.

    ``fits`` counts models fitted to serve, ``swaps`` moves to a model that had been fitted before,
    ``trial_fits`` fits that only evaluate: windows on a holdout, folds of a reference.
    """

    fits: int
    trial_fits: int
    swaps: int
    changes: list[Change]

    def predict(self, start: int, end: int) -> list[Prediction | None]:
        """Return the served predictions of the rows from ``start`` to ``end``."""
        ...

    def advance(self, start: int, end: int) -> None:
        """Take the end of a chunk: its rows are served, and labels known at ``end`` may be used."""
        ...


class Never:
    """Serves the first version for ever; the base class of the other baseline policies."""

    def __init__(self, versions: FittedVersions) -> None:
        self._versions = versions
        self._stream = versions.stream
        self.served: FittedVersion = versions.fit(self._stream.training_rows)
        self.fits = self.trial_fits = self.swaps = 0
        self.changes: list[Change] = []

    def predict(self, start: int, end: int) -> list[Prediction | None]:
        """Return the predictions of the model in service."""
        return self.served.predict(start, end)

    def advance(self, start: int, end: int) -> None:
        """Do nothing."""

    def _refit(self, end: int, window: int | None, reason: str) -> None:
        rows = self._stream.known_rows(end)
        if window is not None:
            rows = rows[-window:]
        if self._can_fit(rows):
            self.served = self._versions.fit(rows)
            self.fits += 1
            self.changes.append(Change(end, "fit", reason))

    def _can_fit(self, rows: Ints) -> bool:
        if len(rows) < MIN_FIT_ROWS:
            return False
        return can_fit(self._stream.task, [self._stream.labels[row] for row in rows.tolist()])


class Schedule(Never):
    """Fits every ``period`` events on the newest ``window`` rows; ``None``: on all."""

    def __init__(self, versions: FittedVersions, period: int, window: int | None) -> None:
        super().__init__(versions)
        self._period, self._window = period, window
        self._due = self._stream.n_training + period

    def advance(self, start: int, end: int) -> None:  # noqa: ARG002 - the interface
        """Fit if the period is over."""
        if end >= self._due:
            self._due += self._period * (1 + (end - self._due) // self._period)
            self._refit(end, self._window, f"every {self._period:,} events")


class AdwinOnError(Never):
    """Fits on the newest rows when River's ADWIN, with its defaults, signals on the error."""

    def __init__(self, versions: FittedVersions) -> None:
        super().__init__(versions)
        self._detector = ADWIN()  # type: ignore[no-untyped-call]
        self._error = np.full(len(self._stream), np.nan)
        self._known = np.zeros(len(self._stream), dtype=np.bool_)
        self._known[: self._stream.n_training] = True

    def advance(self, start: int, end: int) -> None:
        """Feed the errors whose labels became known, in order; fit after a signal."""
        self._error[start:end] = self.served.losses(start, end, "error")
        rows = self._stream.known_rows(end)
        fresh = rows[~self._known[rows]]
        self._known[fresh] = True
        signals = False
        for error in self._error[fresh].tolist():
            if not math.isnan(error):
                self._detector.update(error)  # type: ignore[no-untyped-call]
                signals = signals or self._detector.drift_detected
        if signals:
            self._refit(end, ADWIN_WINDOW_ROWS, "ADWIN signalled on the error")


class PolicyName(NamedTuple):
    """A policy by name: ``schedule`` with its period and window, or one without parameters."""

    text: str
    kind: str
    period: int = 0
    window: int | None = None


def parse_policies(text: str) -> list[PolicyName]:
    """Parse names separated by commas.

    Raises:
        SourceError: a name is unknown, or occurs twice.

    >>> [name.kind for name in parse_policies("never,schedule:2000:expanding,driftline:pool")]
    ['never', 'schedule', 'driftline:pool']
    """
    names = [_parse_policy(part.strip()) for part in text.split(",") if part.strip()]
    if not names:
        raise SourceError("--policies names no policy", fix=_FORMS)
    twice = {name.text for name in names if [n.text for n in names].count(name.text) > 1}
    if twice:
        raise SourceError(f"--policies names {min(twice)!r} twice", fix=_FORMS)
    return names


_FORMS: Final = (
    "name some of never, schedule:PERIOD:WINDOW (events; WINDOW is expanding or a number of rows), "
    "adwin, driftline, driftline:pool, separated by commas"
)


def _parse_policy(text: str) -> PolicyName:
    if text in ("never", "adwin", "driftline", "driftline:pool"):
        return PolicyName(text, text)
    found = re.fullmatch(r"schedule:(\d{1,9}):(expanding|\d{1,9})", text)
    if found is None or not int(found[1]) or found[2] == "0":
        raise SourceError(f"--policies: there is no policy {text!r}", fix=_FORMS)
    window = None if found[2] == "expanding" else int(found[2])
    return PolicyName(text, "schedule", int(found[1]), window)
