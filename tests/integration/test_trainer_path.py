"""An alert's path to a promotion is as short as ARCHITECTURE.md states it; a real run is traced."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.architecture.test_paths import listed
from tests.integration.traced_trainer import STEPS
from tests.integration.trainer_harness import MODEL, N_AFTER, N_BEFORE, TrainerHarness, until

pytestmark = pytest.mark.kafka

MAX_PATH: Final = 15


def test_the_path_of_an_alert_is_the_one_that_is_documented(
    kafka_broker: str, tmp_path: Path
) -> None:
    harness = TrainerHarness(kafka_broker, tmp_path / "data_dir")
    try:
        harness.publish(N_BEFORE, turned=False)
        harness.publish(N_AFTER, turned=True)
        harness.alert(1, partition=next(iter(harness.updates()))[0])
        trace_file = tmp_path / "trace.json"
        trainer = harness.start(
            module="tests.integration.traced_trainer", DRIFTLINE_TEST_TRACE=str(trace_file)
        )
        until(lambda: harness.versions()[MODEL].version == "2")
        trainer.send_signal(signal.SIGTERM)
        trainer.wait(30)
    finally:
        harness.close()
    trace = json.loads(trace_file.read_text("utf-8"))

    assert trace["steps"] == sorted(STEPS)
    path = trace["path"]
    assert sorted(path) == sorted(listed("From an alert to a promotion")), "\n".join(path)
    assert len(path) <= MAX_PATH
