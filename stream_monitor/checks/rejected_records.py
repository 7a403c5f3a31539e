"""The check of rejected records: counts those of each model by reason.

Each rejected record is a dead letter; a single one is no finding.  Many of one model for one reason
are an episode of kind ``quality``, with the series ``rejected/REASON``:

- It opens at the `MIN_RECORDS`-th of a span of `SPAN_MS`, if they are a `MIN_RATIO` of the model's
  records in it, or at as many in a row without an accepted one, however long they took.
- It is reported again when its severity rises, or ten times as many were rejected.
- It recovers when none came for `SPAN_MS` of the append clock, and `MIN_RECORDS` were accepted or a
  day has passed; or when a span had too few of them.

Everything is decided at records and by the append clock, so the results do not depend on where
batches are cut.  Records of synthetic models are not counted.

Memory is bounded for any names: of `MAX_ROWS` models and reasons the one with the fewest records is
removed, and while all have an open episode, others count for `UNKNOWN_MODEL`.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec
import numpy as np

from producer.events import Command
from producer.names import version_key
from producer.printable import printable
from producer.synthetic import is_synthetic
from stream_monitor.contracts import (
    EVERY_VERSION,
    REJECTED,
    UNKNOWN_MODEL,
    DeadLetter,
    DriftAlert,
    Severity,
)
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.finding import AlertSource, EventPosition, Finding, derived_id
from stream_monitor.episodes.open_episodes import LogPosition, OpenEpisodes, OpenEpisodesState
from stream_monitor.episodes.rule_episode import RuleEpisode
from stream_monitor.episodes.traffic_messages import (
    rejected_message,
    rejected_recovered_message,
    rejected_resolved_message,
)
from stream_monitor.ingest.batch import Ints
from stream_monitor.ingest.micro_batches import MicroBatch

MIN_RECORDS: Final = 5
MIN_RATIO: Final = 0.01
SPAN_MS: Final = 10 * 60_000
DAY_MS: Final = 24 * 3_600_000
MAX_ROWS: Final = 64
MAX_SOURCES: Final = 8
_MAX_DETAIL: Final = 160
_MAX_SOURCE: Final = 80
_OTHERS: Final = ""
_NOWHERE: Final = np.zeros(0, dtype=np.int64)


class AppendPosition(msgspec.Struct, frozen=True, array_like=True):
    """The offset of a record, and the append clock there."""

    offset: int
    clock_ms: int


class RejectedRecordCount(msgspec.Struct, kw_only=True, array_like=True):
    """The rejected records of one model for one reason.

    ``total`` and ``sources`` (by ``ce_source``, the first ones by name, the others together) count
    all of them.  ``rejected`` and ``accepted`` are of the span that began with a rejected record,
    at ``since``; ``run`` is the unbroken run of rejected ones that began at ``run_since``, and
    ``accepted_after`` the number accepted since the last of them, `MIN_RECORDS` at most.
    ``opened`` counts those of the open episode, ``reported`` those in its latest alert.
    """

    model: str
    reason: str
    total: int = 0
    sources: dict[str, int] = msgspec.field(default_factory=dict)
    last: AppendPosition = AppendPosition(0, 0)
    example: str = ""
    since: AppendPosition = AppendPosition(0, 0)
    rejected: int = 0
    accepted: int = 0
    accepted_after: int = 0
    run_since: AppendPosition = AppendPosition(0, 0)
    run: int = 0
    opened: int = 0
    reported: int = 0
    episode: RuleEpisode = msgspec.field(default_factory=RuleEpisode)

    @property
    def is_open(self) -> bool:
        """Whether the records have an open episode."""
        return self.episode.latest is not None

    @property
    def ratio(self) -> float:
        """Share of the model's records that were rejected, in the span or in the unbroken run."""
        if self.run > self.rejected:
            return 1.0
        return self.rejected / max(1, self.rejected + self.accepted)

    @property
    def severity(self) -> Severity:
        """The severity, by that share."""
        if self.ratio >= 0.5 or self.run >= 10 * MIN_RECORDS:
            return "high"
        return "medium" if self.ratio >= 0.1 else "low"

    @property
    def main_source(self) -> str:
        """The source of most of them; empty where records name none."""
        return max(self.sources, key=lambda name: (self.sources[name], name), default=_OTHERS)

    def count(self, dead_letter: DeadLetter, clock_ms: int) -> None:
        """Count one more rejected record."""
        here = AppendPosition(dead_letter.offset, clock_ms)
        if not self.rejected or clock_ms > self.span_end_ms:
            self.since, self.rejected, self.accepted = here, 0, 0
        if not self.run or self.accepted_after:
            self.run_since, self.run = here, 0
        self.run += 1
        self.total += 1
        self.rejected += 1
        self.accepted_after = 0
        source = dead_letter.source[:_MAX_SOURCE]
        if source not in self.sources and len(self.sources) >= MAX_SOURCES:
            source = _OTHERS
        self.sources[source] = self.sources.get(source, 0) + 1
        self.last = here
        self.example = dead_letter.detail[:_MAX_DETAIL]

    @property
    def span_end_ms(self) -> int:
        """The last append-clock time of the span."""
        return self.since.clock_ms + SPAN_MS

    def waits_for_accepted(self, clock_ms: int) -> bool:
        """Whether records accepted from this time on still change the counts."""
        in_span = bool(self.rejected) and clock_ms <= self.span_end_ms
        return in_span or self.accepted_after < MIN_RECORDS

    def accept(self, n: int, n_in_span: int) -> None:
        """Count ``n`` accepted records of the model, ``n_in_span`` of them within the span."""
        self.accepted += n_in_span if self.rejected else 0
        self.accepted_after = min(MIN_RECORDS, self.accepted_after + n)

    def span_is_below_threshold(self, clock_ms: int) -> bool:
        """Whether a span ended by ``clock_ms`` with hardly any rejected records."""
        few = self.rejected < MIN_RECORDS or self.ratio < MIN_RATIO / 2
        return clock_ms > self.span_end_ms and few and self.run < MIN_RECORDS

    @property
    def onset(self) -> AppendPosition:
        """The start of the span, or of the consecutive rejections if those are more."""
        return self.run_since if self.run > self.rejected else self.since

    def is_episode(self) -> bool:
        """Whether the rejected records suffice to open an episode."""
        often = self.rejected >= MIN_RECORDS and self.ratio >= MIN_RATIO
        return often or self.run >= MIN_RECORDS


class RejectedRecordsState(msgspec.Struct, array_like=True):
    """The counts, the open episodes by model, and the numbers of suppressed alerts."""

    rows: list[RejectedRecordCount]
    open_episodes: dict[str, OpenEpisodesState]
    suppressed_before: int


class _Part(NamedTuple):
    """A micro-batch with the append clock at each record, and the accepted records by model."""

    micro_batch: MicroBatch
    clock_ms: Ints
    accepted: dict[str, Ints]

    def of(self, model: str) -> Ints:
        """Offsets of the accepted records of a model, in order; of all for `UNKNOWN_MODEL`."""
        found = self.accepted.get(model)
        if found is None:
            every = model == UNKNOWN_MODEL
            lists = [
                batch.offsets.tolist()
                for (name, _), batch in self.micro_batch.events.items()
                if name == model or (every and not is_synthetic(name))
            ] + [
                [offset for offset, _, _ in rows]
                for name, rows in self.micro_batch.labels.items()
                if name == model or (every and not is_synthetic(name))
            ]
            flat = [offset for offsets in lists for offset in offsets]
            found = np.sort(np.array(flat, dtype=np.int64)) if flat else _NOWHERE
            self.accepted[model] = found
        return found


class RejectedRecords:
    """The rejected records of one partition, and the episodes they open."""

    def __init__(self, topic: str, partition: int) -> None:
        self._topic, self._partition = topic, partition
        self._rows: dict[tuple[str, str], RejectedRecordCount] = {}
        self._registers: dict[str, OpenEpisodes] = {}
        self._suppressed_before = 0
        self._at: dict[
            tuple[str, str], int
        ] = {}  # offset up to which a row was advanced in the micro-batch
        self._has_changes = False

    def rows(self) -> list[RejectedRecordCount]:
        """All counts, the most frequent first."""
        return sorted(self._rows.values(), key=lambda row: (-row.total, row.model, row.reason))

    @property
    def suppressed(self) -> int:
        """The number of alerts that a snooze suppressed."""
        now = sum(register.suppressed for register in self._registers.values())
        return self._suppressed_before + now

    def observe(self, micro_batch: MicroBatch, clock_ms: Ints) -> list[DriftAlert]:
        """Apply a micro-batch, with the append clock at each record; returns alerts to publish."""
        if not micro_batch.rejected and not self._rows:
            return []
        rejected = [
            dead_letter
            for dead_letter in micro_batch.rejected
            if not is_synthetic(dead_letter.model)
        ]
        part = _Part(micro_batch, clock_ms, {})
        decided: list[Finding] = []
        self._at = dict.fromkeys(self._rows, -1)
        for dead_letter in rejected:
            i = int(np.searchsorted(micro_batch.offsets, dead_letter.offset))
            decided += self._reject(dead_letter, int(clock_ms[i]), part)
        for row in list(self._rows.values()):
            decided += self._advance(row, part, micro_batch.last_offset + 1)
        self._at = {}
        alerts = sorted(map(alert_of, decided), key=lambda a: (a.decided_offset, a.alert_id))
        return self._publishable(alerts, micro_batch.offsets, clock_ms)

    def reject_at(self, dead_letter: DeadLetter, clock_ms: int) -> list[DriftAlert]:
        """Count a control record that was rejected when it was applied, after its micro-batch."""
        if is_synthetic(dead_letter.model):
            return []
        decided = list(map(alert_of, self._reject(dead_letter, clock_ms, None)))
        offsets = np.array([dead_letter.offset], dtype=np.int64)
        return self._publishable(decided, offsets, np.array([clock_ms], dtype=np.int64))

    def _publishable(
        self, decided: list[DriftAlert], offsets: Ints, clock_ms: Ints
    ) -> list[DriftAlert]:
        reported: list[DriftAlert] = []
        for model in sorted({alert.model for alert in decided} | self._registers.keys()):
            register = self._registers.setdefault(model, OpenEpisodes())
            mine = [alert for alert in decided if alert.model == model]
            if mine or register.has_due(int(clock_ms[-1])):
                reported += register.process(mine, offsets, clock_ms)
            if register.is_empty():
                self._drop_register(model)
        return reported

    def _drop_register(self, model: str) -> None:
        register = self._registers.pop(model, None)
        if register is not None:
            self._suppressed_before += register.suppressed
            self._has_changes = True

    def _reject(self, dead_letter: DeadLetter, clock_ms: int, part: _Part | None) -> list[Finding]:
        """Count one rejected record, in offset order."""
        self._has_changes = True
        row, decided = self._row(dead_letter, clock_ms, part)
        if part is not None:
            decided += self._advance(row, part, dead_letter.offset)
        if row.is_open and row.span_is_below_threshold(clock_ms):
            decided.append(self._recovered(row, dead_letter.offset, clock_ms))
        row.count(dead_letter, clock_ms)
        if not row.is_open:
            if row.is_episode():
                decided.append(self._started(row, dead_letter, clock_ms))
            return decided
        row.opened += 1
        if row.episode.is_worse(row.severity) or row.opened >= 10 * row.reported:
            decided.append(self._ongoing(row, dead_letter.offset, clock_ms))
        return decided

    def _row(
        self, dead_letter: DeadLetter, clock_ms: int, part: _Part | None
    ) -> tuple[RejectedRecordCount, list[Finding]]:
        """The row to count a record in; a new one may replace another one."""
        key = dead_letter.model, dead_letter.reason
        decided: list[Finding] = []
        if key not in self._rows and len(self._rows) >= MAX_ROWS:
            for row in list(self._rows.values()) if part is not None else ():
                if row.is_open and clock_ms - row.last.clock_ms >= SPAN_MS:
                    decided += self._advance(row, part, dead_letter.offset)
            if not self._evict_row():
                key = UNKNOWN_MODEL, dead_letter.reason
        row = self._rows.setdefault(key, RejectedRecordCount(model=key[0], reason=key[1]))
        self._at.setdefault(key, dead_letter.offset)
        return row, decided

    def _evict_row(self) -> bool:
        """Remove the row with the fewest records and without an open episode, if there is one."""
        closed = [
            row for row in self._rows.values() if not row.is_open and row.model != UNKNOWN_MODEL
        ]
        if not closed:
            return False
        least = min(closed, key=lambda row: (row.rejected, row.last.clock_ms, row.last.offset))
        del self._rows[least.model, least.reason]
        key = UNKNOWN_MODEL, least.reason  # its total is kept there
        others = self._rows.setdefault(key, RejectedRecordCount(model=key[0], reason=key[1]))
        others.total += least.total
        return True

    def _advance(self, row: RejectedRecordCount, part: _Part | None, before: int) -> list[Finding]:
        """Apply the records before the offset ``before`` to a row, which may recover."""
        key = row.model, row.reason
        after = self._at.get(key, -1)
        if part is None or before <= after:
            return []
        self._at[key] = before
        offsets, clock_ms = part.micro_batch.offsets, part.clock_ms
        start, end = np.searchsorted(offsets, (after, before)).tolist()
        if start == end:
            return []
        accepted = _NOWHERE
        if row.waits_for_accepted(int(clock_ms[start])):
            all_of = part.of(row.model)
            a, b = np.searchsorted(all_of, (after, before)).tolist()
            accepted = all_of[a:b]
        found: list[Finding] = []
        if row.is_open and int(clock_ms[end - 1]) >= row.last.clock_ms + SPAN_MS:
            i = self._recovery(row, accepted, offsets, clock_ms, start, end)
            if i is not None:
                found.append(self._recovered(row, int(offsets[i]), int(clock_ms[i])))
        if len(accepted):
            upto = int(np.searchsorted(clock_ms, row.span_end_ms, "right"))
            bound = int(offsets[upto]) if upto < len(offsets) else before
            row.accept(len(accepted), int(np.searchsorted(accepted, bound)))
            self._has_changes = True
        return found

    @staticmethod
    def _recovery(
        row: RejectedRecordCount,
        accepted: Ints,
        offsets: Ints,
        clock_ms: Ints,
        start: int,
        end: int,
    ) -> int | None:
        """The first record from ``start`` to before ``end`` at which the episode recovers."""
        wanted = MIN_RECORDS - row.accepted_after
        enough = start
        if wanted > 0:
            enough = end
            if len(accepted) >= wanted:
                enough = int(np.searchsorted(offsets, accepted[wanted - 1]))
        span_passed = int(np.searchsorted(clock_ms[start:end], row.last.clock_ms + SPAN_MS)) + start
        day_passed = int(np.searchsorted(clock_ms[start:end], row.last.clock_ms + DAY_MS)) + start
        first = min(max(span_passed, enough), day_passed)
        return first if first < end else None

    def _started(self, row: RejectedRecordCount, dead_letter: DeadLetter, clock_ms: int) -> Finding:
        row.opened = row.reported = max(row.rejected, row.run)
        series = f"{REJECTED}/{row.reason}"
        at = EventPosition(dead_letter.offset, clock_ms)
        return row.episode.start(
            Finding(
                source=AlertSource(self._topic, self._partition, row.model, EVERY_VERSION),
                series=series,
                check=REJECTED,
                episode_id=derived_id(
                    self._topic, self._partition, row.model, series, dead_letter.offset
                ),
                phase="started",
                kind="quality",
                severity=row.severity,
                channel=REJECTED,
                direction="up",
                effect=round(row.ratio, 6),
                window_events=row.rejected + row.accepted,
                explanation=self._message(row, row.onset.clock_ms),
                onset=EventPosition(row.onset.offset, row.onset.clock_ms),
                detected=at,
                decided=at,
                cause=REJECTED,
            )
        )

    def _ongoing(self, row: RejectedRecordCount, offset: int, clock_ms: int) -> Finding:
        row.reported = row.opened
        onset_ms = (
            row.onset.clock_ms if row.episode.latest is None else row.episode.latest.onset.time_ms
        )
        return row.episode.enter(
            "ongoing",
            EventPosition(offset, clock_ms),
            self._message(row, onset_ms),
            severity=row.severity,
            effect=round(row.ratio, 6),
            window_events=row.rejected + row.accepted,
        )

    def _recovered(self, row: RejectedRecordCount, offset: int, clock_ms: int) -> Finding:
        row.rejected, row.accepted = 0, 0
        text = rejected_recovered_message(row.opened, row.reason, row.last.clock_ms)
        return row.episode.enter("recovered", EventPosition(offset, clock_ms), text)

    def _message(self, row: RejectedRecordCount, onset_ms: int) -> str:
        return rejected_message(
            row.opened,
            row.reason,
            onset_ms,
            row.ratio,
            None if row.model == UNKNOWN_MODEL else row.model,
            printable(row.main_source),
            len([name for name in row.sources if name and name != row.main_source]),
            (row.last.offset, printable(row.example)),
        )

    def is_open(self, command: Command) -> bool:
        """Whether a command is about an episode of rejected records."""
        register = self._registers.get(command.model)
        return register is not None and command.episode in register.by_id

    def apply_command(self, command: Command, offset: int, clock_ms: int) -> list[DriftAlert]:
        """Apply a person's command to an open episode; returns the alerts to publish.

        Raises:
            ValueError: a snooze has no end; nothing changed.
        """
        self._has_changes = True
        register = self._registers[command.model]
        position = LogPosition(offset, clock_ms, clock_ms)
        if command.action == "acknowledge":
            return register.acknowledge(command, position)
        if command.action == "snooze":
            return register.snooze(command, position)
        ended = []
        for row in self._rows.values():
            latest = row.episode.latest
            if latest is not None and latest.episode_id == command.episode:
                text = rejected_resolved_message(row.reason)
                at = EventPosition(offset, clock_ms)
                ended.append(alert_of(row.episode.enter("resolved", at, text)))
                row.rejected, row.accepted, row.run = 0, 0, 0
        return register.resolve(ended, command)

    def levels(self) -> dict[tuple[str, str], int]:
        """Open episodes, as (model@-, series)."""
        return {
            (version_key(row.model, EVERY_VERSION), latest.series): 2
            for row in self._rows.values()
            if (latest := row.episode.latest) is not None
        }

    def take_changes(self) -> RejectedRecordsState | None:
        """The state, if it changed since the last call."""
        changed = any(register.has_changes for register in self._registers.values())
        if not self._has_changes and not changed:
            return None
        self._has_changes = False
        for register in self._registers.values():
            register.has_changes = False
        return RejectedRecordsState(
            [row for _, row in sorted(self._rows.items())],
            {model: register.state for model, register in sorted(self._registers.items())},
            self._suppressed_before,
        )

    def restore(self, state: RejectedRecordsState) -> None:
        """Continue from what `take_changes` returned."""
        self._rows = {(row.model, row.reason): row for row in state.rows}
        for model, stored in state.open_episodes.items():
            self._registers[model] = OpenEpisodes()
            self._registers[model].restore(stored)
        self._suppressed_before = state.suppressed_before
