"""The registry in MLflow: a registered model for each model, an MLflow version for each version.

    experiment "driftline"
      run "<model>@<version>"        metrics of the version; tags driftline.*
        model/model.skops            the artifact
        model/manifest.json
    registered model <model>         aliases champion, challenger
      version 1, 2, ...              the source is the run's folder; tags driftline.*

MLflow numbers its versions itself; ``driftline.version`` names ours.  The MLflow version is written
last, so what a crash leaves is a run that the next attempt continues.

The tag ``driftline.alias.<alias>`` has the version that was set here last, so an alias that
another user moved is recognised.  The alias is written before its tag: after a crash in between
the alias is right, and only the tag is written.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from producer.names import file_name, version_key
from trainer.registry.errors import MlflowFailed
from trainer.registry.manifest import Manifest, decode, encode
from trainer.registry.version_registry import VersionRegistry, by_age

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

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


EXPERIMENT: Final = "driftline"
_FOLDER: Final = "model"
_ARTIFACT: Final = "model.skops"
_MANIFEST: Final = "manifest.json"
_KEY: Final = "driftline.key"
_MODEL: Final = "driftline.model"
_VERSION: Final = "driftline.version"
_SHA256: Final = "driftline.artifact_sha256"
_CAUSE: Final = "driftline.caused_by"
_NOT_IN_A_METRIC: Final = re.compile(r"[^\w\-. ]", re.ASCII)


class MlflowRegistry(VersionRegistry):
    """The model versions that a trainer has published to an MLflow server.

    ``uri`` is the server's address; MLflow's own variables (``MLFLOW_TRACKING_USERNAME``,
    ``MLFLOW_TRACKING_PASSWORD``, ``MLFLOW_TRACKING_TOKEN``) have the credentials.  Every method
    raises `MlflowFailed` if MLflow does not answer, or rejects a request.

    Raises:
        ModuleNotFoundError: the extra ``mlflow`` is not installed.
    """

    def __init__(self, uri: str) -> None:
        require_mlflow()
        self.uri = uri
        self._adding = threading.Lock()

    @cached_property
    def client(self) -> MlflowClient:
        """MLflow's client."""
        return connect(self.uri)

    @property
    def location(self) -> str:
        """The server's address."""
        return f"MLflow at {public_uri(self.uri)}"

    def ping(self) -> None:
        """Send a request that any user may send.

        Raises:
            MlflowFailed: MLflow does not answer, or rejects it.
        """
        client = self.client
        with errors_explained(self.uri):
            client.search_registered_models(max_results=1)

    def add(self, manifest: Manifest, data: bytes) -> Manifest:
        """Store a version; threads of one process take turns, so that it becomes one version.

        Raises:
            VersionTaken: another artifact is stored under that model and version.
        """
        with self._adding:
            return super().add(manifest, data)

    def find(self, model: str, version: str) -> Manifest | None:
        """Return the manifest of a version; ``None`` if it is not stored."""
        client = self.client
        with errors_explained(self.uri):
            found = stored_versions(client, model).get(version)
            return None if found is None else self._manifest(found)

    def versions(self, model: str) -> list[Manifest]:
        """Return the manifests of a model, oldest first; empty for an unknown model."""
        client = self.client
        with errors_explained(self.uri):
            return by_age(
                [self._manifest(found) for found in stored_versions(client, model).values()]
                if model
                else []
            )

    def models(self) -> list[str]:
        """Return the names of the stored models, sorted."""
        client = self.client
        with errors_explained(self.uri):
            found = _all(lambda token: client.search_registered_models(page_token=token))
        return sorted(one.tags[_MODEL] for one in found if _MODEL in one.tags)

    def published(self, model: str) -> dict[str, str]:
        """Return the hash of each stored version of a model; reads no manifest."""
        client = self.client
        with errors_explained(self.uri):
            found = stored_versions(client, model)
        return {version: one.tags.get(_SHA256, "") for version, one in found.items()}

    def _read_artifact(self, sha256: str) -> bytes | None:
        client = self.client
        with errors_explained(self.uri):
            found = _all(
                lambda token: client.search_model_versions(
                    f"tags.`{_SHA256}` = '{sha256}'", page_token=token
                )
            )
            for one in sorted(found, key=lambda one: (one.name, int(one.version))):
                data = self._download(str(one.run_id), _ARTIFACT)
                if data is not None:
                    return data
        return None

    def _manifest(self, found: MlflowVersion) -> Manifest:
        data = self._download(str(found.run_id), _MANIFEST) or b""
        return decode(data, f"{_MANIFEST} of {found.name}, version {found.version}, in MLflow")

    def _download(self, run_id: str, name: str) -> bytes | None:
        path = f"{_FOLDER}/{name}"
        if path not in [file.path for file in self.client.list_artifacts(run_id, _FOLDER)]:
            return None
        with tempfile.TemporaryDirectory(prefix="driftline-mlflow-") as folder:
            return Path(self.client.download_artifacts(run_id, path, folder)).read_bytes()

    def _write(
        self,
        manifest: Manifest,
        data: bytes,
        *,
        has_artifact: bool,  # noqa: ARG002 - each run has a file of its own
        has_manifest: bool,
    ) -> None:
        client = self.client
        with errors_explained(self.uri):
            if has_manifest:
                there = stored_versions(client, manifest.model)[manifest.version]
                self._upload(str(there.run_id), {_ARTIFACT: data})
                return
            run_id = self._run_of(manifest)
            self._upload(run_id, {_ARTIFACT: data, _MANIFEST: encode(manifest)})
            client.log_batch(run_id, metrics=_metrics(manifest))
            client.set_terminated(run_id)
            name = registered_name(manifest.model)
            _unless_it_exists(
                lambda: client.create_registered_model(name, tags={_MODEL: manifest.model})
            )
            client.set_registered_model_tag(name, _MODEL, manifest.model)
            client.create_model_version(
                name,
                f"runs:/{run_id}/{_FOLDER}",
                run_id,
                tags=_tags(manifest),
                description=f"{version_key(manifest.model, manifest.version)} of driftline",
                await_creation_for=0,
            )

    def _run_of(self, manifest: Manifest) -> str:
        """The run of a version; an attempt that a crash ended may have left it."""
        client, tags = self.client, _tags(manifest)
        _unless_it_exists(lambda: client.create_experiment(EXPERIMENT))
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            raise OSError(f"the experiment {EXPERIMENT!r} was deleted meanwhile")
        there = client.search_runs(
            [experiment.experiment_id], f"tags.`{_KEY}` = '{tags[_KEY]}'", max_results=1
        )
        if there:
            return str(there[0].info.run_id)
        named = version_key(manifest.model, manifest.version)
        run = client.create_run(experiment.experiment_id, tags=tags, run_name=named)
        return str(run.info.run_id)

    def _upload(self, run_id: str, files: Mapping[str, bytes]) -> None:
        with tempfile.TemporaryDirectory(prefix="driftline-mlflow-") as folder:
            for name, data in files.items():
                file = Path(folder) / name
                file.write_bytes(data)
                self.client.log_artifact(run_id, str(file), _FOLDER)


def registered_name(model: str) -> str:
    """Return the name of the registered model; MLflow allows neither ``/`` nor ``:``."""
    return file_name(model)


def stored_versions(client: MlflowClient, model: str) -> dict[str, MlflowVersion]:
    """Return the MLflow version of each version of a model.

    A lost answer may have made two MLflow versions of one version; the first one counts.
    """
    query = f"name = '{registered_name(model)}'"
    found = _all(lambda token: client.search_model_versions(query, page_token=token))
    return {
        one.tags[_VERSION]: one
        for one in sorted(found, key=lambda one: -int(one.version))
        if one.tags.get(_MODEL) == model and _VERSION in one.tags
    }


def _all(search: Callable[[str | None], Any]) -> list[Any]:
    """All results of a search, page by page."""
    page = search(None)
    found = list(page)
    while page.token:
        page = search(page.token)
        found += page
    return found


def _unless_it_exists(create: Callable[[], object]) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - an extra

    try:
        create()
    except MlflowException as error:
        if not is_code(error, "RESOURCE_ALREADY_EXISTS"):
            raise


def _tags(manifest: Manifest) -> dict[str, str]:
    named = version_key(manifest.model, manifest.version)
    return {
        _KEY: f"{named}@{manifest.artifact_sha256}",
        _MODEL: manifest.model,
        _VERSION: manifest.version,
        _SHA256: manifest.artifact_sha256,
        _CAUSE: manifest.caused_by,
    }


def _metrics(manifest: Manifest) -> list[Any]:
    """The numbers of a manifest as metrics of its run, under names that MLflow allows."""
    from mlflow.entities import Metric  # noqa: PLC0415 - an extra

    numbers: Iterable[tuple[str, Any]] = manifest.metrics.items()
    return [
        Metric(_NOT_IN_A_METRIC.sub("_", name), float(value), manifest.time_ms, 0)
        for name, value in numbers
        if isinstance(value, int | float) and math.isfinite(value)
    ]


class MovedAlias(NamedTuple):
    """An alias that another user changed in MLflow.

    ``found`` is the version that it names, ``MLflow version N`` where that is none of ours, empty
    where the alias was removed.  ``wanted`` is empty where no version should have the alias.
    """

    model: str
    alias: str
    found: str
    wanted: str


def set_aliases(
    registry: MlflowRegistry,
    model: str,
    wanted: Mapping[str, str],
    report_moved: Callable[[MovedAlias], None],
) -> None:
    """Set the aliases of a published model; a version that is not published has none.

    ``wanted`` is the version of each alias, empty where no version should have it.  An alias that
    another user changed is reported before it is set.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects a request.
    """
    client, name = registry.client, registered_name(model)
    with errors_explained(registry.uri):
        published = stored_versions(client, model)
        if not published:
            return
        numbers = {str(one.version): version for version, one in published.items()}
        there = client.get_registered_model(name)
        for alias, version in wanted.items():
            tag, target = f"driftline.alias.{alias}", published.get(version)
            number = there.aliases.get(alias)
            found = "" if number is None else numbers.get(str(number), f"MLflow version {number}")
            version_there = "" if target is None else version
            if found != version_there:
                if found != there.tags.get(tag, ""):
                    report_moved(MovedAlias(model, alias, found, version_there))
                if target is None:
                    client.delete_registered_model_alias(name, alias)
                else:
                    client.set_registered_model_alias(name, alias, target.version)
            if there.tags.get(tag, "") != version_there:
                client.set_registered_model_tag(name, tag, version_there)
