"""Which events train while a feature has odd values: all but those that have one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.test_feature_correlation import N, batch_of, profile, version_of
from trainer.jobs.database import Database
from trainer.jobs.job_store import excluded_ranges_of, record_excluded_range
from trainer.jobs.quality_episodes import record_quality_episode
from trainer.policy.excluded_ranges import excludes_data


@pytest.mark.parametrize("odd", [-999.0, 50.5, None], ids=["far", "usual", "scattered"])
def test_exactly_the_odd_values_do_not_train(database: Database, odd: float | None) -> None:
    """50.5 is within the range: no event of the reference has it, and then it repeats."""
    rng = np.random.default_rng(5)
    reference, values = (50 + 10 * rng.standard_normal(n) for n in (N, 6_000))
    is_odd = (np.arange(len(values)) >= 2_000) & (rng.random(len(values)) < 0.05)
    values[is_odd] = rng.uniform(500, 9_000, is_odd.sum()) if odd is None else odd
    expected = profile({"temp": reference})

    alerts = version_of(expected).observe(batch_of({"temp": values}))[1]

    broken = [alert for alert in alerts if excludes_data(alert)]
    assert {(alert.cause, alert.after) for alert in broken} == {("odd_values", odd)}
    with database.transaction() as rows:
        for alert in broken:
            record_quality_episode(rows, alert)
            record_excluded_range(rows, alert)
    (found,) = excluded_ranges_of(database.rows, broken[0].model, lambda _: expected.features)
    excluded = [
        found.covers(found.start_ms, broken[0].version, {"temp": value})
        for value in values.tolist()
    ]
    assert excluded == is_odd.tolist()
