"""Data-quality rules of one numeric feature: unit, constant value, and values out of range.

While a feature is sent in another unit or is constant, its values are not evidence about the
population, and no other check uses them.  While some values are out of range, the others are used.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from stream_monitor.checks.constant_value import (
    ConstantValueChange,
    ConstantValueRule,
    ConstantValueState,
    run_limit,
)
from stream_monitor.checks.out_of_range import OutOfRangeChange, OutOfRangeRule, OutOfRangeState
from stream_monitor.checks.unit import SPAN_EVENTS, UnitChange, UnitRule, UnitState
from stream_monitor.checks.version_events import Onset
from stream_monitor.contracts import Phase, Severity
from stream_monitor.episodes.phase_decision import PhaseDecision, Suspicion
from stream_monitor.ingest.batch import Ints
from stream_monitor.reference.bounds import ValueBounds
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.transform import MAX_SCALED, Transform, Transformed
from stream_monitor.statistics.distance import psi_adjusted
from stream_monitor.statistics.fixed_point import FIXED_POINT

RuleName: TypeAlias = Literal["unit", "constant", "range"]
RuleChange: TypeAlias = UnitChange | ConstantValueChange | OutOfRangeChange
_MANY: Final = 0.01
_SOME: Final = 0.001


def _fixed(reference: FeatureReference, value: float) -> int:
    """The value in scales of the reference, in fixed point."""
    scaled = (value - reference.centre) / reference.scale
    return round(min(max(scaled, -MAX_SCALED), MAX_SCALED) * FIXED_POINT)


def rule_of(change: RuleChange) -> RuleName:
    """Return the rule that found a change."""
    if isinstance(change, OutOfRangeChange):
        return "range"
    return "unit" if isinstance(change, UnitChange) else "constant"


class DataQualityState(msgspec.Struct, array_like=True):
    """The states of the rules, and the suspicions that opened their episodes.

    ``odd_of_drift``: values out of range come, and are part of the drift of the population.
    """

    unit: UnitState | None = None
    constant: ConstantValueState | None = None
    odd: OutOfRangeState | None = None
    suspicions: dict[RuleName, Suspicion] = {}
    odd_of_drift: bool = False


class DataQualityRules:
    """The data-quality rules of one feature; only numeric features that vary have any."""

    def __init__(
        self,
        reference: FeatureReference,
        transform: Transform,
        arl0_events: float,
        bounds: ValueBounds | None,
        *,
        watched: bool,
    ) -> None:
        """Start the rules; ``bounds`` of the values is ``None`` where the range is not watched."""
        self.reference = reference
        self.odd = None if bounds is None else OutOfRangeRule(bounds, transform, arl0_events)
        self._units: UnitRule | None = None
        self._constant: ConstantValueRule | None = None
        self._suspicions: dict[RuleName, Suspicion] = {}
        self._odd_of_drift = False
        quantiles = reference.quantiles
        self._last_index = 2 * len(quantiles)
        self._constant_is_odd = reference.longest_run < SPAN_EVENTS
        self._has_wide_bounds = (
            bounds is not None
            and len(quantiles) > 0
            and bool(bounds.low <= quantiles[0] and quantiles[-1] <= bounds.high)
        )
        if watched and reference.kind == "numeric" and reference.sd:
            self._units = UnitRule(reference.centre, reference.scale, reference.sd, FIXED_POINT)
            if reference.repeats is not None:
                limit = run_limit(reference.repeats, reference.longest_run, arl0_events)
                self._constant = ConstantValueRule(limit)

    @property
    def open(self) -> set[RuleName]:
        """The rules that are broken now."""
        names: set[RuleName] = set()
        if self._units is not None and self._units.broken is not None:
            names.add("unit")
        if self._constant is not None and self._constant.is_constant:
            names.add("constant")
        if self.odd is not None and self.odd.is_open and not self._odd_of_drift:
            names.add("range")
        return names

    def observe(self, values: Transformed) -> list[RuleChange]:
        """Apply consecutive events; returns the changes, by event."""
        found: list[RuleChange] = []
        if values.scaled is None:
            return found
        outside = (values.index == 0) | (values.index == self._last_index)
        if self._units is not None:
            raw, run = None, 0
            if self._constant is not None and values.raw is not None and self._constant_is_odd:
                raw, run = values.raw, self._constant.run_before(values.raw)
            found += self._units.observe(values.scaled, outside, raw, run)
        if self._constant is not None and values.raw is not None:
            found += self._constant.observe(values.raw)
        if self.odd is not None and values.raw is not None:
            inside = self._has_wide_bounds and not outside.any()
            found += self.odd.observe(values.raw, values.index, all_inside=inside)
        return sorted(found, key=lambda change: change.seen) if len(found) > 1 else found

    def suppresses(self, change: RuleChange, *, drifts: bool) -> bool:
        """Whether drift of the population explains a change; call it for each change, in order.

        Values out of range that the population itself may have are part of its drift while it
        ``drifts``: the detectors use them.  They are a finding if they continue after the drift,
        lie far away, or repeat one value.
        """
        if not isinstance(change, OutOfRangeChange):
            return False
        if not change.broken:
            of_drift, self._odd_of_drift = self._odd_of_drift, False
            return of_drift
        if change.continues and not self._odd_of_drift:
            return True  # it was reported
        self._odd_of_drift = drifts and change.near
        return self._odd_of_drift

    def decision(
        self,
        change: RuleChange,
        positions: Ints | None,
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> PhaseDecision:
        """Return the phase that a change decides; ``positions`` are those of the valid events."""
        if isinstance(change, OutOfRangeChange):
            return self._of_odd(change, positions, offsets, times_ms, onset)
        name = rule_of(change)
        if isinstance(change, UnitChange):
            n, cause, after = change.since, change.conversion, change.after
            up = change.after > change.before
        else:
            n, cause, after = change.n_events, "constant", change.value
            up = after > (self.reference.mean or 0.0)
        i = change.seen - 1 if positions is None else int(positions[change.seen - 1])
        at = int(offsets[i]), int(times_ms[i])
        if change.broken:
            back = change.since if isinstance(change, UnitChange) else n - 1
            self._suspicions[name] = Suspicion(
                0, "rule", name, "up" if up else "down", *at, *onset(i, back)
            )
        suspicion = self._suspicions[name]
        bins = [0] * len(self.reference.bin_counts)
        bins[-1 if suspicion.direction == "up" else 0] = n
        effect, p_value = (
            psi_adjusted(bins, self.reference.bin_counts, 1.0) if change.broken else (0.0, 1.0)
        )
        total = _fixed(self.reference, after)
        return PhaseDecision(
            "started" if change.broken else "recovered",
            suspicion,
            effect,
            p_value,
            n,
            total * n,
            tuple(bins),
            *at,
            cause=cause,
            severity="high",
            value=change.value if isinstance(change, ConstantValueChange) else None,
        )

    def _of_odd(
        self,
        change: OutOfRangeChange,
        positions: Ints | None,
        offsets: Ints,
        times_ms: Ints,
        onset: Onset,
    ) -> PhaseDecision:
        i = change.seen - 1 if positions is None else int(positions[change.seen - 1])
        at = int(offsets[i]), int(times_ms[i])
        if change.broken:
            self._suspicions["range"] = Suspicion(
                0,
                "rule",
                "range",
                "up" if change.up else "down",
                *at,
                *onset(i, change.n_events - 1),
            )
        usual = self.reference.n_events - self.reference.n_invalid
        bins = change.n_events - change.n_odd, change.n_odd
        effect, p_value = psi_adjusted(bins, (usual, 0), 1.0) if change.broken else (0.0, 1.0)
        share = change.n_odd / max(1, change.n_events)
        severity: Severity = "high" if share >= _MANY else "medium" if share >= _SOME else "low"
        return PhaseDecision(
            "started" if change.broken else "recovered",
            self._suspicions["range"],
            effect,
            p_value,
            change.n_events,
            0,
            bins,
            *at,
            cause=change.message,
            severity=severity,
            value=change.value,
        )

    def end(self, name: RuleName, phase: Phase, offset: int, time_ms: int) -> PhaseDecision | None:
        """End the open episode of a rule; None where none is open."""
        if name not in self.open:
            return None
        cause = "odd values" if name == "range" else "constant"
        if name == "unit" and self._units is not None and self._units.broken is not None:
            cause = self._units.broken.name
            self._units.reset()
        if name == "constant" and self._constant is not None:
            self._constant.reset()
        if name == "range" and self.odd is not None:
            self.odd.reset()
        bins = tuple(0 for _ in self.reference.bin_counts)
        return PhaseDecision(
            phase,
            self._suspicions[name],
            0.0,
            1.0,
            0,
            0,
            bins,
            offset,
            time_ms,
            cause=cause,
            severity="high",
        )

    def snapshot(self) -> DataQualityState:
        """The state of all rules."""
        return DataQualityState(
            None if self._units is None else self._units.state,
            None if self._constant is None else self._constant.state,
            None if self.odd is None else self.odd.snapshot(),
            self._suspicions,
            self._odd_of_drift,
        )

    def restore(self, state: DataQualityState) -> None:
        """Continue from `snapshot`.  Raises ValueError where it does not fit the reference."""
        for rule, stored in (
            (self._units, state.unit),
            (self._constant, state.constant),
            (self.odd, state.odd),
        ):
            if (rule is None) != (stored is None):
                raise ValueError(f"{self.reference.name}: the rules do not fit the reference")
        if self._units is not None and state.unit is not None:
            self._units.restore(state.unit)
        if self._constant is not None and state.constant is not None:
            self._constant.restore(state.constant)
        if self.odd is not None and state.odd is not None:
            self.odd.restore(state.odd)
        self._suspicions, self._odd_of_drift = state.suspicions, state.odd_of_drift
        if self.open - self._suspicions.keys():
            raise ValueError(f"{self.reference.name}: an episode of a rule without a suspicion")
