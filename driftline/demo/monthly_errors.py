"""The error rates of driftline, a schedule and the first version by month, and their plot."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple


class Flight(NamedTuple):
    """A labelled flight: the served prediction and its version, and those of the other policies.

    ``frozen_score`` is the prediction of the first version, which was never retrained;
    ``scheduled_score`` that of a model fitted again every month.
    """

    time_ms: int
    version: str
    score: float
    frozen_score: float
    scheduled_score: float
    late: bool


class ErrorRates(NamedTuple):
    """The share of wrong predictions for ``n`` flights; 0 without flights."""

    n: int
    frozen: float
    scheduled: float
    driftline: float


class Month(NamedTuple):
    """The error rates of a month, and the versions in service."""

    name: str
    rates: ErrorRates
    versions: tuple[str, ...]


def error_rates(flights: Sequence[Flight]) -> ErrorRates:
    """The error rates of the first version, of the schedule, and of the champions (driftline).

    >>> error_rates([Flight(0, "2", 0.9, 0.1, 0.8, True), Flight(0, "2", 0.1, 0.2, 0.7, False)])
    ErrorRates(n=2, frozen=0.5, scheduled=0.5, driftline=0.0)
    """
    n = len(flights)
    wrong = (
        sum((flight.frozen_score > 0.5) != flight.late for flight in flights),
        sum((flight.scheduled_score > 0.5) != flight.late for flight in flights),
        sum((flight.score > 0.5) != flight.late for flight in flights),
    )
    return ErrorRates(n, *(count / n if n else 0.0 for count in wrong))


def by_month(flights: Sequence[Flight]) -> list[Month]:
    """The error rates of each month, in order."""
    found: dict[tuple[int, int], list[Flight]] = {}
    for flight in flights:
        moment = datetime.fromtimestamp(flight.time_ms / 1000, UTC)
        found.setdefault((moment.year, moment.month), []).append(flight)
    return [
        Month(
            f"{datetime(*month, 1, tzinfo=UTC):%b %Y}",
            error_rates(found[month]),
            tuple(sorted({flight.version for flight in found[month]}, key=_by_number)),
        )
        for month in sorted(found)
    ]


def _by_number(version: str) -> tuple[int, str]:
    return (int(version), "") if version.isdecimal() else (0, version)


def table_lines(months: Sequence[Month], total: ErrorRates) -> list[str]:
    """The months as a table of error rates: without retraining, monthly, and with driftline."""
    rows = [(month.name, month.rates, ", ".join(month.versions)) for month in months]
    rows.append(("all", total, ""))
    return [
        (
            f"  {'error rate':<10} {'flights':>8} {'frozen':>8} {'monthly':>8} {'driftline':>10}"
            "   versions"
        ),
        *(
            f"  {name:<10} {rates.n:>8,} {rates.frozen:>8.1%} {rates.scheduled:>8.1%} "
            f"{rates.driftline:>10.1%}   {versions}"
            for name, rates, versions in rows
        ),
    ]


_MIN_FLIGHTS = 100
_FROZEN, _SCHEDULED, _OURS = "#9aa0a6", "#c77d2e", "#0b6e4f"


def draw(months: Sequence[Month], path: Path) -> None:
    """Write the plot to ``path`` as PNG; months with few flights are left out.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415 - half a second, at the very end

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    months = [month for month in months if month.rates.n >= _MIN_FLIGHTS]
    positions = range(len(months))
    figure: Any
    axes: Any
    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=120)
    for label, color, rates in (
        ("never retrained", _FROZEN, [100 * month.rates.frozen for month in months]),
        (
            "retrained every month, all history",
            _SCHEDULED,
            [100 * month.rates.scheduled for month in months],
        ),
        ("with driftline", _OURS, [100 * month.rates.driftline for month in months]),
    ):
        axes.plot(positions, rates, "o-", color=color, label=label)
    known: set[str] = set(months[0].versions[:1]) if months else set()
    for position, month in enumerate(months):
        for version in month.versions:
            if version not in known:
                known.add(version)
                axes.axvline(position, color=_OURS, alpha=0.25, linewidth=1)
                axes.annotate(
                    f"version {version}",
                    (position, 0.02),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    color=_OURS,
                    fontsize=8,
                    ha="right",
                    va="bottom",
                )
    axes.set_xticks(positions, [month.name[:3] for month in months])
    axes.set_ylabel("wrong predictions, %")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    axes.set_title("Will this flight be late?  A year of real flights", loc="left", fontsize=11)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
