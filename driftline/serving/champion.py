"""`ChampionModel`: load the champion of a model, and replace it when another is announced."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import msgspec

from driftline.topics.topic_reader import Record, TopicReader
from producer.names import escape
from producer.routing import topic_names
from trainer.contracts import ModelVersion

if TYPE_CHECKING:
    import pandas as pd

    from driftline.serving.pooled_estimator import PooledEstimator
    from trainer.contracts import PoolMember
    from trainer.registry.version_registry import VersionRegistry

_decoder = msgspec.json.Decoder(ModelVersion)


class AnnouncedVersions:
    """The champion of ``model`` and its stored versions, as of the records read so far.

    Records of other models and unreadable records are skipped: a broken record must not end the
    service of a model.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.champion: ModelVersion | None = None
        self._stored: dict[str, ModelVersion] = {}
        self._key = escape(model).encode()

    def read(self, records: Iterable[Record]) -> ModelVersion | None:
        """Apply the next records; returns the champion that the last of them announces, if any."""
        found: ModelVersion | None = None
        for record in records:
            key = record.key or b""
            if key != self._key and not key.startswith(self._key + b"@"):
                continue
            announced = _decoded(record.value)
            if announced is None:
                if record.value is None and key != self._key:
                    self._forget(key)
            elif announced.model != self.model:
                continue
            elif key == self._key:
                self.champion = found = announced
            elif key == announced.version_key.encode():
                self._stored[announced.version] = announced
        return found

    def shadow(self) -> ModelVersion | None:
        """The newest stored version other than the champion; ``None`` without a champion."""
        champion = self.champion
        if champion is None:
            return None
        others = [one for one in self._stored.values() if one.version != champion.version]
        return max(others, key=lambda one: (one.time_ms, one.version), default=None)

    def _forget(self, key: bytes) -> None:
        for version, one in list(self._stored.items()):
            if one.version_key.encode() == key:
                del self._stored[version]


def _decoded(value: bytes | None) -> ModelVersion | None:
    try:
        return None if value is None else _decoder.decode(value)
    except msgspec.MsgspecError:
        return None


LONGEST_WAIT_S: Final = 1.0
"""More announcements delay the first by at most this time; an old topic has many of them."""
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 30.0


class LoadAttempt(NamedTuple):
    """A version to load, and when; times are seconds of one monotonic clock.

    It is loaded after ``earliest_s``, when no more announcements arrive, and at ``latest_s`` in any
    case.
    """

    announced: ModelVersion
    earliest_s: float
    latest_s: float
    n_failed: int = 0

    def is_ready(self, now_s: float, *, no_new_announcement: bool) -> bool:
        """Whether to load now; ``no_new_announcement``: none arrived since the last call."""
        return now_s >= self.latest_s or (no_new_announcement and now_s >= self.earliest_s)

    def after_failure(self, now_s: float) -> LoadAttempt:
        """The next attempt: after 1 s, then after twice the time, up to 30 s.

        On a shared file system an artifact may appear later than its announcement.
        """
        wait_s = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0 ** min(self.n_failed, 10))
        at_s = now_s + wait_s
        return LoadAttempt(self.announced, at_s, at_s, self.n_failed + 1)


def attempt_for(announced: ModelVersion, now_s: float, before: LoadAttempt | None) -> LoadAttempt:
    """The attempt for a new announcement; it replaces the attempt ``before``."""
    waited = before is not None and before.n_failed == 0
    latest_s = before.latest_s if before is not None and waited else now_s + LONGEST_WAIT_S
    return LoadAttempt(announced, now_s, latest_s)


class ServedVersion(NamedTuple):
    """A version, its estimator and the hash of its artifact; read together, they always match.

    Of a pool ``estimator`` is the weighted vote of ``members``, and ``version`` names the pool.
    """

    version: str
    estimator: Any
    sha256: str
    members: tuple[PoolMember, ...] = ()


class NoChampion(LookupError):  # noqa: N818 - a public name
    """No champion was announced, or none could be loaded, and there is no fallback."""


_POLL_S: Final = 0.2
_RECONNECT_S: Final = 2.0
_CLOSE_S: Final = 2.0
"""`close` waits this long for the thread, which may be blocked by an unreachable Kafka."""

log = logging.getLogger(__name__)


class ChampionModel:
    """The champion of ``model``, as announced on the models topic; use as a context manager.

    A thread reads the topic from its start, loads the announced version from the ``registry`` (a
    folder, or an `MlflowRegistry`), verifies the hash of its artifact, and puts it into service.
    If a new version cannot be loaded (missing, changed bytes, a type that is not allowed), the
    previous one stays in service, and loading is repeated after 1 s, then less often.  Without
    Kafka the present version stays in service.  ``fallback`` is in service until a champion is
    loaded.  ``librdkafka`` are settings of the consumer, such as credentials.

    Of a pool each member is loaded and verified in this way, and their weighted vote is in service:
    it costs the memory and the prediction of each member.  If one of them cannot be loaded, what is
    in service stays.

    ``shadow``: the newest stored version other than the champion is loaded too, for `shadow`.  It
    costs the memory of a second model, and a prediction more for each request that is scored.

    Create it after a fork, not before: a fork does not copy the thread.

    Raises:
        ModuleNotFoundError: the extra ``trainer`` is not installed.
    """

    def __init__(
        self,
        model: str,
        *,
        bootstrap_servers: str,
        registry: Path | VersionRegistry,
        topic_prefix: str = "driftline",
        fallback: ServedVersion | None = None,
        shadow: bool = False,
        librdkafka: Mapping[str, Any] | None = None,
    ) -> None:
        from trainer.registry.registry import Registry  # noqa: PLC0415 - only servers pay for it
        from trainer.registry.version_registry import VersionRegistry  # noqa: PLC0415

        self.model = model
        self.n_swaps = 0
        self.n_failures = 0
        self.last_failure: str | None = None
        self._registry: VersionRegistry = (
            registry if isinstance(registry, VersionRegistry) else Registry(registry)
        )
        self._topic = topic_names(topic_prefix).models
        self._client = {**(librdkafka or {}), "bootstrap.servers": bootstrap_servers}
        self._serving = fallback
        self._announced: ServedVersion | None = None
        self._with_shadow = shadow
        self._shadow: ServedVersion | None = None
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

    def shadow(self) -> ServedVersion | None:
        """The version to score without using its predictions; ``None`` while there is none.

        Log its predictions with ``shadow=True`` and the id of the prediction that is used.
        """
        shadow, serving = self._shadow, self._serving
        return None if serving is None or shadow is None or _same(shadow, serving) else shadow

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
        of_shadow: LoadAttempt | None = None
        versions = AnnouncedVersions(self.model)
        with TopicReader(self._client, self._topic) as reader:
            while not self._closing.is_set():
                announced = versions.read(reader.poll(_POLL_S))
                now_s = time.monotonic()
                if announced is not None:
                    attempt = attempt_for(announced, now_s, attempt)
                none_new = announced is None
                if attempt is not None and attempt.is_ready(now_s, no_new_announcement=none_new):
                    loaded = self._loaded(attempt.announced)
                    attempt = None if loaded else attempt.after_failure(time.monotonic())
                    if loaded is not None:
                        self._swap(loaded)
                if self._with_shadow and attempt is None:  # the champion comes first
                    of_shadow = self._follow_shadow(versions.shadow(), of_shadow)

    def _follow_shadow(
        self, announced: ModelVersion | None, before: LoadAttempt | None
    ) -> LoadAttempt | None:
        """Load the version to score as shadow, if it changed; returns the attempt to repeat."""
        loaded, now_s = self._shadow, time.monotonic()
        if announced is None or (
            loaded is not None
            and (loaded.version, loaded.sha256) == (announced.version, announced.artifact_sha256)
        ):
            self._shadow = None if announced is None else loaded
            return None
        same = before is not None and before.announced == announced
        attempt = before if same and before is not None else attempt_for(announced, now_s, None)
        if not attempt.is_ready(now_s, no_new_announcement=True):
            return attempt
        found = self._loaded(announced)
        if found is None:
            return attempt.after_failure(time.monotonic())
        self._shadow = found
        log.info("%s: version %s makes shadow predictions", self.model, found.version)
        return None

    def _loaded(self, announced: ModelVersion) -> ServedVersion | None:
        """The announced version with its estimator; ``None`` if it cannot be loaded."""
        version, sha256, members = announced.version, announced.artifact_sha256, announced.members
        known = {**_estimators(self._shadow), **_estimators(self._announced)}
        try:
            estimator = self._pool(members, known) if members else self._estimator(sha256, known)
        except Exception as error:  # noqa: BLE001 - after any error the old one stays in service
            self._record_failure(f"version {version!r} cannot be loaded: {error}")
            return None
        return ServedVersion(version, estimator, sha256, members)

    def _pool(self, members: Iterable[PoolMember], known: Mapping[str, Any]) -> PooledEstimator:
        from driftline.serving.pooled_estimator import PooledEstimator, Voter  # noqa: PLC0415

        voters = []
        for member in members:
            estimator = self._estimator(member.artifact_sha256, known)
            voters.append(Voter(member.version, estimator, member.weight))
        return PooledEstimator(voters)

    def _estimator(self, sha256: str, known: Mapping[str, Any]) -> Any:
        return known[sha256] if sha256 in known else self._registry.load(sha256)

    def _swap(self, serving: ServedVersion) -> None:
        before = self._announced
        if before is not None and _same(before, serving):
            return
        with self._changed:
            self._serving = self._announced = serving
            self.n_swaps += 1
            self.last_failure = None
            self._changed.notify_all()
        log.info("%s: version %s is in service", self.model, serving.version)

    def _record_failure(self, why: str) -> None:
        is_new, self.last_failure = why != self.last_failure, why
        self.n_failures += 1  # after the reason, which a reader of the count looks up
        if is_new:
            log.warning("%s: %s", self.model, why)


def _same(one: ServedVersion, other: ServedVersion) -> bool:
    return (one.version, one.sha256, one.members) == (other.version, other.sha256, other.members)


def _estimators(served: ServedVersion | None) -> dict[str, Any]:
    """The loaded estimators by the hash of their artifact."""
    if served is None:
        return {}
    if not served.members:
        return {served.sha256: served.estimator}
    pairs = zip(served.members, served.estimator.voters, strict=True)
    return {member.artifact_sha256: voter.estimator for member, voter in pairs}
