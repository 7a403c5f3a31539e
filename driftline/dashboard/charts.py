"""Data of charts: series over time, marks of versions, bands of episodes.  Pure.

A chart is plain data in an attribute of the page; ``static/app.js`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from driftline.dashboard.observation import Observation
from driftline.dashboard.window_series import ErrorBucket
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert
from trainer.contracts import ModelVersion, RetrainEvent

Unit: TypeAlias = Literal["plain", "percent"]
_BAND: Final = ("low", "low", "medium", "high")


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """A vertical line at a moment (s)."""

    at: float
    kind: str
    text: str = ""


class Band(msgspec.Struct, frozen=True, kw_only=True):
    """A shaded span of time (s); ``kind`` is a severity."""

    # "from" and "to" for the script
    start: float = msgspec.field(name="from")
    end: float = msgspec.field(name="to")
    kind: str


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One series of a chart, with a value for each x; ``kind`` names a colour."""

    label: str
    kind: str
    y: list[float | None]
    dash: bool = False
    fill: bool = False
    thin: bool = False


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """A chart: moments (s), series, marks and bands; ``limits`` are horizontal lines by colour."""

    x: list[float]
    series: list[Line]
    unit: Unit = "plain"
    marks: list[Mark] = []
    bands: list[Band] = []
    height: int = 180
    top: float = 0.0
    zero: bool = True
    legend: bool = True
    limits: dict[str, float] = {}

    def as_json(self) -> str:
        """The chart for ``data-chart``."""
        return msgspec.json.encode(self).decode()


def with_gaps(
    values: Mapping[int, float | None], size_ms: int
) -> tuple[list[float], list[float | None]]:
    """Moments (s) of all buckets from the first to the last, and their values; ``None`` without.

    >>> with_gaps({0: 1.0, 4000: 2.0}, 2000)
    ([1.0, 3.0, 5.0], [1.0, None, 2.0])
    """
    if not values:
        return [], []
    starts = range(min(values), max(values) + 1, size_ms)
    x = [(start + size_ms / 2) / 1000 for start in starts]
    return x, [_short(values.get(start)) for start in starts]


def _short(value: float | None) -> float | None:
    """A value with the digits that a chart can show."""
    return None if value is None else float(f"{value:.5g}")


def version_marks(versions: Iterable[ModelVersion], model: str) -> list[Mark]:
    """Return a mark for each announcement of a version of a model."""
    return [
        Mark(at=one.time_ms / 1000, kind="version", text=f"v{one.version}")
        for one in sorted(versions, key=lambda each: each.time_ms)
        if one.model == model and one.promoted
    ]


def promotion_marks(retrains: Iterable[RetrainEvent], model: str) -> list[Mark]:
    """Return a mark for each promotion of a version of a model by the trainer."""
    return [
        Mark(at=event.time_ms / 1000, kind="version", text=f"v{event.challenger or ''}")
        for event in retrains
        if event.model == model and event.step == "promoted"
    ]


def all_version_marks(seen: Observation, model: str) -> list[Mark]:
    """Announcements and promotions of a model's versions, each once, in order."""
    found = {
        (mark.at, mark.text): mark
        for mark in [*version_marks(seen.versions, model), *promotion_marks(seen.retrains, model)]
    }
    return [found[key] for key in sorted(found)]


def episode_bands(
    episodes: Iterable[Sequence[DriftAlert]], until_ms: int
) -> tuple[list[Band], list[Mark]]:
    """Each episode from its onset to its end, and its detection; open ones end at ``until_ms``."""
    bands, marks = [], []
    for alerts in episodes:
        first = alerts[0]
        ended = next((a.decided_ms for a in alerts if a.phase in ENDED_PHASES), None)
        rank = max(SEVERITY_RANK[alert.severity] for alert in alerts)
        end_ms = ended if ended is not None else max(until_ms, first.decided_ms)
        bands.append(Band(start=first.onset_ms / 1000, end=end_ms / 1000, kind=_BAND[rank]))
        marks.append(Mark(at=first.decided_ms / 1000, kind=_BAND[rank], text="alert"))
    return bands, marks


def error_chart(buckets: Sequence[ErrorBucket], size_ms: int, marks: list[Mark]) -> Chart | None:
    """The estimated and the realised error over time; ``None`` without either."""
    if not buckets:
        return None
    lines = []
    x, realised = with_gaps({bucket.start_ms: bucket.realised for bucket in buckets}, size_ms)
    _, estimated = with_gaps({bucket.start_ms: bucket.estimated for bucket in buckets}, size_ms)
    if any(value is not None for value in realised):
        lines.append(Line(label="Realised", kind="after", y=realised))
    if any(value is not None for value in estimated):
        lines.append(Line(label="Estimated without labels", kind="second", y=estimated, dash=True))
    return Chart(x=x, series=lines, unit="percent", marks=marks)


def rate_chart(counts: Mapping[int, int], size_ms: int, marks: list[Mark]) -> Chart | None:
    """The number of events over time; ``None`` without any."""
    if not counts:
        return None
    x, events = with_gaps({start: float(n) for start, n in counts.items()}, size_ms)
    return Chart(
        x=x,
        series=[Line(label="Events", kind="after", y=[n or 0.0 for n in events], fill=True)],
        marks=marks,
    )
