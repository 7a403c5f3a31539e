"""The names that users rely on: commands, functions, fields, topics, kinds and exit codes.

A name of this file changes in a new major version only.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pandas as pd
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import driftline
from driftline.cli import command_error as failure
from driftline.cli.app import app
from driftline.serving.champion import ChampionModel
from producer.events import CE_TYPE_OF
from producer.routing import topic_names
from stream_monitor.contracts import ALERT_CE_TYPE, DEAD_LETTER_CE_TYPE, HEALTH_CE_TYPE, DriftAlert

COMMANDS: Final = (
    "check replay profile publish forward alerts incidents doctor status topics demo monitor train "
    "retrain models explain drill notify"
)
ALERT_FIELDS: Final = "alert_id episode_id model version phase kind severity series feature"
EPISODE_FIELDS: Final = "feature detected_event kind"
CE_TYPES: Final = {
    "InferenceEvent": "io.driftline.inference.v1",
    "Label": "io.driftline.label.v1",
    "ModelUpdate": "io.driftline.model-update.v1",
    "Command": "io.driftline.command.v1",
    "Tick": "io.driftline.tick.v1",
    "Topology": "io.driftline.topology.v1",
}


def test_the_commands_that_users_type_are_there() -> None:
    assert set(COMMANDS.split()) <= set(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_functions_that_users_import_are_there() -> None:
    assert {"InferenceLogger", "announce", "profile_from_frame"} <= set(driftline.__all__)
    for name in driftline.__all__:
        assert getattr(driftline, name) is not None
    assert inspect.isclass(ChampionModel)


def test_the_prefix_of_the_topics_has_one_name() -> None:
    for function in (driftline.InferenceLogger, driftline.announce):
        assert "topic_prefix" in inspect.signature(function).parameters


def test_an_alert_has_the_fields_that_consumers_read() -> None:
    fields = {field.encode_name for field in msgspec.structs.fields(DriftAlert)}

    assert set(ALERT_FIELDS.split()) <= fields


def test_an_episode_of_a_replay_has_the_fields_that_scripts_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 1, 3_000), rng.normal(3, 1, 1_000)])
    path = tmp_path / "rows.csv"
    pd.DataFrame({"load": values}).to_csv(path, index=False)

    done = CliRunner().invoke(app, ["replay", str(path), "--json"])

    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in done.stdout.splitlines()]
    episodes = [line for line in found if "detected_event" in line]
    assert episodes
    assert set(EPISODE_FIELDS.split()) <= set(episodes[0])


def test_the_topics_have_these_names() -> None:
    assert sorted(msgspec.structs.astuple(topic_names("driftline"))) == [
        "driftline.alerts.v1",
        "driftline.dead-letters.v1",
        "driftline.events.v1",
        "driftline.models.v1",
        "driftline.retrain.v1",
    ]


def test_records_are_of_these_kinds() -> None:
    assert {kind.__name__: name for kind, name in CE_TYPE_OF.items()} == CE_TYPES
    assert ALERT_CE_TYPE == "io.driftline.drift-alert.v1"
    assert HEALTH_CE_TYPE == "io.driftline.health.v1"
    assert DEAD_LETTER_CE_TYPE == "io.driftline.dead-letter.v1"


@pytest.mark.parametrize(
    ("name", "code", "meaning"),
    [
        ("EXIT_FAILED", 1, "1 failed"),
        ("EXIT_USAGE", 2, "2 wrong usage"),
        ("EXIT_CHECK_FAILED", 3, "3 a check failed"),
        ("EXIT_UNREACHABLE", 4, "4 Kafka or Redis unreachable"),
        ("EXIT_INTERRUPTED", 130, "130 Ctrl-C"),
    ],
)
def test_exit_codes_mean_this(name: str, code: int, meaning: str) -> None:
    assert getattr(failure, name) == code
    assert meaning in str(app.info.epilog)
