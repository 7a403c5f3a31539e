"""The share of each model's events that was watched in the last hour, and why the rest was not.

The counts of every partition are read from Redis and merged over partitions and shards.  The hour
ends at the append clock of the latest partition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from driftline.monitor_state.partition_state import RedisReader, read_partition
from producer.names import unescape
from producer.synthetic import is_synthetic
from stream_monitor.contracts import COVERAGE_UNITS
from stream_monitor.core.coverage import (
    OTHERS,
    WATCHED,
    Coverage,
    CoverageKey,
    CoverageRow,
    is_event,
)
from stream_monitor.core.over_limit import rows_by_model
from stream_monitor.episodes.formatting import format_count, format_time
from stream_monitor.state.codec import unwrap
from stream_monitor.state.partition_state import KIND, STATE
from stream_monitor.state.redis_store import SCAN_COUNT, partition_key
from stream_monitor.state_parts import StoredParts

_FIELDS: Final = f"{STATE}*coverage|*"
REASON_TEXTS: Final[dict[str, str]] = {
    "warming_up": "warming up: they become the reference",
    "no_profile": "the reference is in another partition",
    "version_over_limit": "over the limit of versions for a model",
    "model_over_limit": "over the limit of models for a partition",
    "nothing_comparable": "the reference has nothing that can be compared",
    "routed_by_stale_metadata": "sent to the wrong partition by a producer with stale metadata",
    "feature_not_comparable": "not in the reference",
    "series_too_short": "the reference has too few values",
    "prediction_absent": "events have no prediction",
    "label_prediction_elsewhere": "the prediction is in another partition",
    "label_version_unwatched": "the version of their prediction is no longer watched",
    "label_warming_up": "their version was warming up: it had no reference yet",
    "label_not_comparable": "they cannot be compared with the prediction",
    "reference_replaced": "the reference was replaced",
    "shadow_not_recorded": "shadow predictions, while there is no reference or beyond 4 versions",
}
"""The reasons as text."""


class CoverageReportRow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Counts of what was watched, or not watched for one reason: in the last hour, and in all.

    An empty ``version`` stands for the whole model, or for versions that share a row.
    """

    version: str
    reason: str
    unit: str
    feature: str = ""
    last_hour: int
    total: int


class ModelCoverage(msgspec.Struct, frozen=True, kw_only=True):
    """The coverage of a model; ``share`` is null if the last hour has no event."""

    model: str
    events: int
    watched: int
    share: float | None
    rows: list[CoverageReportRow]


class CoverageReport(NamedTuple):
    """The coverage of all models, and the end of the hour (append clock); 0 before any record."""

    as_of_ms: int
    models: list[ModelCoverage]


def read_coverage(redis: RedisReader, topic: str, partitions: Iterable[int]) -> CoverageReport:
    """The coverage of every model, over all partitions.

    Raises:
        CorruptState: the stored state cannot be decoded.
    """
    stored: list[dict[str, Coverage]] = []
    as_of_ms = 0
    for partition in partitions:
        clock_ms = read_partition(redis, topic, partition).counters.append_clock_ms
        as_of_ms = max(as_of_ms, clock_ms)
        parts: dict[str, dict[str, memoryview]] = {}
        key = partition_key(topic, partition)
        for field, blob in redis.hscan_iter(key, match=_FIELDS, count=SCAN_COUNT):
            owner, _, part = field.decode().removeprefix(STATE).rpartition("coverage|")
            if blob:
                parts.setdefault(owner, {})[part] = unwrap(KIND, blob)
        stored.append({owner: _restore_coverage(found) for owner, found in parts.items()})
    rows: list[tuple[str, CoverageRow]] = []
    for of_partition in stored:
        for owner, coverage in of_partition.items():
            hour = coverage.last_hour(as_of_ms)
            kind, _, name = owner.rstrip("|").partition("|")
            if kind == "model":
                rows += [(unescape(name), row) for row in hour]
            else:
                rows += rows_by_model(hour)
    return CoverageReport(as_of_ms, merged(rows))


def _restore_coverage(payloads: dict[str, memoryview]) -> Coverage:
    coverage = Coverage()
    coverage.restore(StoredParts(payloads))
    return coverage


def merged(rows: Iterable[tuple[str, CoverageRow]]) -> list[ModelCoverage]:
    """The coverage of each model, over the rows of all partitions; drills are left out.

    >>> watched = CoverageRow(CoverageKey("1", WATCHED), 3, 9)
    >>> not_watched = CoverageRow(CoverageKey("1", "warming_up"), 1, 1)
    >>> [(c.events, c.share) for c in merged([("m", watched), ("m", not_watched), ("m", watched)])]
    [(7, 0.8571428571428571)]
    """
    by_model: dict[str, dict[CoverageKey, tuple[int, int]]] = {}
    for model, row in rows:
        if is_synthetic(model):
            continue
        found = by_model.setdefault(model, {})
        hour, total = found.get(row.key, (0, 0))
        found[row.key] = hour + row.last_hour, total + row.total
    return [_model_coverage(model, found) for model, found in sorted(by_model.items())]


def _model_coverage(model: str, found: Mapping[CoverageKey, tuple[int, int]]) -> ModelCoverage:
    events = sum(hour for key, (hour, _) in found.items() if is_event(key))
    watched = sum(hour for key, (hour, _) in found.items() if key.reason == WATCHED)
    rows = [
        CoverageReportRow(
            version=key.version,
            reason=key.reason,
            unit="event" if key.reason == WATCHED else COVERAGE_UNITS[key.reason],
            feature=key.feature,
            last_hour=hour,
            total=total,
        )
        for key, (hour, total) in found.items()
    ]
    rows.sort(key=lambda row: (-row.last_hour, -row.total, row.version, row.feature))
    share = watched / events if events else None
    return ModelCoverage(model=model, events=events, watched=watched, share=share, rows=rows)


def lines_of(report: CoverageReport) -> list[str]:
    """The coverage of the last hour as text."""
    if not report.models:
        return ["  no event has been accepted yet"]
    lines = []
    for one in report.models:
        if one.share is None and not one.model:  # counts of models that are forgotten
            continue
        if one.share is None:
            lines.append(f"  {one.model}: no event in the last hour")
        else:
            part = _percent(one.watched, one.events)
            lines.append(
                f"  {one.model or 'other models'}: {part} of {one.events:,} events watched"
            )
        lines += [f"    {text}" for text in reasons_of(one)]
    return lines


def reasons_of(one: ModelCoverage) -> list[str]:
    """A line for each reason why something was not watched in the last hour, by frequency."""
    texts = []
    features: dict[tuple[str, str], list[str]] = {}
    for row in one.rows:
        if not row.last_hour or row.reason == WATCHED:
            continue
        of = f"version {row.version}: " if row.version != OTHERS else ""
        why = REASON_TEXTS[row.reason]
        if row.unit == "feature":
            features.setdefault((row.version, row.reason), []).append(row.feature or "others")
        elif row.unit == "event":
            part = _percent(row.last_hour, one.events)
            n = format_count(row.last_hour, "event")
            texts.append(f"{of}{n} ({part}) not watched: {why}")
        elif row.reason == "reference_replaced":
            texts.append(f"{of}{why}")
        else:
            texts.append(f"{of}{row.last_hour:,} {row.unit}s not used: {why}")
    for (version, reason), names in sorted(features.items()):
        named = ", ".join(sorted(names))
        texts.append(f"version {version}: features not watched, {REASON_TEXTS[reason]}: {named}")
    return texts


def _percent(n: int, of: int) -> str:
    """A share in percent; only a full share is 100 %, and only an empty one 0 %.

    >>> _percent(1, 1), _percent(99_999, 100_000), _percent(0, 7), _percent(1, 3)
    ('100 %', '99.9 %', '0 %', '33.3 %')
    """
    if n in (0, of):
        return f"{100 if n else 0} %"
    return f"{min(99.9, max(0.1, 100 * n / of)):.1f} %"


def report_heading(report: CoverageReport) -> str:
    """The heading of the lines."""
    if not report.as_of_ms:
        return "coverage"
    return f"coverage in the hour before {format_time(report.as_of_ms)}"


def coverage_of_model(report: CoverageReport, model: str) -> Sequence[ModelCoverage]:
    """The coverage of one model; empty if no event of it was accepted."""
    return [one for one in report.models if one.model == model]
