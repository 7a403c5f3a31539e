"""The description of a training set, from which the same rows can be read again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import msgspec

from trainer.policy.offset_ranges import OffsetRange


class TrainingSet(msgspec.Struct, frozen=True, kw_only=True):
    """The description of a training set, for the manifest and for people.

    ``read`` counts records, ``events`` the model's distinct inference events among them,
    ``duplicates`` repeated ids of events and labels, ``excluded`` labelled events inside excluded
    time ranges, ``rejected`` records that are not valid events.  ``rows`` counts the labelled
    events in the set: all, or those whose hashed id is in the first ``sampled_share`` of its range.
    ``sha256`` is over the sorted ids with their labels.  ``history_rows`` of the rows come from the
    training frame of an earlier version; ``over_max_rows`` older rows of it were left out.
    ``unlabelled`` counts events of the sample without a label, ``excluded_sources`` the rows left
    out by producer, because only that producer's events show a change.
    """

    ranges: list[OffsetRange]
    read: int
    events: int
    duplicates: int
    excluded: int
    rejected: int
    rows: int
    sampled_share: float
    sha256: str
    first_ms: int | None
    last_ms: int | None
    history_rows: int = 0
    over_max_rows: int = 0
    unlabelled: int = 0
    excluded_sources: dict[str, int] = {}

    def left_out(self) -> dict[str, int]:
        """Return how many rows and records do not train, by reason; only those that occur."""
        counts = {
            "no label yet": self.unlabelled,
            "in an excluded time range": self.excluded,
            "duplicate": self.duplicates,
            "not a valid event": self.rejected,
            "older rows above max_rows": self.over_max_rows,
            **{f"only {name} changed": n for name, n in self.excluded_sources.items()},
        }
        if self.sampled_share < 1:
            sampled = self.rows - self.history_rows
            counts["not in the sample (estimate)"] = round(sampled / self.sampled_share) - sampled
        return {reason: n for reason, n in counts.items() if n}

    def numbers(self) -> dict[str, float | int | str | None]:
        """Return the description as the ``numbers`` of a `RetrainEvent`."""
        places = (f"{part.partition}:{part.start}-{part.end}" for part in self.ranges)
        return {
            "ranges": " ".join(places),
            "read": self.read,
            "rejected": self.rejected,
            "events": self.events,
            "duplicates": self.duplicates,
            "excluded": self.excluded,
            "unlabelled": self.unlabelled,
            "excluded_sources": ", ".join(f"{k}: {n}" for k, n in self.excluded_sources.items()),
            "rows": self.rows,
            "history_rows": self.history_rows,
            "sampled_share": self.sampled_share,
            "dataset_sha256": self.sha256,
            "first_ms": self.first_ms,
            "last_ms": self.last_ms,
        }


def fingerprint(rows: Iterable[tuple[str, Any]]) -> str:
    """Hash a training set: its sorted ids with their labels, one JSON array each.

    >>> fingerprint([("b", 1), ("a", 0)]) == fingerprint([("a", 0), ("b", 1)])
    True
    >>> fingerprint([("a", 0)]) == fingerprint([("a", False)])
    False
    """
    digest = hashlib.sha256()
    for row in sorted(rows, key=lambda row: row[0]):
        digest.update(msgspec.json.encode(row) + b"\n")
    return digest.hexdigest()
