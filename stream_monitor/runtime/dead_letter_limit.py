"""How many dead letters stop a partition: only a limit that a person sets does.

Without one no number of rejected records stops anything: one bad producer would end the watch over
all its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from stream_monitor.ingest.records import ConsumerRecord


class RecentRejections(NamedTuple):
    """Rejected records of one partition: in an unbroken run, and of late.

    ``records`` and ``rejected`` count since a window began, ``former_*`` the window before it.
    """

    run: int = 0
    longest: int = 0
    records: int = 0
    rejected: int = 0
    previous_records: int = 0
    previous_rejected: int = 0

    def after(
        self, records: Sequence[ConsumerRecord], rejected: Iterable[int], window: int
    ) -> RecentRejections:
        """With one more batch: its records, and the offsets of those that were rejected."""
        bad = frozenset(rejected)
        run, longest = (self.run, 0) if bad else (self.run if not records else 0, 0)
        if bad:
            for record in records:
                run = run + 1 if record.offset in bad else 0
                longest = max(longest, run)
        counted = self._replace(
            run=run,
            longest=longest,
            records=self.records + len(records),
            rejected=self.rejected + len(bad),
        )
        if counted.records < window:
            return counted
        return RecentRejections(run, longest, 0, 0, counted.records, counted.rejected)


class DeadLetterLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Too many: ``max_consecutive`` in a row, or a ``max_ratio`` of the last ``window_records``.

    ``None`` is no limit.
    """

    max_consecutive: int | None = None
    max_ratio: float | None = None
    window_records: int = 10_000

    def reason_exceeded(self, seen: RecentRejections) -> str | None:
        """Why it is enough; ``None`` while it is not."""
        if self.max_consecutive is not None and seen.longest >= self.max_consecutive:
            return (
                f"{seen.longest} records in a row were rejected; max_consecutive is "
                f"{self.max_consecutive}"
            )
        records = seen.records + seen.previous_records
        rejected = seen.rejected + seen.previous_rejected
        enough = self.max_ratio is not None and records >= self.window_records
        if enough and self.max_ratio is not None and rejected > self.max_ratio * records:
            return f"{rejected} of {records} records were rejected; max_ratio is {self.max_ratio:g}"
        return None
