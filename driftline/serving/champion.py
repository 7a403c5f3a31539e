"""`ChampionModel`: serves the champion, and changes to the next one while it serves."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from driftline.serving.champion_pointer import latest_champion
from driftline.serving.load_attempt import LoadAttempt, first
from driftline.serving.served_version import NoChampion, ServedVersion
from driftline.topics.topic_reader import TopicReader
from producer.routing import topic_names

if TYPE_CHECKING:
    import pandas as pd

_POLL_S: Final = 0.2
_RECONNECT_S: Final = 2.0
_CLOSE_S: Final = 2.0
"""A thread that waits for a Kafka that is gone is left behind."""

log = logging.getLogger(__name__)


class ChampionModel:
    """The champion of ``model``, as the models topic announces it; use as a context manager.

    A thread follows the topic from its start, verifies the artifact's hash, loads it from the
    ``registry`` folder and swaps.  Whatever goes wrong with a new version (it is not there, its
    bytes changed, a type is not allowed) the one before serves on; it is tried again after 1 s,
    then less often.  Without Kafka the model serves on too.  Until a champion is loaded
    ``fallback`` serves.  ``librdkafka`` are settings of the consumer: credentials, TLS.

    Make it after a fork, not before: the thread does not cross one.

    Raises:
        ModuleNotFoundError: the extra ``trainer`` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        bootstrap_servers: str,
        registry: Path,
        topic_prefix: str = "driftline",
        fallback: ServedVersion | None = None,
        librdkafka: Mapping[str, Any] | None = None,
    ) -> None:
        from trainer.registry.registry import Registry  # noqa: PLC0415 - only servers pay for it

        self.model = model
        self.n_swaps = 0
        self.n_failures = 0
        self.last_failure: str | None = None
        self._registry = Registry(registry)
        self._topic = topic_names(topic_prefix).models
        self._client = {**(librdkafka or {}), "bootstrap.servers": bootstrap_servers}
        self._serving = fallback
        self._announced: ServedVersion | None = None
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name=f"champion-{model}", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop following.  The last champion can still be used."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    def current(self) -> ServedVersion:
        """Version and estimator, read at once: log the predictions under this version.

        Raises:
            NoChampion: there is none yet.
        """
        serving = self._serving
        if serving is None:
            raise NoChampion(self._with_last_failure(f"no champion of {self.model!r} is loaded"))
        return serving

    @property
    def version(self) -> str:
        """The version that serves now.  Together with the estimator: `current`."""
        return self.current().version

    @property
    def estimator(self) -> Any:
        """The estimator that serves now.  Together with the version: `current`."""
        return self.current().estimator

    def predict(self, frame: pd.DataFrame) -> Any:
        """What the champion predicts for the rows of ``frame``."""
        return self.current().estimator.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """The champion's probabilities of the classes, (n, k)."""
        return self.current().estimator.predict_proba(frame)

    def wait(self, version: str | None = None, *, timeout_s: float = 30.0) -> ServedVersion:
        """Wait until an announced champion serves, or until ``version`` does.

        Raises:
            TimeoutError: it does not within ``timeout_s``; says why, where that is known.
        """

        def there() -> bool:
            return self._announced is not None and version in (None, self._announced.version)

        with self._changed:
            if self._changed.wait_for(there, timeout_s) and self._announced is not None:
                return self._announced
        what = "no champion" if version is None else f"version {version!r} is not the champion"
        raise TimeoutError(
            self._with_last_failure(f"{what} of {self.model!r} after {timeout_s:g} s")
        )

    def _with_last_failure(self, what: str) -> str:
        why = f": {self.last_failure}" if self.last_failure else ""
        return f"{what} (topic {self._topic}){why}"

    def _follow(self) -> None:
        while not self._closing.is_set():
            try:
                self._read()
            except Exception as error:  # noqa: BLE001 - serving does not end with Kafka
                self._record_failure(f"cannot read the topic: {error}")
                self._closing.wait(_RECONNECT_S)

    def _read(self) -> None:
        attempt: LoadAttempt | None = None
        with TopicReader(self._client, self._topic) as reader:
            while not self._closing.is_set():
                announced = latest_champion(reader.poll(_POLL_S), self.model)
                now_s = time.monotonic()
                if announced is not None:
                    attempt = first(announced, now_s, attempt)
                if attempt is not None and attempt.is_ready(now_s, quiet=announced is None):
                    attempt = self._load(attempt)

    def _load(self, attempt: LoadAttempt) -> LoadAttempt | None:
        announced = attempt.announced
        try:
            serving = self._announced
            if serving is None or serving.sha256 != announced.artifact_sha256:
                estimator = self._registry.load(announced.artifact_sha256)
            else:
                estimator = serving.estimator
        except Exception as error:  # noqa: BLE001 - whatever it is, the old one serves on
            self._record_failure(f"version {announced.version!r} cannot be loaded: {error}")
            return attempt.after_failure(time.monotonic())
        self._swap(ServedVersion(announced.version, estimator, announced.artifact_sha256))
        return None

    def _swap(self, serving: ServedVersion) -> None:
        before = self._announced
        if before is not None and before[::2] == serving[::2]:
            return
        with self._changed:
            self._serving = self._announced = serving
            self.n_swaps += 1
            self.last_failure = None
            self._changed.notify_all()
        log.info("%s: version %s serves", self.model, serving.version)

    def _record_failure(self, why: str) -> None:
        self.n_failures += 1
        if why != self.last_failure:
            log.warning("%s: %s", self.model, why)
        self.last_failure = why
