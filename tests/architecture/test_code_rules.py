"""Rules a reader relies on: short files, plain names, a core without I/O, examples that run."""

from __future__ import annotations

import ast
import doctest
import importlib
import itertools
import pkgutil
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PACKAGES = ("producer", "stream_monitor", "trainer", "driftline")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MAX_LINES = 500
VAGUE = {"utils", "common", "helpers", "manager", "base", "types", "misc"}
CORE = {
    "ingest",
    "statistics",
    "reference",
    "detectors",
    "windows",
    "labels",
    "checks",
    "episodes",
    "core",
}
"""Packages of the functional core."""


def modules() -> list[ModuleType]:
    found = []
    for package in PACKAGES:
        root = importlib.import_module(package)
        found.append(root)
        names = (info.name for info in pkgutil.walk_packages(root.__path__, f"{package}."))
        found += [importlib.import_module(n) for n in names if not n.endswith("__main__")]
    return found


def test_every_file_is_short_and_named_for_one_concept() -> None:
    files = [*SOURCES, *TESTS]
    long = {
        str(path.relative_to(ROOT)): n_lines
        for path in files
        if (n_lines := len(path.read_text("utf-8").splitlines())) > MAX_LINES
    }

    assert len(files) > 500
    assert long == {}
    assert [path for path in files if path.stem in VAGUE] == []


def test_imports_point_one_way() -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout


EXTRAS = {
    "producer": {"arrow"},
    "stream_monitor": {"monitor", "files"},
    "trainer": {"trainer", "monitor", "mlflow"},
    "driftline": {"local", "demo", "dashboard", "trainer", "monitor", "notify", "files"},
}
"""The extras of pyproject.toml with which each package is used."""


def declared(extras: set[str]) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    lines = [*project["dependencies"], *itertools.chain(*(optional[name] for name in extras))]
    return {canonicalize_name(Requirement(line).name) for line in lines}


def imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    plain = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    named = [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in plain + named}


def test_every_import_is_a_declared_dependency() -> None:
    distributions = packages_distributions()
    for package, extras in EXTRAS.items():
        names = set().union(*map(imported, (ROOT / package).rglob("*.py")))
        foreign = names - set(PACKAGES) - sys.stdlib_module_names
        used = {canonicalize_name(distributions[name][0]) for name in foreign}

        assert used - declared(extras) == set(), package


def lines_with(pattern: str, paths: list[Path]) -> list[str]:
    form = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in paths
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if form.search(line)
    ]


def test_nothing_is_unpickled() -> None:
    assert lines_with(r"pickle\.loads?\(|joblib\.load\(|allow_pickle=True", SOURCES) == []


def test_redis_is_never_asked_for_a_transaction() -> None:
    """A torn MULTI in the append-only file loses a later write at the second restart."""
    assert lines_with(r"pipeline\((\)|transaction=True)|\.multi\(", SOURCES) == []


def test_the_core_reads_no_clock_and_no_process_hash() -> None:
    core = [
        path
        for path in (ROOT / "stream_monitor").rglob("*.py")
        if path.relative_to(ROOT).parts[1] in CORE
    ]

    assert {path.relative_to(ROOT).parts[1] for path in core} == CORE
    assert lines_with(r"time\.time\(|datetime\.now\(|(?<![\w.])hash\(", core) == []


def test_no_file_contains_a_path_of_one_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    texts = [
        ROOT / name
        for name in tracked
        if Path(name).suffix in (".py", ".md", ".toml", ".yaml", ".txt", ".lua", "")
        and (ROOT / name).is_file()
    ]

    assert len(texts) > 100
    assert lines_with(r"(?<![\w./$-])/(work|root|home)/\w", texts) == []


def test_every_example_in_a_docstring_runs() -> None:
    results = [doctest.testmod(module) for module in modules()]

    assert sum(result.attempted for result in results) > 40
    assert sum(result.failed for result in results) == 0
