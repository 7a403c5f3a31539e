"""``driftline up`` as in docs/quickstart.md: from an empty folder to an own event, and its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.stack.server_process import free_port
from producer.safe_path import python_command
from tests.e2e.test_init import COLUMNS, ROWS
from tests.integration.monitor_harness import until

pytestmark = pytest.mark.kafka
LIVE_ROWS = 3_000


def driftline(*words: str) -> list[str]:
    return python_command("driftline", *words)


def run_in(folder: Path, command: Sequence[str], environment: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextlib.contextmanager
def running_up(folder: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The process, and the lines up to the last one of its start."""
    own = {n: v for n, v in os.environ.items() if n not in ("KAFKA_BOOTSTRAP_SERVERS", "REDIS_URL")}
    with (
        (folder / "up.log").open("w") as errors,
        subprocess.Popen(
            driftline("up", "--port", str(free_port())),
            cwd=folder,
            env=own,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.startswith("Ctrl-C"):
                    break
            yield process, lines
        finally:
            process.kill()


def child_of(parent: int, name: str) -> int | None:
    """The process of ``parent`` whose command line has ``name``."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ppid = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if int(ppid) == parent and name.encode() in (folder / "cmdline").read_bytes():
                return int(folder.name)
    return None


def is_replaced(parent: int, name: str, former: int) -> bool:
    return child_of(parent, name) not in (None, former)


def answer_of(url: str) -> str:
    try:
        return httpx.get(url, timeout=5).text
    except httpx.TransportError:
        return ""


def test_the_first_ten_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text(ROWS)
    heading, *rows = ROWS.splitlines()
    live = [rows[i % len(rows)] for i in range(LIVE_ROWS)]
    (tmp_path / "live.csv").write_text("\n".join([heading, *live]))
    run_in(tmp_path, driftline("init", "churn", "--from", "train.csv", *COLUMNS), dict(os.environ))
    with running_up(tmp_path) as (process, lines):
        assert process.poll() is None, (tmp_path / "up.log").read_text()
        assert lines[0].startswith("Dashboard http://127.0.0.1:")
        exports = dict(re.findall(r"export (\w+)=(\S+)", "\n".join(lines)))
        own = {**os.environ, **exports}
        run_in(tmp_path, driftline("profile", "send", "churn-1.profile.json"), own)

        def events() -> int:
            status = CliRunner().invoke(app, ["status", "--json"], env=exports)
            assert status.exit_code == 0, status.output
            counters = [one["counters"] for one in json.loads(status.stdout)["partitions"]]
            return sum(one["valid"] + one["late"] for one in counters)

        publish = driftline("publish", "live.csv", "--model", "churn", "--version", "1", *COLUMNS)
        run_in(tmp_path, publish, own)
        run_in(tmp_path, publish, own)
        run_in(tmp_path, [sys.executable, "log_predictions.py"], own)
        until(lambda: events() == LIVE_ROWS + 1, "rows that are published again count once")
        address = lines[0].split()[-1]
        assert json.loads(answer_of(f"{address}/api/v1/incidents")) == []
        run_in(tmp_path, [*publish, "--inject", f"mean:tenure:+1sd@{LIVE_ROWS // 2}"], own)
        until(
            lambda: "tenure" in answer_of(f"{address}/api/v1/incidents"),
            "the drift is an incident on the dashboard",
        )
        until(lambda: events() == 2 * LIVE_ROWS + 1, "the injected rows are other events")
        findings = run_in(tmp_path, driftline("doctor"), own)
        assert "WARNING" not in findings, findings

        for name in ("valkey-server", "kafka.Kafka", "monitor"):
            if child := child_of(process.pid, name):
                os.kill(child, signal.SIGKILL)
                until(partial(is_replaced, process.pid, name, child), f"another {name} is started")
        said = tmp_path / "up.log"
        until(lambda: "Redis answers again" in said.read_text(), "it states that Redis is back")
        until(lambda: answer_of(f"{address}/healthz") == "alive\n", "the dashboard recovers")
        run_in(tmp_path, [sys.executable, "log_predictions.py"], own)
        until(
            lambda: events() == 2 * LIVE_ROWS + 2, "nothing was lost, and the next event is counted"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
