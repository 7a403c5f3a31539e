"""The two questions as a picture: how often for nothing, and how late for something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.benchmarks.detection.feature_monitor import BUDGET
from tests.benchmarks.detection.measure import Delays, FalseAlerts
from tests.benchmarks.detection.river_baselines import BASELINES
from tests.benchmarks.detection.streams import Dependence

_OURS: Final = "#0b6e4f"
_COLOURS: Final = ("#c8553d", "#e8a87c", "#5b6c9e", "#a3b1d6")
_MARKERS: Final[dict[Dependence, str]] = {"iid": "o", "AR .5": "^", "AR .9": "s", "season": "D"}
_WORDS: Final[dict[Dependence, str]] = {
    "iid": "independent",
    "AR .5": "AR(1) 0.5",
    "AR .9": "AR(1) 0.9",
    "season": "daily season",
}
_NEVER: Final = 0.05  # where "not once" is drawn on a logarithmic axis
_ROW: Final = 0.2  # between the dependences of one shape


def draw(stationary: Sequence[FalseAlerts], found: Sequence[Delays], file: Path) -> None:
    """Write the picture to ``file``."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, and only who plots needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    with mpl.rc_context({"font.size": 12, "axes.titlesize": 13, "legend.fontsize": 10.5}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(13.5, 7), dpi=100, width_ratios=(1.15, 1)
        )
        _false_signals(left, stationary)
        _delays(right, found)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(visible=True, alpha=0.2)
        figure.tight_layout()
        figure.savefig(file)
        plt.close(figure)


def _false_signals(axes: Any, stationary: Sequence[FalseAlerts]) -> None:
    """A row for each shape; in it, from above, the dependences."""
    shapes = list(dict.fromkeys(row.stream.name for row in stationary))
    order = list(_MARKERS)
    height = [
        shapes.index(row.stream.name) + _ROW * (order.index(row.stream.dependence) - 1.5)
        for row in stationary
    ]
    for baseline, colour in zip(BASELINES, _COLOURS, strict=True):
        rates = [max(_NEVER, row.baselines.get(baseline, np.nan)) for row in stationary]
        axes.scatter(rates, height, s=24, color=colour, label=f"River {baseline}")
    ours = [max(_NEVER, row.per_million) for row in stationary]
    axes.hlines(height, ours, [row.upper for row in stationary], color=_OURS, linewidth=1)
    axes.scatter(ours, height, s=34, color=_OURS, zorder=3, label="driftline, to its 95 % bound")
    budget = BUDGET.false_alerts / BUDGET.per_events * 1e6
    axes.axvline(budget, color="black", linewidth=1.2)
    axes.annotate(" the budget", (budget, -0.62), fontsize=11)
    axes.set_xscale("log")
    ticks = [_NEVER, 1, 10, 100, 1_000, 10_000]
    axes.set_xticks(ticks, ["none", *(f"{tick:,}" for tick in ticks[1:])])
    axes.minorticks_off()
    axes.set_yticks(range(len(shapes)), shapes)
    axes.set_ylim(len(shapes) - 0.5, -0.75)
    axes.set_title("Signals per million events where nothing changes")
    words = ", ".join(_WORDS[kind] for kind in order)
    axes.set_xlabel(f"In a row, from above: {words}")
    axes.legend(loc="lower center", bbox_to_anchor=(0.45, 1.05), ncols=2, frameon=False)


def _delays(axes: Any, found: Sequence[Delays]) -> None:
    known = [row for row in found if row.bound is not None and row.median is not None]
    bounds = np.array([row.bound for row in known], dtype=float)
    line = np.geomspace(bounds.min(), bounds.max(), 50)
    axes.plot(line, line, color="black", linewidth=1.2, label="Lorden bound of the mean")
    axes.plot(line, 1.3 * line + 8, color="grey", linestyle=":", label="1.3 x bound + 8")
    for dependence, marker in _MARKERS.items():
        of_kind = [row for row in known if row.stream.dependence == dependence]
        if of_kind:
            axes.scatter(
                [row.bound for row in of_kind],
                [row.median for row in of_kind],
                s=38,
                marker=marker,
                color=_OURS,
                alpha=0.65,
                label=_WORDS[dependence],
            )
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    axes.set_title("Events from a change to driftline's signal, median")
    axes.set_xlabel("Least possible at this budget: Lorden bound, events")
    axes.legend(frameon=False, loc="upper left")
