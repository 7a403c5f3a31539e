"""Which versions of a model have a place, who gives one up for a new one, and what is a repeat.

Every version that receives events is watched.  The last one that was announced is the champion.
Where all places are taken, a newcomer takes the place of a version that is idle: none of its events
came for a while of the append clock, and it is not the champion.  An announcement always finds a
place, so that made-up names cannot keep a champion out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from producer.events import ModelUpdate
from stream_monitor.ingest.columns import id_hash

_NEVER = -1


class VersionRetention:
    """The ``max_versions`` of one model's versions, and the append clock at the latest sign of each.

    A sign is an event or an announcement.  ``events_ms`` are the clocks of the latest events,
    ``champion`` is ``None`` where nothing was announced.  Labels are no sign; one that comes for a
    version that is idle may open an episode, which ends as long after the last such label.
    """

    def __init__(self, max_versions: int, idle_ms: int) -> None:
        self._max_versions, self.idle_ms = max_versions, idle_ms
        self.events_ms: dict[str, int] = {}
        self._label_ms: dict[str, int] = {}
        self.champion: str | None = None
        self._announced_ms: dict[str, int] = {}
        self._updates: dict[str, int] = {}  # hash of the id of each version's last one
        self._has_changes = True  # nothing stored is state of before

    def is_repeat(self, update: ModelUpdate) -> bool:
        """Whether it is the last update of its version once more, however long ago that was."""
        return self._updates.get(update.version) == id_hash(update.id)

    def is_full(self, n_known: int) -> bool:
        """Whether a new version takes the place of another one."""
        return n_known >= self._max_versions

    def active_ms(self, version: str) -> int:
        """Where the append clock stood at the latest sign of a version."""
        event_ms = self.events_ms.get(version, _NEVER)
        return max(event_ms, self._announced_ms.get(version, _NEVER))

    def idle_at_ms(self, version: str) -> int:
        """When the append clock makes the version idle, if no other sign of it comes."""
        return self.active_ms(version) + self.idle_ms

    def ends_at_ms(self, version: str, *, idle: bool) -> int | None:
        """When the append clock ends its episodes; ``None``: it is idle, and nothing is open."""
        if not idle:
            return self.idle_at_ms(version)
        judged_ms = self._label_ms.get(version)
        return None if judged_ms is None else judged_ms + self.idle_ms

    def is_superseded(
        self, version: str, known: Collection[str], clock_ms: int, *, idle: bool
    ) -> bool:
        """Whether its episodes end now: it is idle, and another version serves.

        Without a champion that takes events of another version since: a model that sleeps at night
        wakes with the episodes it had.
        """
        ends_ms = self.ends_at_ms(version, idle=idle)
        if ends_ms is None or clock_ms < ends_ms or version == self.champion:
            return False
        if idle:
            return True
        active_ms = self.active_ms(version)
        return self.champion is not None or any(
            self.active_ms(other) > active_ms for other in known
        )

    def eviction_from_ms(self, known: Collection[str]) -> int | None:
        """When the append clock makes the first of the ``known`` ones give way to a newcomer."""
        idle_at = [self.idle_at_ms(version) for version in known if version != self.champion]
        return min(idle_at, default=None)

    def version_to_evict(
        self, known: Collection[str], clock_ms: int, *, announced: bool = False
    ) -> str | None:
        """Which of the ``known`` ones goes for a newcomer; ``None``: the newcomer finds no place.

        That is one that is idle; those that were never announced go first, then the one that is
        idle longest.  One that is ``announced`` finds a place even where nobody is idle.
        """
        others = sorted(
            (
                clock_ms < self.idle_at_ms(version),
                version in self._announced_ms,
                self.active_ms(version),
                version,
            )
            for version in known
            if version != self.champion
        )
        if not others or (others[0][0] and not announced):
            return None
        return others[0][-1]

    def note_label(self, version: str, clock_ms: int) -> None:
        """A label of a version that is idle was judged."""
        self._label_ms[version] = clock_ms
        self._has_changes = True

    def clear_label_time(self, version: str) -> None:
        """Nothing of a version is open any more, or it is not idle any more."""
        if self._label_ms.pop(version, None) is not None:
            self._has_changes = True

    def announce(self, update: ModelUpdate, known: Collection[str], clock_ms: int) -> None:
        """The version of ``update`` is the champion from here on; the ``known`` have a place."""
        version = update.version
        self.champion = version
        self._announced_ms[version] = clock_ms
        self._label_ms.pop(version, None)
        self._updates.pop(version, None)
        self._updates[version] = id_hash(update.id)  # the latest one is the last
        self._drop_oldest(known)
        self._has_changes = True

    def remove(self, version: str, known: Collection[str]) -> None:
        """A version gave its place up; of the last ones the update is still known as a repeat."""
        self.events_ms.pop(version, None)
        self._announced_ms.pop(version, None)
        self._label_ms.pop(version, None)
        self._drop_oldest(known)
        self._has_changes = True

    def _drop_oldest(self, known: Collection[str]) -> None:
        """Of versions without a place, as many announcements are remembered as there are places."""
        gone = [name for name in self._updates if name not in known and name != self.champion]
        for name in gone[: -self._max_versions]:
            del self._updates[name]
            self._announced_ms.pop(name, None)

    def pending_changes(self) -> dict[str, Any] | None:
        """All of it as plain data, if it changed since `mark_committed`; not the clocks of the events."""
        if not self._has_changes:
            return None
        return {
            "announced": self._announced_ms,
            "updates": self._updates,
            "champion": self.champion,
            "judged": self._label_ms,
        }

    def mark_committed(self) -> None:
        """What `pending_changes` gave is durable."""
        self._has_changes = False

    def restore(self, data: Any, known: Mapping[str, bool]) -> None:
        """Continue from what `pending_changes` gave.

        States of before are none, or a list; they had ``known`` versions that a champion had
        retired, which says who that was.
        """
        if isinstance(data, dict):
            self._announced_ms = msgspec.convert(data["announced"], dict[str, int])
            self._updates = msgspec.convert(data["updates"], dict[str, int])
            self.champion = msgspec.convert(data["champion"], str | None)
            self._label_ms = msgspec.convert(data["judged"], dict[str, int])
        elif data is not None:
            _, self._updates, forgotten = msgspec.convert(
                data, tuple[dict[str, int], dict[str, int], list[str]]
            )
            serve = [v for v in self._updates if v not in forgotten and not known.get(v)]
            self.champion = serve[-1] if serve else None
        elif any(known.values()):
            serve = [version for version, retired in known.items() if not retired]
            self.champion = serve[-1] if serve else None
        self._has_changes = not isinstance(data, dict)  # or the next restart would judge anew
