"""Publishes the registry to MLflow: each version, then the aliases of each model.

MLflow is no part of a transaction.  It is compared with the folder and the database instead, at the
start, after each step and every `INTERVAL_S`, and what is missing is written.  So MLflow follows
them after a crash at any moment, after an outage, and after changes by other users.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, NamedTuple, TypeAlias

import structlog

from stream_monitor.health import HealthProblem, alias_moved, mlflow_out_of_date
from trainer.jobs.champions import CHALLENGER, CHAMPION
from trainer.registry.errors import MlflowFailed, RegistryError
from trainer.registry.manifest import Manifest
from trainer.registry.mlflow_registry import MlflowRegistry, MovedAlias, set_aliases
from trainer.registry.registry import Registry

log = structlog.get_logger(__name__)

AliasesByModel: TypeAlias = Mapping[str, Mapping[str, str]]

INTERVAL_S: Final = 30.0
RETRY_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
REPORT_AFTER_S: Final = 30.0
"""A shorter outage is logged, and is no health event."""
CLOSE_S: Final = 15.0
"""The trainer's end waits this long; the next start publishes the rest."""


class Compared(NamedTuple):
    """The result of one comparison: the aliases that were moved, and what cannot be published."""

    moved: tuple[MovedAlias, ...]
    failures: tuple[str, ...]


def publish_version(manifest: Manifest, source: Registry, target: MlflowRegistry) -> None:
    """Publish a version, unless it is there.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects a request.
        VersionTaken: another artifact is published under that version.
        RegistryError: the artifact in the folder is missing or damaged.
    """
    if target.published(manifest.model).get(manifest.version) != manifest.artifact_sha256:
        target.add(manifest, source.artifact(manifest.artifact_sha256))


def publish_aliases(
    target: MlflowRegistry,
    model: str,
    aliases: Mapping[str, str],
    report_moved: Callable[[MovedAlias], None] | None = None,
) -> None:
    """Set the aliases of a model to those of the trainer; those moved are logged or reported.

    Raises:
        MlflowFailed: MLflow does not answer, or rejects a request.
    """
    wanted = {alias: aliases.get(alias, "") for alias in (CHAMPION, CHALLENGER)}
    set_aliases(target, model, wanted, report_moved or _log_moved)


def _log_moved(alias: MovedAlias) -> None:
    log.warning("an alias was changed in MLflow; it is restored", **alias._asdict())


def publish_missing(
    source: Registry,
    target: MlflowRegistry,
    aliases: AliasesByModel,
    stop: threading.Event | None = None,
) -> Compared:
    """Publish every version that is not in MLflow, and set the aliases of every model."""
    moved: list[MovedAlias] = []
    failures: list[str] = []

    def report_moved(alias: MovedAlias) -> None:
        moved.append(alias)
        _log_moved(alias)

    try:
        for model in source.models():
            published = target.published(model)
            for manifest in source.versions(model):
                if stop is not None and stop.is_set():
                    return Compared(tuple(moved), tuple(failures))
                if published.get(manifest.version) != manifest.artifact_sha256:
                    try:
                        publish_version(manifest, source, target)
                        log.info("published to MLflow", model=model, version=manifest.version)
                    except MlflowFailed:
                        raise
                    except RegistryError as error:  # of this version alone
                        failures.append(str(error))
            publish_aliases(target, model, aliases.get(model, {}), report_moved)
    except Exception as error:  # noqa: BLE001 - whatever MLflow does, the trainer continues
        failures.append(str(error) or type(error).__name__)
    return Compared(tuple(moved), tuple(failures))


class MlflowPublisher:
    """A thread that keeps MLflow equal to the registry and aliases; inactive without MLflow.

    ``aliases`` returns the trainer's aliases of each model; it is called in the caller's thread.
    ``now_s`` is monotonic seconds.
    """

    def __init__(
        self, source: Registry, target: MlflowRegistry | None, aliases: Callable[[], AliasesByModel]
    ) -> None:
        self._source, self._target, self._aliases = source, target, aliases
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="mlflow")
        self._stop = threading.Event()
        self._running: Future[Compared] | None = None
        self._changed = True
        self._next_s = 0.0
        self._n_failed = 0
        self._failing_since: tuple[float, int] | None = None
        self._why = ""
        self._problem: HealthProblem | None = None
        self._moved: list[HealthProblem] = []
        self._moved_since_check: list[HealthProblem] = []

    def follow(self, now_s: float, now_ms: int, *, changed: bool) -> None:
        """Start a comparison if one is due; ``changed`` reports new versions or aliases."""
        self._changed = self._changed or changed
        if self._target is None:
            return
        if self._running is not None and self._running.done():
            self._take(self._running.result(), now_s, now_ms)
            self._running = None
        is_due = now_s >= self._next_s or (self._changed and not self._n_failed)
        if self._running is None and is_due:
            self._start(self._target)

    @property
    def problems(self) -> list[HealthProblem]:
        """The present problems, as of the last `check`."""
        return [*self._moved, *([] if self._problem is None else [self._problem])]

    def check(self, now_s: float) -> list[HealthProblem]:
        """Return the present problems: aliases that were moved, and what cannot be published.

        A moved alias is a problem until the next check, because it was set back at once.
        """
        since = self._failing_since
        if self._target is None or since is None:
            self._problem = None
        elif self._problem is None and now_s - since[0] > REPORT_AFTER_S:
            self._problem = mlflow_out_of_date(self._target.location, since[1], self._why)
        self._moved, self._moved_since_check = self._moved_since_check, []
        return self.problems

    def close(self) -> None:
        """Publish the last changes, for at most `CLOSE_S`, and end the thread."""
        if self._target is not None:
            with contextlib.suppress(TimeoutError, sqlite3.Error):
                if self._running is not None:
                    self._running.result(CLOSE_S)
                if self._changed:
                    self._start(self._target).result(CLOSE_S)
        self._stop.set()
        self._thread.shutdown(wait=True)

    def _start(self, target: MlflowRegistry) -> Future[Compared]:
        self._changed = False
        self._running = self._thread.submit(
            publish_missing, self._source, target, self._aliases(), self._stop
        )
        return self._running

    def _take(self, compared: Compared, now_s: float, now_ms: int) -> None:
        self._moved_since_check += [
            alias_moved(one.model, one.alias, one.found, one.wanted, now_ms)
            for one in compared.moved
        ]
        if not compared.failures:
            self._n_failed, self._failing_since, self._why = 0, None, ""
            self._next_s = now_s + INTERVAL_S
            return
        why = "; ".join(compared.failures)
        if why != self._why:
            log.warning("the publication to MLflow is incomplete; it is repeated", why=why)
        self._why = why
        self._failing_since = self._failing_since or (now_s, now_ms)
        self._next_s = now_s + RETRY_S[min(self._n_failed, len(RETRY_S) - 1)]
        self._n_failed += 1
