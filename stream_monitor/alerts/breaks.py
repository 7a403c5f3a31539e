"""What is broken about a numeric feature: it is sent in another unit, or stuck at one value.

While it is, its values say nothing of the population, so nothing else of them is judged.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

from stream_monitor.alerts.constant import ConstantChange, ConstantWatch, run_limit
from stream_monitor.alerts.episode import Suspicion, Verdict
from stream_monitor.alerts.units import UnitChange, UnitWatch
from stream_monitor.contracts import Phase
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.feature import FeatureReference
from stream_monitor.reference.fixed_point import FIXED_POINT
from stream_monitor.reference.transform import Transformed
from stream_monitor.windows.distance import psi_adjusted

BreakName: TypeAlias = Literal["unit", "constant"]
Change: TypeAlias = UnitChange | ConstantChange
Onset: TypeAlias = Callable[[int, int], tuple[int, int]]
"""(position in the batch, events back) -> (offset, time_ms) of the estimated onset."""


def name_of(change: Change) -> BreakName:
    """Which rule a change is of."""
    return "unit" if isinstance(change, UnitChange) else "constant"


class Breaks:
    """The rules of one feature; of one that is no number, or never moves, there are none."""

    def __init__(self, reference: FeatureReference, arl0_events: float, *, watched: bool) -> None:
        self.reference = reference
        self._units: UnitWatch | None = None
        self._constant: ConstantWatch | None = None
        self._suspicions: dict[BreakName, Suspicion] = {}
        self._last_index = 2 * len(reference.quantiles)
        if watched and reference.kind == "numeric" and reference.sd:
            self._units = UnitWatch(reference.centre, reference.scale, reference.sd, FIXED_POINT)
            if reference.repeats is not None:
                limit = run_limit(reference.repeats, reference.longest_run, arl0_events)
                self._constant = ConstantWatch(limit)

    @property
    def open(self) -> set[BreakName]:
        """What is broken now."""
        names: set[BreakName] = set()
        if self._units is not None and self._units.broken is not None:
            names.add("unit")
        if self._constant is not None and self._constant.stuck_at is not None:
            names.add("constant")
        return names

    def observe(self, values: Transformed) -> list[Change]:
        """Take consecutive events; gives what breaks or is over, in their order."""
        found: list[Change] = []
        if values.scaled is None:
            return found
        if self._units is not None:
            outside = (values.index == 0) | (values.index == self._last_index)
            found += self._units.observe(values.scaled, outside)
        if self._constant is not None:
            found += self._constant.observe(values.scaled)
        return sorted(found, key=lambda change: change.seen) if len(found) > 1 else found

    def verdict(
        self,
        change: Change,
        positions: Ints | None,
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> Verdict:
        """A change as a phase of its episode; ``positions`` are those of the valid events."""
        name = name_of(change)
        if isinstance(change, UnitChange):
            n, cause, after = change.since, change.conversion, change.after
            up = change.after > change.before
        else:
            n, cause = change.n_events, "constant"
            after = self.reference.centre + self.reference.scale * change.value / FIXED_POINT
            up = after > (self.reference.mean or 0.0)
        i = change.seen - 1 if positions is None else int(positions[change.seen - 1])
        at = int(offsets[i]), int(times_ms[i])
        if change.broken:
            back = change.since if isinstance(change, UnitChange) else n - 1
            self._suspicions[name] = Suspicion(
                change.seen, "rule", name, "up" if up else "down", *at, *onset(i, back)
            )
        suspicion = self._suspicions[name]
        bins = [0] * len(self.reference.bin_counts)
        bins[-1 if suspicion.direction == "up" else 0] = n
        effect, p_value = (
            psi_adjusted(bins, self.reference.bin_counts, 1.0) if change.broken else (0.0, 1.0)
        )
        total = round((after - self.reference.centre) / self.reference.scale * FIXED_POINT)
        return Verdict(
            "started" if change.broken else "recovered",
            suspicion, effect, p_value, n, total * n, tuple(bins), *at,
            cause=cause, severity="high",
        )  # fmt: skip

    def end(self, name: BreakName, phase: Phase, offset: int, time_ms: int) -> Verdict | None:
        """End from outside what is open."""
        if name not in self.open:
            return None
        cause = "constant"
        if name == "unit" and self._units is not None and self._units.broken is not None:
            cause = self._units.broken.name
            self._units.mend()
        if name == "constant" and self._constant is not None:
            self._constant.mend()
        bins = tuple(0 for _ in self.reference.bin_counts)
        return Verdict(
            phase, self._suspicions[name], 0.0, 1.0, 0, 0, bins, offset, time_ms,
            cause=cause, severity="high",
        )  # fmt: skip

    def snapshot(self) -> list[list[Any] | None]:
        """All that changes, as plain data: each rule, and the suspicion that opened its episode."""
        suspicions = [self._suspicions.get("unit"), self._suspicions.get("constant")]
        unit, constant = (None if s is None else list(s._replace(seen=0)) for s in suspicions)
        return [
            None if self._units is None else self._units.snapshot(),
            unit,
            None if self._constant is None else self._constant.snapshot(),
            constant,
        ]

    def restore(self, data: Sequence[Any]) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit the reference."""
        units, unit, constant, stuck = data
        if (units is None) != (self._units is None):
            raise ValueError(f"{self.reference.name}: unit watch does not fit the reference")
        if self._units is not None:
            self._units.restore(units)
        if self._constant is not None and constant is not None:
            self._constant.restore(constant)
        told: dict[BreakName, Any] = {"unit": unit, "constant": stuck}
        self._suspicions = {name: Suspicion(*s) for name, s in told.items() if s is not None}
        if self.open - self._suspicions.keys():
            raise ValueError(f"{self.reference.name}: broken without a suspicion")
