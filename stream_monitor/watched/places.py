"""Which versions of a model have a place, who gives one up for a new one, and what is a repeat.

A version is retired where an update puts another one into service, one that still warms up
included.  Where all places are taken, the version that was retired first is forgotten for a new
one; one that serves never is.  Of the last forgotten ones the names stay: events that still come of
them do not take the place of yet another.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from producer.events import ModelUpdate
from stream_monitor.ingest.columns import id_hash


class Places:
    """The ``n_places`` of one model's versions.

    ``retired`` has the offset at which each version that is kept was retired.
    """

    def __init__(self, n_places: int) -> None:
        self._n_places = n_places
        self.retired: dict[str, int] = {}
        self._updates: dict[str, int] = {}  # hash of the id of each version's last one
        self._forgotten: list[str] = []
        self._dirty = False

    def is_repeat(self, update: ModelUpdate) -> bool:
        """Whether it is the last update of its version once more, however long ago that was."""
        return self._updates.get(update.version) == id_hash(update.id)

    def is_full(self, n_known: int) -> bool:
        """Whether a new version takes the place of another one."""
        return n_known >= self._n_places

    def gives_way(self, version: str, n_known: int) -> bool:
        """Whether enough versions are retired for the first event of a new one to find a place."""
        return n_known - len(self.retired) < self._n_places and version not in self._forgotten

    def hand_over(self, update: ModelUpdate, known: Iterable[str], offset: int) -> None:
        """A version goes into service in place of all others that are ``known``."""
        version, others = update.version, set(known) - {update.version}
        for other in others:
            self.retired.setdefault(other, offset)
        self.serve(version)
        left = self._updates.keys() - others - {version, *self._forgotten}  # not one event came
        self._updates[version] = id_hash(update.id)
        self._leave(left)

    def serve(self, version: str) -> None:
        """The version is watched from here on."""
        if version in self.retired or version in self._forgotten:
            self._dirty = True
            self.retired.pop(version, None)
            self._forgotten = [name for name in self._forgotten if name != version]

    def forget(self, started: Mapping[str, int]) -> str:
        """Which version is forgotten; of those retired at once, the one ``started`` first."""
        _, _, version = min(
            (offset, started.get(version, offset), version)
            for version, offset in self.retired.items()
        )
        del self.retired[version]
        self._leave([version])
        return version

    def _leave(self, versions: Iterable[str]) -> None:
        """As many forgotten versions are remembered as there are places."""
        self._forgotten += versions
        for version in self._forgotten[: -self._n_places]:
            self._updates.pop(version, None)
        self._forgotten = self._forgotten[-self._n_places :]
        self._dirty = True

    def dirty(self) -> list[Any] | None:
        """All of it as plain data, if it changed since `clean`."""
        return [self.retired, self._updates, self._forgotten] if self._dirty else None

    def clean(self) -> None:
        """What `dirty` gave is durable."""
        self._dirty = False

    def restore(self, data: Any, retired: dict[str, int]) -> None:
        """Continue from what `dirty` gave, or from what is ``retired`` in states of before."""
        stored = [retired, {}, []] if data is None else data
        self.retired, self._updates, self._forgotten = msgspec.convert(
            stored, tuple[dict[str, int], dict[str, int], list[str]]
        )
        self.clean()
