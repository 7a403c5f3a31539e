"""The core does what it did when its behaviour was recorded: results, counts and identifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.golden.behaviour import SPECS, Recording, differences, fold, plain, read, renamed

RECORDED: Final = [
    recording
    for path in sorted(Path(__file__).parent.glob("behaviour-*.msgpack.xz"))
    for recording in read(path)
]


@pytest.mark.parametrize("recording", RECORDED, ids=lambda recording: recording.name)
def test_a_recorded_log_leads_to_the_same_results(recording: Recording) -> None:
    results = fold(SPECS[recording.spec], recording.partition, recording.records)

    found = list(differences(renamed(plain(recording.results)), plain(results)))
    if found:
        found[20:] = ["a change that is meant is recorded by `python -m tests.golden.behaviour`"]
    assert not found, "\n".join(found)


def test_the_recordings_hold_alerts_of_every_kind_and_rejected_records() -> None:
    """Equality of empty results would prove nothing."""
    alerts = [alert for recording in RECORDED for alert in recording.results.alerts]
    kinds = {alert["kind"] for alert in alerts}
    phases = {alert["phase"] for alert in alerts}

    assert {"law", "demo"} <= {recording.name.split()[0] for recording in RECORDED}
    assert kinds == {"data", "quality", "prediction", "concept", "volume", "labels", "coverage"}
    assert {"started", "ongoing", "recovered", "superseded", "resolved"} <= phases
    assert len([r for recording in RECORDED for r in recording.results.dead_letters]) > 100
    assert sum(len(recording.results.windows) for recording in RECORDED) > 300
    assert any(recording.results.performance for recording in RECORDED)


def test_a_difference_is_found_wherever_it_lies() -> None:
    was = {"alerts": [{"kind": "data", "effect": 1.0, "explanation": "a"}], "counters": {"late": 1}}

    assert not list(differences(was, {**was, "alerts": [{**was["alerts"][0], "explanation": "b"}]}))  # type: ignore[index]
    assert list(differences(was, {**was, "alerts": []}))
    assert list(differences(was, {**was, "alerts": [{"kind": "data", "effect": 1.001}]}))
    assert list(differences(was, {**was, "counters": {}}))
