"""Alerts come at least once: a repeat of one changes nothing, whenever it comes."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stream_monitor.contracts import DriftAlert
from tests.builders import alert
from tests.hypothesis_profiles import examples
from trainer.jobs.database import Database
from trainer.jobs.deferred_alerts import deferred_alerts
from trainer.jobs.job_store import jobs_of
from trainer.jobs.outbox import unsent_records
from trainer.jobs.quality_episodes import quality_episodes_of
from trainer.service.alert_consumer import handle_alert, reconsider
from trainer.service.context import context_from_settings
from trainer.settings import Settings

HOUR_MS = 3_600_000
NOW_MS = 1_700_000_000_000
WALL_MS = 1_800_000_000_000

BROKEN: dict[str, Any] = {"episode_id": "q", "kind": "quality", "severity": "high"}
STORY = [
    alert(**BROKEN, alert_id="q", decided_ms=NOW_MS),
    alert(alert_id="a", decided_ms=NOW_MS + HOUR_MS),
    alert(alert_id="a-worse", phase="ongoing", decided_ms=NOW_MS + 2 * HOUR_MS),
    alert(**BROKEN, alert_id="q-over", phase="recovered", decided_ms=NOW_MS + 3 * HOUR_MS),
    alert(
        alert_id="b",
        episode_id="f",
        series="loss",
        feature=None,
        kind="concept",
        decided_ms=NOW_MS + 4 * HOUR_MS,
    ),
    alert(alert_id="a-over", phase="recovered", decided_ms=NOW_MS + 5 * HOUR_MS),
]
"""Broken data, drift of the same feature that outlasts them, and one more drift."""


def played(alerts: list[DriftAlert]) -> list[object]:
    """What the trainer has recorded of them, having decided again in the end."""
    with TemporaryDirectory() as data_dir, closing(Database(Path(data_dir))) as database:
        values: dict[str, Any] = {"trainer": {"data_dir": data_dir, "factories": {"m": "f:f"}}}
        context = context_from_settings(Settings(**values))
        for one in alerts:
            with database.transaction() as rows:
                handle_alert(rows, one, context, wall_ms=WALL_MS)
        with database.transaction() as rows:
            for waiting in deferred_alerts(rows):
                reconsider(rows, waiting, context, wall_ms=WALL_MS)
        rows = database.rows
        return [
            jobs_of(rows, "m"),
            unsent_records(rows),
            deferred_alerts(rows),
            quality_episodes_of(rows, alert()),
        ]


@given(st.lists(st.sampled_from(range(len(STORY))), max_size=4), st.integers(1, len(STORY)))
@example([1], 4)  # an alert that waits, repeated when nothing is in its way any more
@example([1], 6)  # and when its episode is over
@settings(max_examples=examples(30))
def test_repeats_change_nothing(repeated: list[int], n_received: int) -> None:
    received = STORY[:n_received]

    assert played([*received, *(STORY[i] for i in repeated if i < n_received)]) == played(received)
