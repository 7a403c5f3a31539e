"""State of an earlier driftline can be read, and continues as it would have then."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.golden.write_golden_state import FOLDS, TOPIC, read

GOLDEN: Final = sorted((Path(__file__).parents[1] / "golden").glob("state-*.json.gz"))


def test_there_is_state_of_earlier_days() -> None:
    assert GOLDEN


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_stored_state_continues_unchanged(path: Path) -> None:
    golden = read(path)
    fold = FOLDS.restore(TOPIC, 0, golden.fields)

    seen = fold.observe(golden.batch())

    assert golden.alerts
    assert [a.alert_id for a in seen.alerts if a.alert_id in set(golden.alerts)] == golden.alerts
    assert dict(fold.outcomes()) == golden.outcomes
