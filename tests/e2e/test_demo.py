"""The demo as a person runs it, on real servers, only faster."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from redis import Redis

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def summary(kafka_broker: str, redis_url: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "driftline", "demo", "--headless", "--json", "--seconds", "30"],
        env={**os.environ, "KAFKA_BOOTSTRAP_SERVERS": kafka_broker, "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "The new level fits °F sent as °C" in done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_nothing_is_lost_and_every_label_finds_its_prediction(summary: dict[str, Any]) -> None:
    assert summary["events"] == {
        "produced": 35_139,
        "processed": 35_139,
        "dead_lettered": 0,
        "lost": 0,
    }
    assert summary["labels"] == {"produced": 35_139, "joined": 35_139}


def test_the_incident_is_found_and_named_and_is_over_again(summary: dict[str, Any]) -> None:
    assert summary["unit_break_found"] is True
    assert summary["episodes"]["started"] >= 1
    assert summary["episodes"]["recovered"] >= 1
    assert summary["alerts"] >= 2


def test_the_other_policies_err_as_they_were_measured(summary: dict[str, Any]) -> None:
    assert summary["error_rate"]["frozen"] == pytest.approx(0.262, abs=0.005)
    assert summary["error_rate"]["scheduled"] == pytest.approx(0.238, abs=0.005)
    assert summary["retrains"]["scheduled"] == 10


def test_the_loop_closes_and_broken_data_trains_nothing(summary: dict[str, Any]) -> None:
    assert summary["retrains"]["promoted"] >= 1
    assert summary["retrains"]["refused_data_quality"] >= 1
    assert summary["error_rate"]["driftline"] < summary["error_rate"]["frozen"]


def test_servers_that_stay_are_left_as_they_were(
    summary: dict[str, Any], kafka_broker: str, redis_url: str
) -> None:
    assert summary["broker"]
    admin = AdminClient({"bootstrap.servers": kafka_broker})
    assert not [name for name in admin.list_topics(timeout=10).topics if "-demo-" in name]
    redis = Redis.from_url(redis_url)
    assert not list(redis.scan_iter(match="*-demo-*"))
    redis.close()
