"""A fit process leaves no process behind: at its end, at a limit, or at the trainer's end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd
import pytest

from trainer.fitting.files import FitFiles, FitRequest, write_table
from trainer.fitting.limited_process import ProcessResult, run_limited
from trainer.fitting.model_fit import FitSpec

DEADLINE_S: Final = 60
SLEEPER: Final = "import time; time.sleep(600)"
WITH_A_CHILD: Final = (
    "import os, subprocess, sys, time\n"
    f"sleeper = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
    "os.write(int(sys.argv[1]), f'{os.getpid()}\\n{sleeper.pid}\\n'.encode())\n"
)
MEBIBYTE: Final = 1 << 20


def run(
    script: str,
    lines: list[str] | None = None,
    timeout_s: float = DEADLINE_S,
    max_memory_bytes: int = 2_048 * MEBIBYTE,
) -> ProcessResult:
    return run_limited(
        [sys.executable, "-c", script],
        environment=os.environ,
        timeout_s=timeout_s,
        max_memory_bytes=max_memory_bytes,
        on_line=(lines if lines is not None else []).append,
    )


def gone(pid: int) -> bool:
    """Whether the process has ended, or is a zombie of another parent."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text("ascii")
    except (FileNotFoundError, ProcessLookupError):
        return True


def all_gone(pids: list[str]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        if all(gone(int(pid)) for pid in pids):
            return True
    return False


def test_lines_arrive_unchanged_and_the_output_ends_at_its_end() -> None:
    lines: list[str] = []
    script = (
        "import os, sys\n"
        "for part in (b'fold 1', b' of 2\\nfold 2 of 2\\nunfinished'):\n"
        "    os.write(int(sys.argv[1]), part)\n"
        "print('x' * 100_000 + 'the end')\n"
        "sys.exit(7)"
    )

    ended = run(script, lines)

    assert (ended.end_reason, ended.code, lines) == ("exited", 7, ["fold 1 of 2", "fold 2 of 2"])
    assert ended.output.endswith("xthe end")
    assert len(ended.output) < 5_000


def test_a_stopped_fit_ends_with_its_child_processes() -> None:
    pids: list[str] = []

    ended = run(WITH_A_CHILD + SLEEPER, pids, timeout_s=3)

    assert (ended.end_reason, len(pids)) == ("timeout", 2)
    assert all_gone(pids)


def test_children_left_behind_end_with_the_process_though_they_hold_its_pipes() -> None:
    pids: list[str] = []

    ended = run(WITH_A_CHILD, pids)

    assert (ended.end_reason, ended.code, len(pids)) == ("exited", 0, 2)
    assert all_gone(pids)


@pytest.mark.parametrize(
    "script",
    [
        "eaten = []\nwhile True: eaten.append(b'x' * 1_000_000)",
        "import os, time\nfor _ in range(3): os.fork()\neaten = b'x' * 60_000_000\ntime.sleep(600)",
    ],
    ids=["bit by bit", "in its children"],
)
@pytest.mark.skipif(sys.platform != "linux", reason="memory of a group is watched on Linux")
def test_memory_is_limited_for_all_of_a_group(script: str) -> None:
    assert run(script, max_memory_bytes=300 * MEBIBYTE).end_reason == "memory"


def test_endless_output_neither_fills_memory_nor_stops_the_clock() -> None:
    ended = run("while True: print('\\0{]' * 10_000)", timeout_s=1)

    assert ended.end_reason == "timeout"
    assert len(ended.output) < 5_000


def test_a_listener_that_raises_leaves_nothing_running() -> None:
    pids: list[str] = []

    def listen(line: str) -> None:
        pids.append(line)
        if len(pids) == 2:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_limited(
            [sys.executable, "-c", WITH_A_CHILD + SLEEPER],
            environment=os.environ,
            timeout_s=DEADLINE_S,
            max_memory_bytes=2_048 * MEBIBYTE,
            on_line=listen,
        )
    assert all_gone(pids)


def test_when_the_trainer_is_killed_its_fit_goes_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    Path(tmp_path / "hanging.py").write_text(
        "import os, subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEPER!r}])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(600)\n",
        "ascii",
    )
    files = FitFiles(tmp_path)
    request = FitRequest(
        factory="hanging:make",
        spec=FitSpec(["x"], "m", "1", n_folds=3),
        max_memory_bytes=2_048 * MEBIBYTE,
        held_out=False,
    )
    files.request.write_bytes(msgspec.json.encode(request))
    write_table(pd.DataFrame({"x": [1.0], "label": [1]}), files.training)
    program = (
        "import os, sys\nfrom trainer.fitting.limited_process import run_limited\n"
        "run_limited([sys.executable, '-m', 'trainer.fitting.child', sys.argv[1]], "
        "environment=os.environ, timeout_s=600, max_memory_bytes=2 << 30, on_line=print)"
    )
    trainer = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=tmp_path)
    deadline = time.monotonic() + DEADLINE_S
    while not (pids.exists() and len(pids.read_text("ascii").split()) == 2):
        assert time.monotonic() < deadline

    os.kill(trainer.pid, signal.SIGKILL)
    trainer.wait()

    assert all_gone(pids.read_text("ascii").split())
