"""Counts rejected records of a partition and compares them with the limits of `[dead_letters]`.

Each row of a batch counts as a record, and a batch that is rejected whole as one.

Without a limit no number of rejected records stops a partition: one bad producer must not stop the
monitoring of all models of its partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
        self,
        records: Sequence[ConsumerRecord],
        rejected: Iterable[tuple[int, int | None]],
        window: int,
        batch_rows: Mapping[int, int],
    ) -> RecentRejections:
        """The counts after one more fetch.

        ``rejected`` has offset and row (``None``: the whole record) of what was rejected,
        ``batch_rows`` the rows of each record that is a batch; a window has ``window`` records.
        """
        rejected_rows: dict[int, set[int]] = {}
        for offset, row in rejected:
            rejected_rows.setdefault(offset, set()).add(row or 0)
        run, longest = self.run if rejected_rows or not records else 0, 0
        for record in records if rejected_rows else ():
            rows, n_rows = rejected_rows.get(record.offset), batch_rows.get(record.offset, 1)
            if rows is None:
                run = 0
            else:
                run, longest = _runs(run, longest, rows, n_rows)
        counted = self._replace(
            run=run,
            longest=longest,
            records=self.records + len(records) + sum(batch_rows.values()) - len(batch_rows),
            rejected=self.rejected + sum(map(len, rejected_rows.values())),
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


def _runs(run: int, longest: int, rejected: set[int], n_rows: int) -> tuple[int, int]:
    """The present and the longest run after a record of ``n_rows``, some of them rejected."""
    for row in range(n_rows):
        run = run + 1 if row in rejected else 0
        longest = max(longest, run)
    return run, longest
