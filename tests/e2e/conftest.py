"""A file of rows to replay."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.e2e.replay_runner import traffic


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Rows in columns of all kinds."""
    return traffic()


@pytest.fixture
def source(frame: pd.DataFrame, tmp_path: Path) -> Path:
    """The rows as a file."""
    frame.to_csv(tmp_path / "traffic.csv", index=False)
    return tmp_path / "traffic.csv"
