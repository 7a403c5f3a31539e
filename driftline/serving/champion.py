"""`ChampionModel`: load the champion of a model, and replace it when another is announced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from driftline.serving.champion_pointer import latest_champion
from driftline.serving.load_attempt import LoadAttempt, attempt_for
from driftline.serving.served_version import NoChampion, ServedVersion
from driftline.topics.topic_reader import TopicReader
from producer.routing import topic_names

if TYPE_CHECKING:
    import pandas as pd

_POLL_S: Final = 0.2
_RECONNECT_S: Final = 2.0
_CLOSE_S: Final = 2.0
"""`close` waits this long for the thread, which may be blocked by an unreachable Kafka."""

log = logging.getLogger(__name__)


class ChampionModel:
    """The champion of ``model``, as announced on the models topic; use as a context manager.

    A thread reads the topic from its start, loads the announced version from the ``registry``
    folder, verifies the hash of its artifact, and puts it into service.  If a new version cannot be
    loaded (missing, changed bytes, a type that is not allowed), the previous one stays in service,
    and loading is repeated after 1 s, then less often.  Without Kafka the present version stays in
    service.  ``fallback`` is in service until a champion is loaded.  ``librdkafka`` are settings of
    the consumer, such as credentials.

    Create it after a fork, not before: a fork does not copy the thread.

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
        """Stop the thread.  The last champion can still be used."""
        self._closing.set()
        self._thread.join(_CLOSE_S)

    def current(self) -> ServedVersion:
        """The version and its estimator; log predictions of the estimator under this version.

        Raises:
            NoChampion: no champion is loaded, and there is no fallback.
        """
        serving = self._serving
        if serving is None:
            raise NoChampion(self._with_last_failure(f"no champion of {self.model!r} is loaded"))
        return serving

    @property
    def version(self) -> str:
        """The version in service; use `current` to get it together with its estimator."""
        return self.current().version

    @property
    def estimator(self) -> Any:
        """The estimator in service; use `current` to get it together with its version."""
        return self.current().estimator

    def predict(self, frame: pd.DataFrame) -> Any:
        """The champion's predictions for the rows of ``frame``."""
        return self.current().estimator.predict(frame)

    def predict_proba(self, frame: pd.DataFrame) -> Any:
        """The champion's probabilities of the classes, (n, k)."""
        return self.current().estimator.predict_proba(frame)

    def wait(self, version: str | None = None, *, timeout_s: float = 30.0) -> ServedVersion:
        """Wait until an announced champion, or ``version``, is in service.

        Raises:
            TimeoutError: it is not within ``timeout_s`` seconds; the text contains the last error.
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
                    attempt = attempt_for(announced, now_s, attempt)
                none_new = announced is None
                if attempt is not None and attempt.is_ready(now_s, no_new_announcement=none_new):
                    attempt = self._load(attempt)

    def _load(self, attempt: LoadAttempt) -> LoadAttempt | None:
        announced = attempt.announced
        try:
            serving = self._announced
            if serving is None or serving.sha256 != announced.artifact_sha256:
                estimator = self._registry.load(announced.artifact_sha256)
            else:
                estimator = serving.estimator
        except Exception as error:  # noqa: BLE001 - after any error the old one stays in service
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
        log.info("%s: version %s is in service", self.model, serving.version)

    def _record_failure(self, why: str) -> None:
        self.n_failures += 1
        if why != self.last_failure:
            log.warning("%s: %s", self.model, why)
        self.last_failure = why
