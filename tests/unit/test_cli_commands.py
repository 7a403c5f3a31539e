from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from driftline.cli.alerts import line_of
from driftline.cli.app import app
from driftline.cli.command_error import EXIT_UNREACHABLE, CommandError, to_command_error
from driftline.cli.connection import load_settings, without_password
from driftline.cli.status import model_rows, partition_row, status_lines, window_rows
from driftline.monitor_state.partition_state import PartitionState
from driftline.topics.topic_registry import load_registry, missing
from producer.routing import topic_names
from producer.writer import DeliveryError
from stream_monitor.core.counters import Counters
from stream_monitor.state_parts import CorruptState
from tests import builders

NOWHERE = "127.0.0.1:1"
run = CliRunner()

COMMANDS = [
    ["demo"],
    ["monitor"],
    ["publish"],
    ["status"],
    ["doctor"],
    ["version"],
    ["alerts", "tail"],
    ["topics", "plan"],
    ["topics", "create"],
    ["profile", "build"],
    ["profile", "send"],
    ["drill"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(command: list[str]) -> None:
    result = run.invoke(app, [*command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_command_line_loads_nothing_heavy_until_it_is_needed() -> None:
    heavy = ["numpy", "pandas", "sklearn", "faust", "river", "redis", "pydantic", "confluent_kafka"]
    code = f"import sys, driftline.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_driftline_loads_nothing_but_names_resolve() -> None:
    code = (
        "import sys, driftline; assert 'producer' not in sys.modules; "
        "from driftline import InferenceEvent, DriftAlert; print(InferenceEvent.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "InferenceEvent"


def test_version_is_json_for_programs() -> None:
    result = run.invoke(app, ["version", "--json"])
    assert result.exit_code == 0
    assert {"driftline", "python", "river"} <= json.loads(result.stdout).keys()


@pytest.mark.usefixtures("short_kafka_timeouts")
def test_an_unreachable_server_is_exit_code_four_with_a_fix() -> None:
    place = ["--bootstrap-servers", NOWHERE, "--redis-url", "redis://127.0.0.1:1/0"]
    result = run.invoke(app, ["doctor", "--json", *place])
    assert result.exit_code == 4
    printed = json.loads(result.stdout)
    assert printed["worst"] == "problem"
    assert {f["check"] for f in printed["findings"]} == {"kafka", "redis"}
    assert all(f["fix"] for f in printed["findings"])


@pytest.mark.usefixtures("short_kafka_timeouts")
def test_a_replay_from_an_unreachable_broker_is_no_usage_error() -> None:
    result = run.invoke(app, ["replay", "topic:x", "--bootstrap-servers", NOWHERE])
    assert result.exit_code == EXIT_UNREACHABLE
    assert "Kafka does not answer" in result.output
    assert "KafkaError" not in result.output


def test_a_wrong_setting_ends_with_two_and_no_traceback(tmp_path: Path) -> None:
    file = tmp_path / "driftline.toml"
    file.write_text("[windows]\nsize = 3\n")
    result = run.invoke(app, ["monitor", "--config", str(file)])
    assert result.exit_code == 2
    assert "size_ms" in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ["[kafka]\nbootstrap = 1\n", "no toml", "[web]\nport = 1e9\n"])
def test_a_settings_file_that_cannot_be_read_ends_with_two(tmp_path: Path, text: str) -> None:
    file = tmp_path / "driftline.toml"
    file.write_text(text)
    assert run.invoke(app, ["status", "--config", str(file)]).exit_code == 2


def test_a_missing_file_ends_with_two() -> None:
    for command in (["status", "--config", "no.toml"], ["profile", "send", "no.json"]):
        result = run.invoke(app, command)
        assert result.exit_code == 2
        assert "does not exist" in result.stderr


def test_wrong_usage_ends_with_two() -> None:
    assert run.invoke(app, ["demo", "--seconds", "-1"]).exit_code == 2
    assert run.invoke(app, ["nonsense"]).exit_code == 2


def test_flags_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "d.toml"
    file.write_text('[topics]\nprefix = "a"\n[kafka]\nbootstrap_servers = "x:1"\n')
    settings = load_settings(file, bootstrap_servers="y:2", web={"port": 0})
    assert settings.topics.prefix == "a"
    assert settings.kafka.bootstrap_servers == "y:2"
    assert settings.web.port == 0


def test_passwords_are_not_shown() -> None:
    assert without_password("redis://:secret@h:1/0") == "redis://:***@h:1/0"
    assert without_password("redis://h:1/0") == "redis://h:1/0"


def test_records_that_kafka_did_not_take_are_explained() -> None:
    denied = to_command_error(DeliveryError("User:ana has no permission Write on topic t"))
    late = to_command_error(DeliveryError("1 events did not arrive: timed out"))

    assert (denied.what, denied.code) == ("Kafka denies a permission", EXIT_UNREACHABLE)
    assert "SECURITY.md" in denied.fix
    assert "driftline doctor" in late.fix


def test_an_unknown_error_is_explained_without_a_traceback() -> None:
    failure = to_command_error(CorruptState("bad bytes"))
    assert isinstance(failure, CommandError)
    assert "CorruptState: bad bytes" in failure.text()
    assert "--debug" in failure.text()
    assert to_command_error(ModuleNotFoundError("x", name="faust")).code == 2


def test_the_registry_holds_the_topics_of_the_design() -> None:
    wanted = load_registry("acme")
    names = topic_names("acme")
    assert {topic.name for topic in wanted} == {
        names.events,
        names.alerts,
        names.dead_letters,
        names.retrain,
        names.models,
    }
    assert [t.name for t in missing(wanted, {names.events: 4})] == [
        t.name for t in wanted if t.name != names.events
    ]


def state(**changes: Any) -> PartitionState:
    fields: dict[str, Any] = {
        "partition": 0,
        "next": 7,
        "counters": Counters(valid=7),
        "unpublished": 0,
        "member": "w",
        "owner_wrote_ms": 5,
        "stopped": "",
    }
    return PartitionState(**(fields | changes))


def test_lag_is_never_negative_and_full_before_the_first_commit() -> None:
    assert partition_row(state(), 9)["lag"] == 2
    assert partition_row(state(), 5)["lag"] == 0
    assert partition_row(state(next=None), 9)["lag"] == 9


def test_a_series_is_as_bad_as_in_its_worst_partition() -> None:
    rows = model_rows([{("m@1", "f:a"): 0, ("m@1", "f:b"): 2}, {("m@1", "f:a"): 1}])
    assert rows == [{"model": "m@1", "series": 2, "suspected": ["f:a"], "open": ["f:b"]}]


def test_status_is_readable_before_anything_happened() -> None:
    data = {
        "topic": "d.events.v1",
        "partitions": [partition_row(state(next=None), 0)],
        "models": model_rows([]),
        "windows": window_rows("d", []),
    }
    text = "\n".join(status_lines(data))
    assert "none seen yet" in text
    assert "none yet" in text


def test_an_alert_is_one_line() -> None:
    alert = builders.alert(
        kind="quality",
        severity="high",
        model="flights-late",
        series="f:temp",
        explanation="temp: mean 37.2 → 2.9, PSI 3.1",
        decided_ms=1_362_128_040_000,
    )
    line = line_of(alert)
    assert line.startswith("e  2013-03-01 08:54:00Z  started")
    assert "\n" not in line
    assert "flights-late@1" in line
