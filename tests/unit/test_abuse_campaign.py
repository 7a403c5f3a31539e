"""One hostile producer promotes nothing; an honest drift of the same size is promoted."""

from __future__ import annotations

import pytest

from tests.benchmarks.abuse import ALL, HONEST, NONE, ONE_PRODUCER, promotions, run

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", [0, 1])
def test_one_hostile_producer_promotes_nothing(seed: int) -> None:
    (found,) = run(ONE_PRODUCER, ALL, seed, "driftline")

    assert promotions(found) == 0
    assert {change.kind for change in found.changes} == {"declined"}


def test_without_the_guards_it_would_promote() -> None:
    assert promotions(run(ONE_PRODUCER, NONE, 0, "driftline")[0]) > 0


def test_an_honest_drift_of_the_same_size_is_promoted() -> None:
    assert promotions(run(HONEST, ALL, 0, "driftline")[0]) > 0
