"""The registry in MLflow: a registered model for each model, an MLflow version for each version.

    experiment "driftline"
      run "<model>@<version>"        metrics of the version; tags driftline.*
        model/model.skops            the artifact
        model/manifest.json
    registered model <model>         aliases champion, challenger
      version 1, 2, ...              the source is the run's folder; tags driftline.*

MLflow numbers its versions itself; ``driftline.version`` names ours.  The MLflow version is written
last, so what a crash leaves is a run that the next attempt continues.
"""

from __future__ import annotations

import math
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from producer.names import file_name, version_key
from trainer.registry.manifest import Manifest, decode, encode
from trainer.registry.mlflow_client import (
    connect,
    errors_explained,
    is_code,
    public_uri,
    require_mlflow,
)
from trainer.registry.version_registry import VersionRegistry, by_age

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion as MlflowVersion

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
