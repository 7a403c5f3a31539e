"""The checks of one feature: drift, invalid values, unit, constant value, values out of range."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from producer.events import Value
from stream_monitor.checks.check import CheckContext
from stream_monitor.checks.monitored_signal import MonitoredSignal, SignalDecision
from stream_monitor.checks.out_of_range import bounds_to_watch
from stream_monitor.checks.signal_check import SignalCheck
from stream_monitor.checks.version_events import VersionEvents
from stream_monitor.episodes.finding import Finding
from stream_monitor.episodes.messages import all_invalid_message
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.feature_reference import FeatureKind


def feature_key(name: str) -> str:
    """Return the signal name of a feature; its slash separates it from prediction and loss."""
    return f"feature/{name}"


def feature_checks(context: CheckContext) -> Iterator[FeatureCheck]:
    """The checks of all features of the reference, in the order of their names."""
    weights = context.profile.weights()
    for name, reference in sorted(context.profile.features.items()):
        signal = MonitoredSignal(
            reference,
            "data",
            context.arl0_events,
            context.policy,
            importance=weights[name],
            bounds=bounds_to_watch(reference),
        )
        yield FeatureCheck(context.source, feature_key(name), signal)


class FeatureCheck(SignalCheck[VersionEvents]):
    """The checks of one feature in all traffic of a version."""

    def observe(self, batch: VersionEvents) -> list[Finding]:
        """Apply events; returns the phases of episodes that they decided."""
        values = batch.features[self.signal.reference.name]
        events = batch.batch
        decisions = self.signal.observe(values, events.offsets, events.times_ms, batch.onset)
        return [
            self._with_reason(finding, decision, events)
            for finding, decision in zip(self.findings_of(decisions), decisions, strict=True)
        ]

    def _with_reason(self, finding: Finding, found: SignalDecision, events: EventBatch) -> Finding:
        """The finding; where all values are invalid, the one at the deciding event gives a reason.

        The validity check itself counts valid and invalid values only.
        """
        check, decision = found
        all_invalid = check == "validity" and decision.bins[-1] == decision.n_events
        if not all_invalid or finding.has_ended:
            return finding
        name, kind = self.signal.reference.name, self.signal.reference.kind
        row = int(events.offsets.searchsorted(decision.offset))
        reason = invalid_reason(events.features.column(name)[row], kind)
        message = all_invalid_message(
            name, reason, decision.suspicion.onset_ms, self.source.version
        )
        return msgspec.structs.replace(finding, explanation=message)


def invalid_reason(value: Value, kind: FeatureKind) -> str:
    """Return why a value of a feature of this kind is invalid.

    >>> [invalid_reason(value, "numeric") for value in (None, "71.6", 1e300)]
    ['missing', 'sent as text', 'out of range']
    >>> invalid_reason("XX", "categorical"), invalid_reason(2.5, "categorical")
    ('unseen categories', 'sent as numbers')
    >>> invalid_reason(7, "boolean")
    'neither true nor false'
    """
    if value is None or value != value:  # noqa: PLR0124 - NaN differs from itself
        return "missing"
    if kind == "categorical":
        return "sent as numbers" if isinstance(value, float) else "unseen categories"
    if isinstance(value, str):
        return "sent as text"
    return "out of range" if kind == "numeric" else "neither true nor false"
