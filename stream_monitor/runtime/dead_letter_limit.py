"""Counts rejected records of a partition and compares them with the limits of `[dead_letters]`.

Without a limit no number of rejected records stops a partition: one bad producer must not stop the
monitoring of all models of its partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.settings import DeadLetterSettings


class RecentRejections(NamedTuple):
    """Rejected records of one partition: in a row, and in the last two windows.

    ``run`` is the length of the present run, ``longest`` the longest run of the last batch.
    ``records`` and ``rejected`` count the present window, ``previous_*`` the one before it.
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
        """The counts after one more batch.

        ``rejected`` has the offsets of its rejected records; a window has ``window`` records.
        """
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

    def limit_exceeded(self, limit: DeadLetterSettings) -> str | None:
        """The limit that is exceeded, in words; ``None`` while none is."""
        if limit.max_consecutive is not None and self.longest >= limit.max_consecutive:
            return (
                f"{self.longest} records in a row were rejected; max_consecutive is "
                f"{limit.max_consecutive}"
            )
        records = self.records + self.previous_records
        rejected = self.rejected + self.previous_rejected
        enough = limit.max_ratio is not None and records >= limit.window_records
        if enough and limit.max_ratio is not None and rejected > limit.max_ratio * records:
            return (
                f"{rejected} of {records} records were rejected; max_ratio is {limit.max_ratio:g}"
            )
        return None
