"""Plot the error rates by month: never retrained, retrained monthly, and with driftline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from driftline.demo.monthly_errors import Month

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
