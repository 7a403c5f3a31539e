"""What README and ARCHITECTURE name exists; what exists is on the map."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.main import get_command

from driftline.cli.app import app

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
PACKAGES = ("producer", "stream_monitor", "trainer", "driftline")


def code_map() -> str:
    return ARCHITECTURE.split("## Code map")[1].split("\n## ")[0]


def modules() -> list[Path]:
    return [
        path
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.name not in ("__init__.py", "__main__.py")
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_on_the_map_in_its_room(package: str) -> None:
    """The map is indented as the folders are; each line begins with a file's or folder's name."""
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
    there = {str(path.relative_to(ROOT)) for path in modules()}
    assert sorted(mapped) == sorted(path for path in there if path.startswith(f"{package}/"))


def test_every_path_that_is_named_exists() -> None:
    named = re.findall(
        r"`((?:tests|infra|producer|stream_monitor|trainer|driftline)/[\w./]+)`",
        README + ARCHITECTURE,
    )
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_invariant_has_a_number_of_its_own() -> None:
    numbers = re.findall(r"^\| I(\d+) \|", ARCHITECTURE, re.MULTILINE)
    assert numbers == [str(i + 1) for i in range(len(numbers))]


def test_every_command_that_is_named_exists() -> None:
    group = get_command(app)
    named = set(re.findall(r"(?:`|^)driftline ([a-z][a-z-]*)(?: ([a-z]+))?", README, re.MULTILINE))
    assert len(named) > 8
    for command, below in named:
        found = group.commands.get(command)  # type: ignore[attr-defined]
        assert found is not None, command
        if hasattr(found, "commands") and below:
            assert below in found.commands, f"{command} {below}"


def test_every_python_example_compiles() -> None:
    blocks = re.findall(r"```python\n(.*?)```", README + ARCHITECTURE, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "README.md", "exec")
