"""The client of an MLflow server: short waits, no usage reports, one class of errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trainer.registry.errors import MlflowFailed

if TYPE_CHECKING:
    from mlflow import MlflowClient

MLFLOW_FIX: Final = "pip install 'driftline[mlflow]'"
_ENVIRONMENT: Final = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # our callers repeat, and wait no minutes at their end
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # our commands print JSON there
    "MLFLOW_DISABLE_TELEMETRY": "true",  # MLflow reports its usage to its makers otherwise
}
"""Settings of MLflow's client for this process, where its environment has none."""
_MAX_REASON: Final = 300  # characters


def require_mlflow() -> None:
    """Check that MLflow's client is installed, without importing it.

    Raises:
        ModuleNotFoundError: it is not.
    """
    if find_spec("mlflow") is None:
        raise ModuleNotFoundError(f"MLflow's client is not installed: {MLFLOW_FIX}", name="mlflow")


def connect(uri: str) -> MlflowClient:
    """Return a client of the server; nothing is sent yet.  The import takes about 2 s."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient  # noqa: PLC0415 - an extra, and slow

    return MlflowClient(uri, registry_uri=uri)


@contextlib.contextmanager
def errors_explained(uri: str) -> Iterator[None]:
    """Turn the errors of a request into `MlflowFailed`.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects the request.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra

    try:
        yield
    except (MlflowException, OSError) as error:  # an error of the HTTP client is an OSError
        user, at, _server = urlsplit(uri).netloc.rpartition("@")
        why = " ".join(str(error).split()).replace(user + at, "")
        raise MlflowFailed(
            f"MLflow at {public_uri(uri)} does not answer, or rejects the request: "
            f"{why[:_MAX_REASON]}"
        ) from error


def is_code(error: Exception, code: str) -> bool:
    """Whether MLflow answered with this error code, such as ``RESOURCE_ALREADY_EXISTS``."""
    return getattr(error, "error_code", None) == code


def public_uri(uri: str) -> str:
    """Return an address without the user and password in it.

    >>> public_uri("https://me:secret@mlflow:5000/x")
    'https://mlflow:5000/x'
    """
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
