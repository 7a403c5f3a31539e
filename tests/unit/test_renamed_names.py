"""Every setting, environment variable and option that was renamed is rejected with its new name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer
from pydantic import BaseModel, ValidationError
from typer.testing import CliRunner

from driftline.cli.app import RENAMED_OPTIONS, app
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.episodes.incidents import IncidentPolicy
from stream_monitor.renamed_settings import (
    RENAMED_SETTINGS,
    RENAMED_VARIABLES,
    path_of,
    variable_of,
)
from stream_monitor.settings import Settings as MonitorSettings
from stream_monitor.shared_settings import FileSettings
from trainer.evaluation.gate import Gate
from trainer.fitting.results import FitLimits
from trainer.policy.retrain_policy import RetrainPolicy
from trainer.settings import Settings as TrainerSettings

PROCESSES = [MonitorSettings, TrainerSettings]
SPECS: dict[tuple[str, ...], type[msgspec.Struct]] = {
    (): MonitorSpec,
    ("monitor",): MonitorSpec,
    ("incidents",): IncidentPolicy,
    ("trainer", "policy"): RetrainPolicy,
    ("trainer", "gate"): Gate,
    ("trainer", "fit"): FitLimits,
}
"""Sections that take the fields of a struct."""
run = CliRunner()


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def fields_of(kind: Any, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The paths of all settings below a class of settings."""
    found: set[tuple[str, ...]] = set()
    inner: dict[str, Any] = {}
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        inner = {name: field.annotation for name, field in kind.model_fields.items()}
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inner = {field.name: field.type for field in msgspec.structs.fields(kind)}
    for name, annotation in inner.items():
        found |= {(*path, name)} | fields_of(annotation, (*path, name))
    return found


def known_settings() -> set[tuple[str, ...]]:
    """The paths of all settings of both processes."""
    known = fields_of(MonitorSettings) | fields_of(TrainerSettings)
    for path, spec in SPECS.items():
        known |= fields_of(spec, path)
    return known


def commands_of(command: Any) -> list[Any]:
    """A command and the commands below it."""
    below = getattr(command, "commands", {}).values()
    return [command, *(inner for child in below for inner in commands_of(child))]


@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_a_new_setting_exists_and_its_old_name_does_not(old: str, new: str) -> None:
    assert path_of(new) in known_settings()
    assert path_of(old) not in known_settings()


@pytest.mark.parametrize("settings", PROCESSES)
@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_an_old_setting_of_the_file_is_rejected_with_its_new_name(
    settings: type[FileSettings], old: str, new: str, tmp_path: Path
) -> None:
    section, _, key = old.partition("] ")
    lines = [section + "]", f"{key} = 1"] if key else [section]
    (tmp_path / "driftline.toml").write_text("\n".join(lines), "utf-8")
    with pytest.raises(ValidationError) as rejected:
        settings()
    assert f"{old} is now {new}" in str(rejected.value)


@pytest.mark.parametrize("settings", PROCESSES)
@pytest.mark.parametrize(("old", "new"), RENAMED_SETTINGS.items())
def test_an_old_variable_is_rejected_with_its_new_name(
    settings: type[FileSettings], old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable_of(old), "1")
    with pytest.raises(ValidationError) as rejected:
        settings()
    assert f"{variable_of(old)} is now {variable_of(new)}" in str(rejected.value)


@pytest.mark.parametrize("settings", PROCESSES)
def test_a_variable_of_a_renamed_section_keeps_its_key(
    settings: type[FileSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("driftline_volume__cell_ms", "1")
    with pytest.raises(ValidationError, match="volume__cell_ms is now DRIFTLINE_TRAFFIC__CELL_MS"):
        settings()


@pytest.mark.parametrize("settings", PROCESSES)
@pytest.mark.parametrize(("old", "new"), RENAMED_VARIABLES.items())
def test_an_old_variable_of_an_option_is_rejected_with_its_new_name(
    settings: type[FileSettings], old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variables = {
        variable
        for command in commands_of(typer.main.get_command(app))
        for parameter in command.params
        for variable in [parameter.envvar]
    }
    assert new in variables
    assert old not in variables
    monkeypatch.setenv(old, "models")
    with pytest.raises(ValidationError, match=f"{old} is now {new}"):
        settings()


def test_all_old_names_are_reported_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "driftline.toml").write_text("[commit]\nshare = 2\npatience_s = 3\n", "utf-8")
    monkeypatch.setenv("DRIFTLINE_REDIS__ON_LOSS", "resume")
    with pytest.raises(ValidationError) as rejected:
        MonitorSettings()
    for old in ("[commit] share", "[commit] patience_s", "DRIFTLINE_REDIS__ON_LOSS"):
        assert f"{old} is now" in str(rejected.value)


def test_settings_of_today_pass_in_an_environment_of_other_programs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not [name for name in os.environ if name.startswith("DRIFTLINE_REFUSALS")]
    monkeypatch.setenv("COMMIT__SHARE", "1")
    monkeypatch.setenv("DRIFTLINE_TRAINER_HOMES", "1")
    monkeypatch.setenv("DRIFTLINE_COMMIT__TIMEOUT_S", "30")
    assert MonitorSettings().commit.timeout_s == 30
    TrainerSettings()


@pytest.mark.parametrize(("old", "new"), RENAMED_OPTIONS.items())
def test_every_command_rejects_an_old_option_with_its_new_name(old: str, new: str) -> None:
    tried = 0

    def visit(command: Any, words: list[str]) -> None:
        nonlocal tried
        options = {option for parameter in command.params for option in parameter.opts}
        assert old not in options
        for name, child in getattr(command, "commands", {}).items():
            visit(child, [*words, name])
        if new in options:
            tried += 1
            result = run.invoke(app, [*words, old, "x"])
            assert result.exit_code == 2
            assert f"{old} is now {new}" in result.output

    visit(typer.main.get_command(app), [])
    assert tried > 0


@pytest.mark.parametrize("old", [*RENAMED_VARIABLES, "DRIFTLINE_COMMIT__SHARE"])
def test_every_command_rejects_an_old_variable(old: str) -> None:
    result = run.invoke(app, ["models", "list"], env={old: "1"})
    assert result.exit_code == 2
    assert f"{old} is now DRIFTLINE_" in result.output


def test_a_command_without_the_new_option_rejects_the_old_one_as_unknown() -> None:
    result = run.invoke(app, ["status", "--home", "x"])
    assert result.exit_code == 2
    assert "No such option: --home" in result.output
    assert "is now" not in result.output
