"""The table and the summary line of a campaign."""

from __future__ import annotations

import doctest
import json
from types import ModuleType

import pytest

from tests.chaos import baseline_scoring as baseline
from tests.chaos import campaign_report as tables
from tests.chaos import kill_plan as plan
from tests.chaos import resource_sampling as sampling
from tests.chaos.campaign import Run
from tests.chaos.campaign_report import percentile, summary, table
from tests.chaos.oracle_comparison import OracleComparison
from tests.chaos.worker_group import Kills

RUNS = [
    Run("redis_killed", Kills(1), [1.0, 3.0], OracleComparison(events=10, alerts=2)),
    Run("redis_killed", Kills(1), [2.0], OracleComparison(events=5, alerts_lost=1)),
    Run(
        "worker_killed",
        Kills(4, 3),
        [0.5],
        OracleComparison(events=7, events_lost=2),
        "not within 90 s",
    ),
    Run("worker_frozen", Kills(), [0.5], OracleComparison(), unasked=[1]),
]


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 201)]
    assert percentile(values, 0.5) == 100.0
    assert percentile(values, 0.99) == 198.0
    assert percentile([7.0], 0.01) == 7.0
    assert percentile([], 0.5) == 0.0


def test_a_line_of_the_table_adds_up_the_runs_of_a_fault() -> None:
    rows = table(RUNS).splitlines()
    assert rows[2] == "| redis_killed | 2 | 2 | 0 | 2.0 | 3.0 | 0 | 1 | 0 | 0 | 0 | 0 |"
    assert rows[-1] == "| **all** | 4 | 6 | 3 | 1.0 | 3.0 | 2 | 1 | 0 | 0 | 0 | 1 |"


def test_the_last_line_is_json() -> None:
    assert json.loads(summary(RUNS)) == {
        "runs": 4,
        "kills": 6,
        "deaths_at_steps": 3,
        "events": 22,
        "events_lost": 2,
        "alerts_lost": 1,
        "phantom_alerts": 0,
        "duplicate_effects": 0,
        "state_mismatches": 0,
        "unasked_ends": 1,
        "recovery_seconds_p99": 3.0,
    }


def test_a_worker_that_ends_by_itself_is_a_failure() -> None:
    assert [run.wrong for run in RUNS] == [0, 1, 2, 1]


@pytest.mark.parametrize("module", [plan, baseline, sampling, tables])
def test_examples_are_true(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert (found.failed, found.attempted > 0) == (0, True)
