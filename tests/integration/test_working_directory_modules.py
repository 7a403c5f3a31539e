"""Modules of a person in the working directory take the place of no module of ours or Python's."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from driftline.stack.child_process import ChildProcess
from driftline.stack.server_process import die_with_parent_command
from tests.unit.test_trainer_fit import FEATURES, LIMITS, frame
from trainer.fitting.results import FitFailure, FittedModel
from trainer.fitting.run import fit

HOSTILE = (
    "trainer.py",
    "producer/__init__.py",
    "stream_monitor/__init__.py",
    "driftline.py",
    "ctypes.py",
    "random.py",
    "logging.py",
)
FACTORY = """
import sys
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.compose import make_column_transformer
def make():
    columns = make_column_transformer((OneHotEncoder(), ["carrier"]), remainder="passthrough")
    return make_pipeline(columns, LogisticRegression())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each module there leaves a mark where it is executed, and breaks."""
    for name in HOSTILE:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        mark = tmp_path / f"executed-{file.parent.name}-{file.stem}"
        file.write_text(f"open({str(mark)!r}, 'w').close()\nraise ImportError('hostile')\n")
    (tmp_path / "my_model.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def executed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("executed-*"))


def test_a_fit_finds_the_factory_and_nothing_else_in_the_working_directory(folder: Path) -> None:
    fitted = fit(
        "my_model:make",
        frame(),
        FEATURES,
        LIMITS,
        folder / "fit",
        lambda _: None,
        model="m",
        version="2",
    )
    assert isinstance(fitted, FittedModel), fitted
    assert executed(folder) == []


@pytest.mark.slow
def test_a_factory_with_the_name_of_an_installed_package_is_rejected(folder: Path) -> None:
    failed = fit(
        "trainer:make",
        frame(),
        FEATURES,
        LIMITS,
        folder / "fit",
        lambda _: None,
        model="m",
        version="2",
    )
    assert isinstance(failed, FitFailure)
    assert "rename yours" in failed.reason
    assert str(folder / "trainer.py") in failed.reason
    assert executed(folder) == []


@pytest.mark.slow
@pytest.mark.parametrize("search_path", ["", "."])
def test_commands_and_children_start_in_it(folder: Path, search_path: str) -> None:
    """The console script, ``python -m driftline``, and the processes of the demo."""
    script = str(Path(sys.executable).with_name("driftline"))
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": search_path}
    if search_path:  # a folder on the path of Python itself shadows `logging`
        for name in ("ctypes.py", "random.py", "logging.py", "driftline.py"):
            (folder / name).unlink()
    commands = [[script, "version"], die_with_parent_command([script, "version"])]
    if not search_path:
        (folder / "driftline.py").unlink()  # `python -m driftline` would mean that file
        (folder / "logging.py").unlink()  # and would have imported that one before it is ours
        commands.append([sys.executable, "-m", "driftline", "version"])
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
    no_file = [script, "replay", "no.csv", "--reference", "first:50%"]  # imports all our packages
    done = subprocess.run(no_file, capture_output=True, text=True, check=False, env=environment)
    assert "the file does not exist" in done.stderr
    child = ChildProcess("version", "driftline", ["version"], environment, folder)
    deadline = time.monotonic() + 60
    while child.exit_code is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert child.exit_code == 0, child.tail()
    child.stop()
    assert executed(folder) == []
