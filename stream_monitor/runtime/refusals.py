"""How many dead letters are too many: a partition that refuses nearly all is stopped.

A schema that changed, or a producer gone wrong, must not drain a topic into the dead letters.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from stream_monitor.ingest.records import LogRecord


class Refusals(NamedTuple):
    """Refused records of one partition: in an unbroken run, and of late.

    ``records`` and ``refused`` count since a window began, ``former_*`` the window before it.
    """

    run: int = 0
    longest: int = 0
    records: int = 0
    refused: int = 0
    former_records: int = 0
    former_refused: int = 0

    def after(self, records: Sequence[LogRecord], refused: Iterable[int], window: int) -> Refusals:
        """With one more batch: its records, and the offsets of those that were refused."""
        bad = frozenset(refused)
        run, longest = (self.run, 0) if bad else (self.run if not records else 0, 0)
        if bad:
            for record in records:
                run = run + 1 if record.offset in bad else 0
                longest = max(longest, run)
        counted = self._replace(
            run=run,
            longest=longest,
            records=self.records + len(records),
            refused=self.refused + len(bad),
        )
        if counted.records < window:
            return counted
        return Refusals(run, longest, 0, 0, counted.records, counted.refused)


class RefusalLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Too many: a ``run`` without a good record, or more than ``share`` of the last ``window``."""

    run: int = 1_000
    share: float = 0.05
    window: int = 10_000

    def broken_by(self, seen: Refusals) -> str | None:
        """Why it is enough; ``None`` while it is not."""
        if seen.longest >= self.run:
            return f"{seen.longest} records in a row were refused; the limit is {self.run}"
        records = seen.records + seen.former_records
        refused = seen.refused + seen.former_refused
        if records >= self.window and refused > self.share * records:
            return f"{refused} of {records} records were refused; the limit is {self.share:.0%}"
        return None
