"""Sentences of alerts about coverage: what is not watched, why, and what to do.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from stream_monitor.contracts import COVERAGE_UNITS, CoverageReason
from stream_monitor.episodes.formatting import (
    format_count,
    format_names,
    format_percent,
    format_time,
)


class CoverageGap(NamedTuple):
    """The data of one coverage gap, for its message.

    ``names`` are the features, versions or models concerned, the most frequent first; an empty
    name stands for all that are not counted by name.  ``n`` counts the last hour in the unit of the
    reason.  ``share`` is that of the model's events, where the reason counts events.  ``n_total``
    of ``n_needed`` events are part of the reference so far.
    """

    reason: CoverageReason
    model: str
    version: str
    names: Sequence[str]
    n: int
    share: float
    since_ms: int
    n_total: int
    n_needed: int

    @property
    def listed(self) -> str:
        """The names, and how many more there are."""
        return format_names(name or "others" for name in self.names)


_WHY: Final[dict[CoverageReason, str]] = {
    "warming_up": "the first {n_needed:,} events become the reference of the version ({n_so_far:,} "
    "so far). To watch a version from its first event, announce it with a profile: driftline "
    "profile build, then driftline profile send",
    "no_profile": "the model moved to this partition when partitions or shards were added, and its "
    "reference has not been copied here yet. Run driftline topics grow: it copies missing "
    "references",
    "version_over_limit": "the model is at its limit of versions ({listed} over it). Use one "
    "version name per deploy, not per build, or raise [monitor] max_versions",
    "model_over_limit": "the partition is at its limit of models ({listed} over it). Raise "
    "[monitor] max_models, or stop the producer that generates model names",
    "nothing_comparable": "the reference has no feature and no prediction that can be compared. "
    "Build a profile from at least 300 rows: driftline profile build lists what it leaves out, and "
    "why",
    "routed_by_stale_metadata": "their producer sent them to the wrong partition, because it knows "
    "an old number of partitions or shards. Restart it, or wait until it refreshes its metadata",
    "feature_not_comparable": "the reference does not have {listed}. Build the profile from data "
    "that has them, or resolve this episode if they do not matter",
    "series_too_short": "the reference has too few values of {listed} (300 are needed). Build the "
    "profile from more rows, or resolve this episode if they do not matter",
    "prediction_absent": "the reference has predictions and these events have none, so that only "
    "their inputs are watched. Log prediction= with each event, None where the model failed (a "
    "serializer that leaves out nulls hides that), or resolve this episode if this is intended",
    "label_prediction_elsewhere": "they join no prediction, because partitions or shards were "
    "added after their predictions, or their writer knows an old number of them. This ends with "
    "the label horizon; write labels with driftline's writers, under the key of their prediction",
    "label_not_comparable": "they cannot be compared with their predictions. Send labels of the "
    "type of the prediction, or name the positive class in the profile (--positive)",
    "label_version_unwatched": "the versions of their predictions were replaced by newer ones and "
    "are no longer watched. If such labels matter, raise [monitor] max_versions",
    "label_warming_up": "their version was warming up and had no reference yet; later labels are "
    "compared",
    "reference_replaced": "the same version was announced with another profile, and events are "
    "compared with that one from now on.  driftline audit MODEL names who did it",
    "shadow_not_recorded": "the model has no reference yet, or too many of its versions make "
    "shadow predictions",
}


def coverage_message(gap: CoverageGap) -> str:
    """Describe what is not watched: how much, since when, why, and what to do.

    >>> gap = CoverageGap("nothing_comparable", "m", "1", [], 310, 0.4, 1362128040000, 310, 0)
    >>> coverage_message(gap)[:70]
    '310 events of version 1 in the last hour are not watched (40 % of the '
    """
    why = _WHY[gap.reason].format(
        listed=gap.listed, n_needed=gap.n_needed, n_so_far=min(gap.n_total, gap.n_needed)
    )
    return f"{_what(gap)} since {format_time(gap.since_ms)}: {why}."


def _what(gap: CoverageGap) -> str:
    of = f" of version {gap.version}" if gap.version else ""
    unit = COVERAGE_UNITS[gap.reason]
    if gap.reason == "reference_replaced":
        return f"The reference{of} was replaced"
    if gap.reason == "prediction_absent":
        have = "has" if gap.n == 1 else "have"
        return f"{format_count(gap.n, 'event')}{of} in the last hour {have} no prediction"
    if unit == "feature":
        n = len(gap.names)
        return f"{format_count(n, 'feature')}{of} {_are(n)} not watched"
    if gap.reason == "model_over_limit":
        of = f" of {format_count(len(gap.names), 'model')}"
        return f"{format_count(gap.n, 'event')}{of} in the last hour {_are(gap.n)} not watched"
    if unit == "event":
        part = "all" if gap.share >= 1 else format_percent(gap.share)
        return (
            f"{format_count(gap.n, 'event')}{of} in the last hour {_are(gap.n)} not watched "
            f"({part} of the traffic)"
        )
    counted = format_count(gap.n, "label" if unit == "label" else "record")
    return f"{counted}{of} in the last hour {_are(gap.n)} not used"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def coverage_ended_message(
    reason: CoverageReason, version: str, n: int, since_ms: int, *, is_watched: bool = False
) -> str:
    """Describe the end of a coverage gap; ``is_watched``: because its version is watched now.

    >>> coverage_ended_message("warming_up", "3", 2000, 1362128040000, is_watched=True)
    'Version 3 is watched now; 2,000 events since 1 Mar 2013 08:54 UTC were not.'
    """
    since = f"since {format_time(since_ms)}"
    if is_watched:
        return f"Version {version} is watched now; {format_count(n, 'event')} {since} were not."
    of = f" of version {version}" if version else ""
    if reason == "reference_replaced":
        return f"The new reference{of} is in use {since}."
    unit = COVERAGE_UNITS[reason]
    what = "values" if unit == "feature" else f"{unit}s"
    return f"No more {what}{of} arrive ({_name(reason)}); {n:,} {since} were not watched."


def coverage_resolved_message(reason: str) -> str:
    """Describe that a person accepted a coverage gap."""
    return f"Coverage ({_name(reason)}): resolved."


def coverage_removed_message(reason: str) -> str:
    """Describe a coverage gap that ends because its model is removed."""
    return f"Coverage ({_name(reason)}): ended, because the model was removed or is watched now."


def coverage_evicted_message(reason: str, max_open: int) -> str:
    """Describe a coverage gap that ends because too many newer ones are open."""
    return f"Coverage ({_name(reason)}): ended, because {max_open} newer episodes are open."


def _name(reason: str) -> str:
    return reason.replace("_", " ")
