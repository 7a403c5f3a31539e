"""The three targets of `make test-all` share all tests, and `make test` holds one of each kind."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.file_selection import MARKERS, can_hold_selected

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
REPRESENTATIVES: Final = {
    "a monitor on real Kafka and Redis is killed": "tests/integration/test_monitor_kill.py::",
    "an alert leads to a promotion": "tests/integration/test_trainer_loop.py::",
    "a server fails under load": "tests/chaos/test_faults.py::test_nothing_is_lost",
    "a monitor reads a secured Kafka": "tests/integration/test_secured_kafka.py::test_a_monitor",
    "a worker reads what Kafka's transactions leave": "tests/integration/test_runtime_worker.py::",
    "a real Redis keeps the contract of the store": "tests/contracts/test_store_contract.py::",
    "the core repeats what was recorded": "tests/golden/test_behaviour.py::",
}


def expressions(target: str) -> list[str]:
    """The marker expressions that a target of the Makefile runs."""
    recipe = re.search(rf"^{target}: .*\n((?:[\tie].*\n)*)", MAKEFILE, re.MULTILINE)
    assert recipe is not None
    return re.findall(r'-m "([^"]+)"', recipe[1])


def test_each_test_runs_once_in_make_test_all() -> None:
    parts = [*expressions("test"), *expressions("test-rest"), *expressions("test-long")]
    assert len(parts) == 5
    for values in itertools.product((False, True), repeat=len(MARKERS)):
        markers = dict(zip(MARKERS, values, strict=True))
        chosen = [expression for expression in parts if eval(expression, {}, markers)]  # noqa: S307
        assert len(chosen) == 1, markers


def test_make_test_all_runs_all_parts_and_ci_all_but_the_long_one() -> None:
    assert re.search(r"^test-all: test test-rest test-long\b", MAKEFILE, re.MULTILINE)
    commands = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    assert [line for line in commands if line.startswith("make test")] == [
        "make test",
        "make test-rest",
    ]


@pytest.mark.parametrize(
    ("text", "expression", "expected"),
    [
        ("def test_this(): ...", "not kafka and not slow", True),
        ("def test_this(): ...", "kafka and not smoke", False),
        ("@pytest.mark.kafka", "not kafka and not slow", True),
        ("@pytest.mark.kafka", "kafka and smoke", False),
        ("marks=[pytest.mark.kafka, pytest.mark.smoke]", "kafka and smoke", True),
        ("pytestmark = pytest.mark.kafka", "not kafka and not slow", False),
        ("pytestmark = [\n    pytest.mark.slow,\n]", "not kafka and not slow", False),
        ("def test_this(): ...", "kafka and integration", True),
        ("def test_this(): ...", "", True),
    ],
)
def test_a_file_is_imported_only_if_one_of_its_tests_can_be_selected(
    text: str, expression: str, *, expected: bool
) -> None:
    assert can_hold_selected(text, expression) is expected


def test_each_file_names_the_markers_of_its_tests() -> None:
    """A marker from another module would be overlooked when files are selected."""
    elsewhere = re.compile(r"import .*\bpytestmark|getattr\(pytest\.mark|from pytest import .*mark")
    files = (ROOT / "tests").rglob("*.py")
    assert [path.name for path in files if elsewhere.search(path.read_text("utf-8"))] == [
        Path(__file__).name
    ]


@pytest.fixture(scope="module")
def selected() -> list[str]:
    """Names of the tests of `make test`, among those of the files that are named above."""
    files = sorted({name.partition("::")[0] for name in REPRESENTATIVES.values()})
    expression = " or ".join(f"({part})" for part in expressions("test"))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", expression, *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("what", REPRESENTATIVES)
def test_make_test_holds_one_of_each_kind(selected: list[str], what: str) -> None:
    assert any(name.startswith(REPRESENTATIVES[what]) for name in selected)
