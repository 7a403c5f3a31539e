"""The two questions as a picture: how often for nothing, and how late for something."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from tests.benchmarks.detection.measure import Delays, FalseAlerts
from tests.benchmarks.detection.rivals import RIVALS
from tests.benchmarks.detection.watch import BUDGET

_OURS: Final = "#0b6e4f"
_COLOURS: Final = ("#c8553d", "#e8a87c", "#5b6c9e", "#a3b1d6")
_NEVER: Final = 0.02  # where "not once" is drawn on a logarithmic axis


def draw(quiet: Sequence[FalseAlerts], found: Sequence[Delays], file: Path) -> None:
    """Write the picture to ``file``."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to load, and only who plots needs it

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), dpi=120)
    rows = np.arange(len(quiet))
    for rival, colour in zip(RIVALS, _COLOURS, strict=True):
        rates = [max(_NEVER, row.rivals.get(rival, np.nan)) for row in quiet]
        left.scatter(rates, rows, s=22, color=colour, label=f"River {rival}")
    left.scatter(
        [max(_NEVER, row.per_million) for row in quiet], rows, s=34, color=_OURS,
        label="driftline", zorder=3,
    )  # fmt: skip
    budget = BUDGET.false_alerts / BUDGET.per_events * 1e6
    left.axvline(budget, color="black", linewidth=1)
    left.annotate(" budget", (budget, len(quiet) - 0.6), fontsize=8)
    left.set_xscale("log")
    left.set_yticks(rows, [f"{r.stream.name}, {r.stream.dependence}" for r in quiet], fontsize=7)
    left.invert_yaxis()
    left.set_xlabel("false alerts per million events where nothing changes (leftmost: none)")
    left.legend(fontsize=7, loc="lower center", bbox_to_anchor=(0.5, 1.02), ncols=3, frameon=False)

    known = [row for row in found if row.bound is not None and row.median is not None]
    bounds = np.array([row.bound for row in known], dtype=float)
    line = np.geomspace(bounds.min(), bounds.max(), 50)
    right.plot(line, line, color="black", linewidth=1, label="Lorden bound (mean, worst case)")
    right.plot(line, 1.3 * line + 8, color="grey", linewidth=1, linestyle=":",
               label="1.3 x bound + 8")  # fmt: skip
    for dependence, marker in (("iid", "o"), ("AR .5", "^"), ("AR .9", "s"), ("season", "D")):
        of_kind = [row for row in known if row.stream.dependence == dependence]
        if of_kind:
            right.scatter(
                [row.bound for row in of_kind], [row.median for row in of_kind], s=26,
                marker=marker, color=_OURS, alpha=0.8, label=f"driftline, {dependence}",
            )  # fmt: skip
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xlabel("least mean delay possible at this budget, events")
    right.set_ylabel("median delay, events")
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(visible=True, alpha=0.2)
    figure.tight_layout()
    figure.savefig(file)
    plt.close(figure)
