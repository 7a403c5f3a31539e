"""The services of infra/compose.yaml on a real engine: start, an incident, a killed monitor, stop.

Without an engine, or without the images that it would have to pull, the test is skipped.
``IMAGE`` names an image of driftline that was built before.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest

from driftline.stack.server_process import free_port
from producer.safe_path import python_command
from tests.e2e.document_blocks import ROOT
from tests.e2e.test_init import COLUMNS, ROWS
from tests.e2e.test_up import run_in
from tests.integration.monitor_harness import until

IMAGES: Final = ("apache/kafka:4.3.1", "redis:7", "python:3.11-slim")
PORTS: Final = (
    "KAFKA_PORT", "REDIS_PORT", "WEB_PORTS", "TRAINER_WEB_PORT", "NOTIFY_PORT", "DASHBOARD_PORT",
)  # fmt: skip
LIVE_ROWS: Final = 3_000
STOPPED_BY_SIGTERM: Final = 143
"""The exit code of Kafka's Java process after a clean stop."""


def has_images() -> bool:
    if shutil.which("docker") is None:
        return False
    found = subprocess.run(
        ["docker", "image", "inspect", *IMAGES], capture_output=True, check=False
    )
    return found.returncode == 0


pytestmark = [
    pytest.mark.kafka,
    pytest.mark.long,
    pytest.mark.skipif(not has_images(), reason="no container engine with the images"),
]


class ComposeProject:
    """A project of its own: names, ports, volumes and image."""

    def __init__(self) -> None:
        name = f"driftline-{uuid.uuid4().hex[:8]}"
        self.image = os.environ.get("IMAGE", f"{name}:test")
        self.ports = {port: str(free_port()) for port in PORTS}
        own = {"NOTIFY_TARGETS": '{"chat":{"url":"json://127.0.0.1:1"}}'}
        self.environment = {**os.environ, "IMAGE": self.image, **own, **self.ports}
        file = str(ROOT / "infra" / "compose.yaml")
        self._command = ["docker", "compose", "-p", name, "-f", file, "--profile", "notify"]

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [*self._command, *words],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def exit_codes(self) -> dict[str, int]:
        listed = self.run("ps", "-a", "--format", "json").splitlines()
        return {one["Service"]: one["ExitCode"] for one in map(json.loads, listed)}

    def driftline(self, folder: Path, *words: str) -> str:
        """A command on this machine, as the head of the file describes it."""
        servers = {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{self.ports['KAFKA_PORT']}",
            "REDIS_URL": f"redis://127.0.0.1:{self.ports['REDIS_PORT']}/0",
        }
        return run_in(folder, python_command("driftline", *words), {**os.environ, **servers})

    def get(self, port: str, path: str) -> httpx.Response:
        return httpx.get(f"http://127.0.0.1:{self.ports[port]}{path}", trust_env=False, timeout=10)


@pytest.fixture
def project() -> Iterator[ComposeProject]:
    project = ComposeProject()
    try:
        yield project
    finally:
        project.run("down", "-v", "--timeout", "5")
        if "IMAGE" not in os.environ:
            remove = ["docker", "image", "rm", project.image]
            subprocess.run(remove, capture_output=True, check=False)


def test_the_services_start_watch_recover_and_stop(project: ComposeProject, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(ROWS)
    heading, *rows = ROWS.splitlines()
    live = [rows[i % len(rows)] for i in range(LIVE_ROWS)]
    (tmp_path / "live.csv").write_text("\n".join([heading, *live]))

    project.run("up", "-d", "--wait")
    for port in ("WEB_PORTS", "TRAINER_WEB_PORT", "NOTIFY_PORT"):
        assert project.get(port, "/readyz").status_code == 200
    project.driftline(tmp_path, "init", "churn", "--from", "train.csv", *COLUMNS)
    project.driftline(tmp_path, "profile", "send", "churn-1.profile.json")
    named = ("publish", "live.csv", "--model", "churn", "--version", "1", *COLUMNS)
    project.driftline(tmp_path, *named, "--inject", f"mean:tenure:+1sd@{LIVE_ROWS // 2}")
    until(
        lambda: "tenure" in project.get("DASHBOARD_PORT", "/api/v1/incidents").text,
        "the drift is an incident on the dashboard",
    )

    project.run("kill", "monitor")
    project.driftline(tmp_path, *named)
    project.run("up", "-d", "--wait")

    def events() -> int:
        status = json.loads(project.driftline(tmp_path, "status", "--json"))
        counters = [one["counters"] for one in status["partitions"]]
        return sum(one["valid"] + one["late"] for one in counters)

    until(lambda: events() == 2 * LIVE_ROWS, "each event is counted once")
    project.run("stop")
    codes = project.exit_codes()
    assert codes.pop("kafka") in (0, STOPPED_BY_SIGTERM)
    assert set(codes.values()) == {0}, codes
