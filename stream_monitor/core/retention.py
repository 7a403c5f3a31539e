"""Version retention: which versions of a model are watched, and which one is evicted.

Every version that receives events is watched.  The last announced version is the champion.  Beyond
the limit, a new version evicts an idle one: a version other than the champion without events for a
while of the append clock.  An announced version is always admitted, so that made-up names cannot
keep a champion out.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from producer.events import ModelUpdate
from stream_monitor.ingest.columns import id_hash

_NEVER = -1


class RetentionState(msgspec.Struct, array_like=True):
    """Champion, announcements and labels of one model's versions; times of the append clock.

    ``champion`` is ``None`` where nothing was announced.  ``updates`` has the hash of the id of
    each version's last announcement, in the order of the announcements.
    """

    champion: str | None = None
    announced_ms: dict[str, int] = msgspec.field(default_factory=dict)
    updates: dict[str, int] = msgspec.field(default_factory=dict)
    label_ms: dict[str, int] = msgspec.field(default_factory=dict)


class VersionRetention:
    """The activity of one model's versions by the append clock, and its champion.

    A version is active at an event or an announcement.  ``events_ms`` are the clocks of the latest
    events.  Labels are no activity; a label of an idle version may open an episode, which ends
    ``idle_ms`` after the last such label.
    """

    def __init__(self, max_versions: int, idle_ms: int) -> None:
        self._max_versions, self.idle_ms = max_versions, idle_ms
        self.events_ms: dict[str, int] = {}
        self._state = RetentionState()
        self._has_changes = True

    @property
    def champion(self) -> str | None:
        """The version that was announced last."""
        return self._state.champion

    def is_repeat(self, update: ModelUpdate) -> bool:
        """Whether ``update`` repeats the last announcement of its version."""
        return self._state.updates.get(update.version) == id_hash(update.id)

    def is_full(self, n_known: int) -> bool:
        """Whether a new version can only be admitted by evicting another one."""
        return n_known >= self._max_versions

    def active_ms(self, version: str) -> int:
        """The append clock (ms) at the latest activity of a version."""
        event_ms = self.events_ms.get(version, _NEVER)
        return max(event_ms, self._state.announced_ms.get(version, _NEVER))

    def idle_at_ms(self, version: str) -> int:
        """The append clock (ms) at which the version becomes idle without further activity."""
        return self.active_ms(version) + self.idle_ms

    def ends_at_ms(self, version: str, *, idle: bool) -> int | None:
        """Return when (append clock, ms) its episodes end; ``None``: idle, with none open."""
        if not idle:
            return self.idle_at_ms(version)
        label_ms = self._state.label_ms.get(version)
        return None if label_ms is None else label_ms + self.idle_ms

    def is_superseded(
        self, version: str, known: Collection[str], clock_ms: int, *, idle: bool
    ) -> bool:
        """Whether the version is idle while another serves, so that its episodes end now.

        Without a champion, another version serves once it had later events: a model without
        traffic at night keeps its episodes until morning.
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
        """The append clock (ms) from which one of the ``known`` versions may be evicted."""
        idle_at = [self.idle_at_ms(version) for version in known if version != self.champion]
        return min(idle_at, default=None)

    def version_to_evict(
        self, known: Collection[str], clock_ms: int, *, announced: bool = False
    ) -> str | None:
        """The ``known`` version to evict for a new one; ``None``: the new one is not admitted.

        Only idle versions are evicted; versions that were never announced first, then the one idle
        longest.  For an ``announced`` version one that is not idle is evicted if need be.
        """
        others = sorted(
            (
                clock_ms < self.idle_at_ms(version),
                version in self._state.announced_ms,
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
        """Record that a label of an idle version was compared."""
        self._state.label_ms[version] = clock_ms
        self._has_changes = True

    def clear_label_time(self, version: str) -> None:
        """Forget the last label time: no episode of the version is open, or it is active again."""
        if self._state.label_ms.pop(version, None) is not None:
            self._has_changes = True

    def announce(self, update: ModelUpdate, known: Collection[str], clock_ms: int) -> None:
        """Make the version of ``update`` the champion; the ``known`` versions are watched."""
        version = update.version
        self._state.champion = version
        self._state.announced_ms[version] = clock_ms
        self._state.label_ms.pop(version, None)
        self._state.updates.pop(version, None)
        self._state.updates[version] = id_hash(update.id)  # moves to the end
        self._drop_oldest(known)
        self._has_changes = True

    def remove(self, version: str, known: Collection[str]) -> None:
        """Remove an evicted version; its last announcement is still recognised as a repeat."""
        self.events_ms.pop(version, None)
        self._state.announced_ms.pop(version, None)
        self._state.label_ms.pop(version, None)
        self._drop_oldest(known)
        self._has_changes = True

    def _drop_oldest(self, known: Collection[str]) -> None:
        """Keep announcements of at most ``max_versions`` versions that are not watched."""
        gone = [name for name in self._state.updates if name not in known and name != self.champion]
        for name in gone[: -self._max_versions]:
            del self._state.updates[name]
            self._state.announced_ms.pop(name, None)

    def take_changes(self) -> RetentionState | None:
        """All state but ``events_ms``, if it changed since the last call."""
        has_changes, self._has_changes = self._has_changes, False
        return self._state if has_changes else None

    def restore(self, state: RetentionState) -> None:
        """Continue from what `take_changes` returned."""
        self._state, self._has_changes = state, False
