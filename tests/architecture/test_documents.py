"""The documents name what exists, the code map names every module, generated parts are current."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from typer.main import get_command

from driftline.cli.app import app
from stream_monitor.contracts import DriftAlert, Kind
from stream_monitor.settings import Settings
from tests.architecture.generated_documents import (
    ALERTS,
    CONFIGURATION,
    MAP_MARKS,
    SAMPLE,
    configuration,
    sample,
)
from tests.e2e.test_document_blocks import ELSEWHERE, NOT_RUN, ON_FILES, UNITS, is_known
from trainer.settings import Settings as TrainerProcessSettings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
PACKAGES = ("producer", "stream_monitor", "trainer", "driftline")
MAX_README_LINES = 200
MAX_ARCHITECTURE_WORDS = 3_000
DOCUMENTS = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        ROOT / "examples" / "README.md",
    ]
    if path.name != "CHANGELOG.md"
}
EVERY_TEXT = "\n".join(DOCUMENTS.values())


def code_map() -> str:
    return ARCHITECTURE.split(MAP_MARKS[0])[1].split(MAP_MARKS[1])[0]


def modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_on_the_map_in_its_folder(package: str) -> None:
    """`make docs` writes the map; each line begins with the name of a file or a folder."""
    block = re.search(rf"```\n{package}/\n(.*?)```", code_map(), re.DOTALL)
    assert block is not None
    mapped: list[str] = []
    folders: list[str] = []
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        name = line.split()[0]
        folders[depth - 1 :] = []
        if name.endswith("/"):
            folders.append(name.rstrip("/"))
        elif name.endswith(".py"):
            mapped.append("/".join([package, *folders, name]))
    existing = {str(path.relative_to(ROOT)) for path in modules()}
    assert sorted(mapped) == sorted(path for path in existing if path.startswith(f"{package}/"))


def test_architecture_is_short_enough_to_read() -> None:
    """The code map is generated and looked up, so its words do not count."""
    assert len(ARCHITECTURE.replace(code_map(), "").split()) <= MAX_ARCHITECTURE_WORDS


def test_readme_is_short_enough_to_read() -> None:
    assert len(README.splitlines()) <= MAX_README_LINES


def test_every_path_that_is_named_exists() -> None:
    named = re.findall(
        r"`((?:tests|infra|docs|examples|producer|stream_monitor|trainer|driftline)/[\w./-]+)`",
        EVERY_TEXT,
    )
    assert len(named) > 100
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document: str) -> None:
    text = DOCUMENTS[document]
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / document).parent / name if name else ROOT / document
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, target


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")


def test_every_invariant_has_a_number_of_its_own() -> None:
    numbers = re.findall(r"^\| I(\d+) \|", ARCHITECTURE, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]


def test_every_command_and_option_that_is_named_exists() -> None:
    group = get_command(app)
    named = re.findall(
        r"(?:`|^|\$ )driftline ([a-z][a-z-]*)(?: ([a-z]+))?([^`\n|]*)", EVERY_TEXT, re.MULTILINE
    )
    assert len(named) > 30
    for command, below, rest in named:
        found = group.commands.get(command)  # type: ignore[attr-defined]
        assert found is not None, command
        if hasattr(found, "commands") and below:
            assert below in found.commands, f"{command} {below}"
            found = found.commands[below]
        if hasattr(found, "commands"):
            continue
        options = {name for parameter in found.params for name in parameter.opts}
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", rest.split("#")[0]):
            assert option in options, f"{command} {below} {option}"


def test_every_block_is_run_or_has_a_reason() -> None:
    """The tables have no entry that no document has, either."""
    unknown = [f"{unit.document}: {unit.name}" for unit in UNITS.values() if not is_known(unit)]
    assert unknown == []
    names = {name for _, name in UNITS}
    assert [name for name in (*ON_FILES, *ELSEWHERE, *NOT_RUN) if name not in names] == []


def test_every_python_example_compiles() -> None:
    blocks = re.findall(r"```python\n(.*?)```", EVERY_TEXT, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "a document", "exec")


def test_the_configuration_reference_is_current() -> None:
    assert CONFIGURATION.read_text("utf-8") == configuration(), "run: make docs"
    assert SAMPLE.read_text("utf-8") == sample(), "run: make docs"


def test_every_setting_of_the_sample_is_accepted_with_its_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With every line in force the settings are those of an empty file."""
    text = re.sub(r"^# (\w+ = )", r"\1", sample(), flags=re.MULTILINE)
    assert len(tomllib.loads(text)) > 10
    monkeypatch.chdir(tmp_path)
    default, default_trainer = Settings(), TrainerProcessSettings()
    (tmp_path / "driftline.toml").write_text(text, "utf-8")
    stated, stated_trainer = Settings(), TrainerProcessSettings()
    assert stated.monitor_spec() == default.monitor_spec()
    assert stated.incident_policy() == default.incident_policy()
    assert stated.kafka == default.kafka
    trainer, default_of_trainer = stated_trainer.trainer, default_trainer.trainer
    assert trainer.retrain_policy() == default_of_trainer.retrain_policy()
    assert trainer.gate_spec() == default_of_trainer.gate_spec()
    assert trainer.fit_limits() == default_of_trainer.fit_limits()


def test_every_field_of_an_alert_is_described_once() -> None:
    table = ALERTS.read_text("utf-8").split("## Fields")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
    described = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(described) == sorted(DriftAlert.__struct_fields__)


def test_there_is_an_example_of_every_kind_of_alert() -> None:
    blocks = re.findall(r"```json\n(.*?)```", ALERTS.read_text("utf-8"), re.DOTALL)
    alerts = [msgspec.json.decode(block, type=DriftAlert) for block in blocks]
    assert [alert.kind for alert in alerts] == list(get_args(Kind))
