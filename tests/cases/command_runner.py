"""Commands, run as a person runs them; only a monitor has a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import typer
from click.testing import CliRunner

from driftline.cli.app import app

DATA = Path(__file__).parent / "data"
READERS = ("inspect", "profile", "replay", "check", "publish", "explain")


class CommandResult(NamedTuple):
    """What a command ended with, and what it wrote."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


@functools.cache
def _command() -> Any:
    return typer.main.get_command(app)  # built once: 30 ms


def run(*arguments: str | Path, settings: Mapping[str, str] | None = None) -> CommandResult:
    """A command; ``settings`` are environment variables."""
    words = [str(argument) for argument in arguments]
    done = CliRunner().invoke(_command(), words, env=settings)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return CommandResult(done.exit_code, done.stdout, done.stderr)


def run_or_start(settings: Mapping[str, str], *arguments: str) -> CommandResult:
    """A command; a monitor, which is made for a process of its own, in one."""
    if arguments[0] != "monitor":
        return run(*arguments, settings=settings)
    done = subprocess.run(
        [sys.executable, "-m", "driftline", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return CommandResult(done.returncode, done.stdout, done.stderr)


def read_by(command: str, file: Path, *options: str) -> CommandResult:
    """One of the `READERS` on a file."""
    named = ("--model", "m", "--version", "1")
    arguments: dict[str, tuple[str | Path, ...]] = {
        "inspect": ("inspect", file, "--json"),
        "profile": ("profile", "build", file, *named),
        "replay": ("replay", file, "--reference", "first:300", "--json"),
        "check": ("check", file, file, "--json"),
        "publish": ("publish", file, *named, "--prediction", "score", "--dry-run"),
        "explain": ("explain", "calibration", file, "--json"),
    }
    return run(*arguments[command], *options)
