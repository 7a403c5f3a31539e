"""A record that is no alert ends no command: it is skipped, counted, and reported on stderr."""

from __future__ import annotations

import json

import msgspec
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.topics.topic_reader import Record, TopicDecoder
from stream_monitor.contracts import ALERT_CE_TYPE, DriftAlert
from tests.builders import alert
from tests.unit.fake_topics import records, use_fake_topics

GOOD = msgspec.json.encode(alert(decided_ms=1_384_903_980_000, episode_id="0123456789abcdef"))
GARBAGE: list[bytes | None] = [
    None,
    b"",
    b"\xff\xfe",
    b"garbage",
    b"[]",
    b"null",
    b"{}",
    b"[" * 100_000,
    GOOD.replace(b'"started"', b'"no such phase"'),
    GOOD[:-1],
    b'{"alert_id": "\\ud800"}',
]
TOPIC = "driftline.alerts.v1"


@pytest.mark.parametrize("value", GARBAGE)
def test_an_undecodable_value_is_skipped_with_its_position(value: bytes | None) -> None:
    values = TopicDecoder(TOPIC, DriftAlert, kind=ALERT_CE_TYPE)
    assert values.of(Record(0, 7, None, value)) is None
    assert values.skipped == 1
    assert "partition 0, offset 7" in values.notes()[0]


def test_other_kinds_of_driftline_records_are_skipped_silently() -> None:
    values = TopicDecoder(TOPIC, DriftAlert, kind=ALERT_CE_TYPE)
    assert values.of(Record(0, 1, "io.driftline.health.v1", b"{}")) is None
    assert values.of(Record(0, 2, ALERT_CE_TYPE, GOOD)) == msgspec.json.decode(
        GOOD, type=DriftAlert
    )
    assert values.notes() == []


@pytest.mark.parametrize(
    "command",
    [
        ["alerts", "tail", "--no-follow"],
        ["alerts", "list"],
        ["alerts", "list", "--json"],
        ["incidents", "list"],
        ["incidents", "digest"],
    ],
)
def test_commands_continue_after_an_unreadable_record(
    monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    use_fake_topics(
        monkeypatch,
        {TOPIC: records(*GARBAGE, GOOD, *GARBAGE), "driftline.models.v1": records(*GARBAGE)},
    )
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert "temp" in done.stdout
    assert (
        f"{2 * len(GARBAGE)} records of {TOPIC} could not be read and were skipped" in done.stderr
    )
    if command[-1] == "--json":
        assert json.loads(done.stdout)["model"] == "m"


def test_tail_prints_seconds_and_the_id_that_acknowledge_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_fake_topics(monkeypatch, {TOPIC: records(GOOD)})
    line = CliRunner().invoke(app, ["alerts", "tail", "--no-follow"]).stdout
    assert line.startswith("0123456789ab  2013-11-19 23:33:00Z  started")
