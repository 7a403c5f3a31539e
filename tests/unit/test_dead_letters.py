"""`driftline dead-letters`: what is shown, what may be written again, and what may not, and why."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from driftline.cli.app import app
from driftline.topics import dead_letter_queue as rejected_records
from driftline.topics.topic_reader import Record
from producer.cloudevents import event_headers
from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, InferenceEvent, ModelUpdate, Tick
from stream_monitor.contracts import DEAD_LETTER_CE_TYPE, DeadLetter
from tests.builders import dead_letter, inference_event
from tests.unit.fake_topics import records, use_fake_topics

LOG = "driftline.events.v1"
NOW_MS = round(time.time() * 1000)


def rejected_event(offset: int, **of: Any) -> DeadLetter:
    plain = dead_letter(
        offset,
        topic=LOG,
        timestamp_ms=NOW_MS - 1_000 * offset,
        detail="Expected `int`",
        size_bytes=9,
        payload=b'{"id": 1}',
        source="/svc/a",
    )
    return msgspec.structs.replace(plain, **of)


DEAD_LETTERS = [
    rejected_event(1),
    rejected_event(2, model="churn", source="/svc/b"),
    rejected_event(3, reason="malformed_json", payload=b"\x1b[2J\xff", size_bytes=9_000),
    rejected_event(4_000),
    rejected_event(1),  # published twice
]


@pytest.fixture
def _dead_letters(monkeypatch: pytest.MonkeyPatch) -> None:
    values = [msgspec.json.encode(one) for one in DEAD_LETTERS]
    topic = records(*values, b"garbage", kind=DEAD_LETTER_CE_TYPE)
    use_fake_topics(monkeypatch, {"driftline.dead-letters.v1": topic})


def run(*arguments: str) -> Result:
    done = CliRunner().invoke(app, ["dead-letters", *arguments])
    assert all(line.isprintable() for line in done.output.split("\n")), done.output
    return done


def shown(*arguments: str) -> list[int]:
    done = run("show", "--json", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line)["offset"] for line in done.stdout.splitlines()]


@pytest.mark.usefixtures("_dead_letters")
@pytest.mark.parametrize(
    ("options", "offsets"),
    [
        ([], [1, 2, 3, 4_000]),
        (["--model", "fraud"], [1, 3, 4_000]),
        (["--producer", "/svc/b"], [2]),
        (["--reason", "malformed_json"], [3]),
        (["--since", "1h"], [1, 2, 3]),
        (["--model", "fraud", "--since", "1h", "--reason", "invalid_event"], [1]),
        (["--limit", "1"], [4_000]),
        (["--model", "unknown"], []),
    ],
)
def test_dead_letters_are_filtered(options: list[str], offsets: list[int]) -> None:
    assert shown(*options) == offsets


@pytest.mark.usefixtures("_dead_letters")
def test_a_dead_letter_has_position_model_and_first_bytes() -> None:
    done = run("show")
    assert f"{LOG}:0:3" in done.stdout
    assert "fraud  malformed_json  /svc/a" in done.stdout
    assert r"\x1b[2J" in done.stdout
    assert "8,995 bytes more" in done.stdout
    assert "1 record of driftline.dead-letters.v1 could not be read" in done.stderr
    assert "      2  fraud  invalid_event  /svc/a" in done.stderr


GOOD = inference_event("a", {"x": 1.0}, model="fraud", time_ms=NOW_MS)


def lies(offset: int, value: bytes, kind: str | None) -> Record:
    pairs: Any = event_headers(GOOD, source="/svc/a")
    return Record(0, offset, kind, value, b"fraud", NOW_MS, pairs)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Record]:
    """The records at the offsets of the dead letters, and the records written to the topic."""
    command = Command(id="c", model="fraud", action="resolve", episode="e", actor="x", time_ms=0)
    update = ModelUpdate(id="u", model="fraud", version="1", time_ms=0)
    log = {
        0: lies(0, encode(GOOD), CE_TYPE_OF[InferenceEvent]),
        1: lies(1, encode(command), CE_TYPE_OF[Command]),
        2: lies(2, encode(update), CE_TYPE_OF[ModelUpdate]),
        3: lies(3, encode(Tick(time_ms=0)), CE_TYPE_OF[Tick]),
        4: lies(4, b"{", None),
        5: None,
    }
    dead_letters = [
        *(rejected_event(offset, reason="future") for offset in log),
        rejected_event(6, reason="poison_record"),
        rejected_event(7, reason="unknown_episode"),
        rejected_event(8, topic="warehouse.labels"),
    ]
    values = [msgspec.json.encode(one) for one in dead_letters]
    use_fake_topics(monkeypatch, {"driftline.dead-letters.v1": records(*values)})
    taken: list[Record] = []

    def read(_client: Mapping[str, Any], found: Sequence[DeadLetter]) -> dict[str, Record | None]:
        return {one.dead_letter_id: log.get(one.offset) for one in found}

    def write(_client: Mapping[str, Any], topic: str, found: Sequence[Record]) -> list[str]:
        assert topic == LOG
        taken.extend(found)
        return []

    monkeypatch.setattr(rejected_records, "read_original_records", read)
    monkeypatch.setattr(rejected_records, "requeue_records", write)
    return taken


def test_requeue_writes_records_or_gives_the_reason(written: list[Record]) -> None:
    dry = json.loads(run("requeue", "--json").stdout)
    assert written == []
    assert dry["would_be_written"] == [f"{LOG}:0:0"]
    done = json.loads(run("requeue", "--yes", "--json").stdout)
    assert done["written"] == [f"{LOG}:0:0"]
    (record,) = written
    assert record.value == encode(GOOD)
    assert dict(record.headers)["ce_id"] == b"a"
    assert record.key == b"fraud"
    why = {position.rsplit(":", 1)[1]: text for position, text in done["not_written"].items()}
    assert all("control record" in why[offset] for offset in "1237")
    assert "would be rejected again (malformed_json)" in why["4"]
    assert "no longer holds the record" in why["5"]
    assert "workers ended" in why["6"]
    assert "warehouse.labels" in why["8"]


def test_force_writes_what_would_be_rejected_and_never_a_control_record(
    written: list[Record],
) -> None:
    run("requeue", "--yes", "--force")
    assert [record.offset for record in written] == [0, 4]


def test_positions_choose(written: list[Record]) -> None:
    done = run("requeue", "--yes", f"{LOG}:0:0", f"{LOG}:0:77")
    assert [record.offset for record in written] == [0]
    assert f"not written  {LOG}:0:77  there is no such dead letter" in done.stdout
    assert "1 records written, 1 not written" in done.stderr
