"""The result of a backtest as JSON, as a table, and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from driftline.offline.backtest.backtest import PolicyResult
from driftline.offline.backtest.labelled_stream import LabelledStream

_PARTS: Final = 10
_BARS: Final = "▁▂▃▄▅▆▇█"
_COLORS: Final = ("#9aa0a6", "#c58b2a", "#6b7fd7", "#b0577f", "#0b6e4f", "#1b9aaa")


def summary(stream: LabelledStream, results: Sequence[PolicyResult]) -> dict[str, Any]:
    """The result for programs; ``regret`` is the error above that of the best policy."""
    best = min(result.error for result in results)
    return {
        "events": len(stream) - stream.n_training,
        "training_events": stream.n_training,
        "task": stream.task,
        "policies": {
            result.name: {
                "error": round(result.error, 6),
                "fits": result.fits,
                "swaps": result.swaps,
                "trial_fits": result.trial_fits,
                "regret": round(result.error - best, 6),
                "error_by_tenth": [round(one, 6) for one in _by_part(result)],
                "changes": [change._asdict() for change in result.changes],
                "seconds": round(result.seconds, 1),
            }
            for result in results
        },
    }


def table_lines(results: Sequence[PolicyResult]) -> list[str]:
    """One line for each policy, the best first."""
    width = max(len("policy"), *(len(result.name) for result in results))
    highest = max(max(_by_part(result)) for result in results) or 1.0
    lines = [f"  {'policy':<{width}}   error   fits  swaps  trial fits  error over time"]
    for result in sorted(results, key=lambda one: one.error):
        bars = "".join(
            _BARS[min(len(_BARS) - 1, int(len(_BARS) * part / highest))]
            for part in _by_part(result)
        )
        lines.append(
            f"  {result.name:<{width}}  {result.error:.4f}  {result.fits:>5}  {result.swaps:>5}"
            f"  {result.trial_fits:>10}  {bars}"
        )
    return lines


def change_lines(results: Sequence[PolicyResult]) -> list[str]:
    """Return a line for each decision of driftline, with its reason."""
    lines = []
    for result in results:
        if not result.name.startswith("driftline"):
            continue
        lines += ["", f"{result.name}: what it decided"]
        lines += [f"  row {c.row:>9,}  {c.kind:<8}  {c.reason}" for c in result.changes]
        if not result.changes:
            lines.append("  nothing: no retrain was asked for, and no version was proved better")
    return lines


def draw(stream: LabelledStream, results: Sequence[PolicyResult], path: Path) -> None:
    """Write a picture of the error over time to ``path``.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415 - half a second, at the very end

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure: Any
    axes: Any
    figure, axes = plt.subplots(figsize=(9, 4.2), dpi=120)
    window = max(50, (len(stream) - stream.n_training) // 60)
    for number, result in enumerate(results):
        ours = result.name.startswith("driftline")
        losses = np.nan_to_num(result.losses, nan=result.error)
        smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
        rows = stream.n_training + window + np.arange(len(smooth))
        axes.plot(
            rows,
            smooth,
            label=f"{result.name}: {result.error:.4f}, {result.fits} fits",
            color=_COLORS[number % len(_COLORS)],
            linewidth=2 if ours else 1.2,
            zorder=3 if ours else 2,
        )
        if result.name == "driftline":
            for change in result.changes:
                if change.kind != "rejected":
                    style = ":" if change.kind == "swap" else "-"
                    axes.axvline(change.row, color="#0b6e4f", alpha=0.3, lw=1, ls=style)
    axes.set_xlabel("event")
    axes.set_ylabel(f"error of served predictions (mean of {window:,} events)")
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _by_part(result: PolicyResult) -> list[float]:
    parts = np.array_split(result.losses, _PARTS)
    return [float(np.nanmean(part)) if np.isfinite(part).any() else result.error for part in parts]
