"""Frames of a notebook as pandas makes them: the same as files in `check`, `replay` and `init`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import driftline
from driftline.offline.tables.source_error import SourceError
from driftline.report import check, replay

N = 3_000
FRAME = pd.DataFrame(np.random.default_rng(4).normal(size=(N, 2)), columns=["x", "z"])
CALLS: dict[str, Callable[[pd.DataFrame, Path], Any]] = {
    "check": lambda frame, _: check(frame, frame),
    "replay": lambda frame, _: replay(frame),
    "init": lambda frame, folder: driftline.init("m", frame, folder=folder),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (pd.concat([FRAME, FRAME[["x"]]], axis=1), "several columns have the name 'x'"),
        (FRAME.set_axis([0, "0"], axis=1), "several columns have the name '0'"),
        (FRAME.iloc[:0], "2 columns and no rows"),
    ],
)
def test_a_frame_that_is_no_table_is_named(
    call: str, frame: pd.DataFrame, named: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=named):
        CALLS[call](frame, tmp_path / "m")


@pytest.mark.parametrize("call", CALLS)
def test_columns_of_several_levels_are_columns(call: str, tmp_path: Path) -> None:
    CALLS[call](pd.concat({"group": FRAME}, axis=1), tmp_path / "m")


def test_periods_are_times() -> None:
    periods = pd.period_range("2024-01-01", periods=N, freq="h")
    start = replay(FRAME.assign(at=periods.to_timestamp()), time="at")

    assert replay(FRAME.assign(at=periods), time="at").episodes == start.episodes
