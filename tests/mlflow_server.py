"""A real MLflow server on SQLite, on loopback, for the tests that need one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple
from urllib.error import URLError
from urllib.request import urlopen

from driftline.stack.server_process import ServerProcess, free_port
from driftline.stack.temporary_folder import temporary_folder

READY_S: Final = 120.0
ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


class MlflowServer(NamedTuple):
    """Its port, and the folder in which it keeps artifacts."""

    port: int
    artifacts: Path

    @property
    def uri(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def mlflow_server() -> Iterator[MlflowServer]:
    """A server with an empty database; it ends with the block."""
    with temporary_folder("mlflow") as folder:
        server = MlflowServer(free_port(), folder / "artifacts")
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(server.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite'}"]
        command += ["--artifacts-destination", str(server.artifacts)]
        process = ServerProcess(command, folder / "mlflow.log", environment=ENVIRONMENT)
        process.start()
        try:
            process.wait_until(lambda: _answers(server.uri), READY_S)
            yield server
        finally:
            process.stop()


def _answers(uri: str) -> bool:
    try:
        with urlopen(f"{uri}/health", timeout=1) as answer:  # noqa: S310 - our own server
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
