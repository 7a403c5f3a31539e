"""Draws the results of `tests.benchmarks.throughput`: throughput, and cost by features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

_OURS, _OTHERS = "#1f6feb", "#9aa4b2"
_SIZE_INCHES: Final = (9.0, 3.4)


def draw(results: Mapping[str, Any], titles: Mapping[str, str], file: Path) -> None:
    """Write the picture (PNG)."""
    figure = Figure(figsize=_SIZE_INCHES, layout="constrained")
    bars, line = figure.subplots(1, 2, width_ratios=(3, 2))
    rates = sorted(
        ((found["events_per_s"], name) for name, found in results["drain"].items()), reverse=False
    )
    drawn = bars.barh(
        [titles[name] for _, name in rates],
        [rate for rate, _ in rates],
        color=[_OURS if name.startswith("driftline") else _OTHERS for _, name in rates],
    )
    bars.bar_label(drawn, labels=[f"{rate:,}" for rate, _ in rates], padding=3, fontsize=9)
    bars.set_title("events a second, one process", loc="left", fontsize=10)
    bars.margins(x=0.15)
    bars.xaxis.set_visible(False)
    costs = [
        (features, cost)
        for features, models, partitions, cost in results["core_us_per_event"]
        if models == partitions == 1
    ]
    line.loglog(*zip(*costs, strict=True), marker="o", color=_OURS)
    line.set_title("µs of CPU an event, by features", loc="left", fontsize=10)
    line.grid(alpha=0.3)
    for axes in (bars, line):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=120)
