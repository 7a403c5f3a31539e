"""The local stack leaves nothing behind, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from driftline.stack.server_process import ServerProcess, ServerStartError
from driftline.stack.temporary_folder import temporary_folder

# Kafka is named, so that only Valkey starts; its own port reports its pid and folder.
SCRIPT = """
import os, signal, sys, tempfile
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)  # the tests may run in the background
from driftline.stack import LocalStack
with LocalStack.start() as stack:
    import redis
    client = redis.Redis.from_url(stack.redis_url)
    folder = Path(client.config_get("dir")["dir"]).parent
    print(client.info("server")["process_id"], folder, flush=True)
    client.close()
    sys.stdin.read()
"""


def until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Whether a process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture
def stack(tmp_path: Path) -> tuple[subprocess.Popen[str], int, Path]:
    """A process with a local stack; the server's pid and the folder of its data."""
    owner = subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        env={
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9",
            "REDIS_URL": "",
            "TMPDIR": str(tmp_path),
        },
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pid, _, folder = owner.stdout.readline().strip().partition(" ")
    return owner, int(pid), Path(folder)


def wait(owner: subprocess.Popen[str]) -> int:
    owner.communicate(timeout=60)
    return owner.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_servers_and_removes_their_data(
    stack: tuple[subprocess.Popen[str], int, Path], number: signal.Signals
) -> None:
    owner, pid, folder = stack
    assert folder.is_dir()
    owner.send_signal(number)
    assert wait(owner) != 0
    assert gone(pid)
    assert not folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
def test_servers_die_with_an_owner_that_was_killed_and_the_next_one_removes_its_data(
    stack: tuple[subprocess.Popen[str], int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, pid, folder = stack
    owner.kill()
    wait(owner)
    until(lambda: gone(pid))
    assert folder.is_dir()
    monkeypatch.setattr("tempfile.tempdir", str(folder.parent))
    with temporary_folder("stack") as ours:
        assert not folder.exists()
        with temporary_folder("stack") as another:
            assert ours.is_dir()  # its owner lives
            assert another != ours
    assert not ours.exists()


def test_a_server_that_does_not_start_gives_the_reason(tmp_path: Path) -> None:
    server = ServerProcess(["sh", "-c", "echo no space left; exit 3"], tmp_path / "log")
    server.start()
    with pytest.raises(ServerStartError, match="no space left"):
        server.wait_until(lambda: False, timeout_s=20)


def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path) -> None:
    server = ServerProcess(["sleep", "60"], tmp_path / "log")
    server.start()
    with pytest.raises(ServerStartError, match="not ready"):
        server.wait_until(lambda: False, timeout_s=0.1)
    server.stop()
