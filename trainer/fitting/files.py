"""The files by which trainer and fitting process exchange request, rows (no pickle) and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from producer.events import Prediction
from stream_monitor.reference.profile import ClassLabel, Task
from trainer.fitting.model_fit import FitSpec
from trainer.fitting.results import FitFailureRule
from trainer.policy.training_window import TrainingWindow

_COLUMNS: Final = "columns"


def write_table(frame: pd.DataFrame, file: Path) -> None:
    """Write the columns of ``frame``, one array each; the index is not kept.

    Columns of numbers and booleans are written as arrays, others value by value (text, numbers,
    booleans, ``None``, NaN).

    Raises:
        ValueError: a column or a value has another type; the text names it.
    """
    columns = []
    arrays: dict[str, NDArray[Any]] = {}
    for i, (name, series) in enumerate(frame.items()):
        columns.append((str(name), str(series.dtype)))
        arrays[f"c{i}"] = _array(str(name), series)
    arrays[_COLUMNS] = _bytes(columns)
    with file.open("wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # the stubs confuse it with a keyword


def read_table(file: Path) -> pd.DataFrame:
    """Read a file of `write_table`; the index counts rows."""
    with np.load(file, allow_pickle=False) as arrays:
        columns = msgspec.msgpack.decode(arrays[_COLUMNS].tobytes(), type=list[tuple[str, str]])
        series = {name: _series(arrays[f"c{i}"], dtype) for i, (name, dtype) in enumerate(columns)}
    return pd.DataFrame(series)


def _array(name: str, series: pd.Series[Any]) -> NDArray[Any]:
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iufb":
        return series.to_numpy()
    if str(series.dtype) not in ("object", "str"):
        raise ValueError(
            f"column {name!r} is of type {series.dtype}; "
            "numbers, booleans, text and object are supported"
        )
    values = [v.item() if isinstance(v, np.generic) else v for v in series.tolist()]
    for value in values:
        if not isinstance(value, str | float | int | bool | None):
            held = f"a {type(value).__name__}: {value!r}"
            raise ValueError(f"column {name!r} contains {held}")  # noqa: TRY004 - as documented
    try:
        return _bytes(values)
    except (OverflowError, UnicodeEncodeError) as error:
        raise ValueError(f"column {name!r}: {error}") from error


def _series(array: NDArray[Any], dtype: str) -> pd.Series[Any]:
    if dtype not in ("object", "str"):
        return pd.Series(array)
    values = msgspec.msgpack.decode(array.tobytes())
    return pd.Series(values, dtype=dtype)


def _bytes(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(msgspec.msgpack.encode(value), dtype=np.uint8)


class FitRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a fit; its frames are other files of the folder.

    With ``windows`` each of them is fitted and predicts the holdout, and no model is stored.
    """

    factory: str
    spec: FitSpec
    max_memory_bytes: int
    held_out: bool
    windows: tuple[TrainingWindow, ...] = ()


class ChildTried(msgspec.Struct, frozen=True, kw_only=True, tag="tried"):
    """The predictions for the holdout by window; a window that lacks a class is left out."""

    held_out: dict[str, list[Prediction]]
    task: Task
    positive: ClassLabel


class ChildFitted(msgspec.Struct, frozen=True, kw_only=True, tag="made"):
    """The fit produced a model; its artifact is another file of the folder."""

    profile: dict[str, Any]
    out_of_fold: list[Prediction]
    held_out: list[Prediction]
    metrics: dict[str, float]


class ChildFailed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """The fit produced no model: the rule and the reason."""

    rule: FitFailureRule
    reason: str


ChildReport: TypeAlias = ChildTried | ChildFitted | ChildFailed


class FitFiles:
    """Paths of the files in the folder of one fit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.request = folder / "request.json"
        self.training = folder / "training.npz"
        self.held_out = folder / "held-out.npz"
        self.artifact = folder / "model.skops"
        self.report = folder / "report.json"

    def clear(self) -> None:
        """Delete the files of an earlier attempt."""
        for file in (self.request, self.training, self.held_out, self.artifact, self.report):
            file.unlink(missing_ok=True)
