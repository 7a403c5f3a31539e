"""Sentences of alerts about features, predictions, the error and correlations.  Pure.

A sentence states what changed, by how much, since when and in which part of the traffic, then what
to do next.  `formatting` formats numbers, times and names.  The sentences of other kinds of alerts
are in `traffic_messages` and `coverage_messages`, what is added in later phases in
`phase_messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_monitor.contracts import ENDED_PHASES, Direction
from stream_monitor.episodes.error_rate_tracker import share_wrong
from stream_monitor.episodes.formatting import (
    format_change,
    format_correlation,
    format_names,
    format_number,
    format_percent,
    format_percent_change,
    format_range,
    format_time,
    format_value,
    joined,
)
from stream_monitor.episodes.phase_decision import PhaseDecision
from stream_monitor.episodes.phase_messages import progress_message
from stream_monitor.reference.feature_reference import OF_REST
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.reference.transform import MAX_SCALED


class SeasonalReference(NamedTuple):
    """The mean and the bin counts to compare with; ``at`` is a phrase for messages, or empty."""

    mean: float | None
    bins: tuple[int, ...]
    at: str = ""


def seasonal_reference(reference: FeatureReference, decision: PhaseDecision) -> SeasonalReference:
    """Return the reference at the hours of a decision's events; all of it without a season."""
    calendar = reference.calendar
    if calendar is None or not any(decision.slots):
        return SeasonalReference(reference.mean, reference.bin_counts)
    slots = np.array(decision.slots, dtype=np.int64)
    bins = tuple(calendar.expected(slots))
    mean = calendar.mean_at(slots)
    if reference.kind == "outcome":
        mean = share_wrong(bins)
    elif reference.kind == "boolean":
        mean = bins[-1] / max(1, sum(bins))
    if mean is None and reference.kind == "numeric":  # stored before such means were
        return SeasonalReference(reference.mean, reference.bin_counts)
    return SeasonalReference(mean, bins, " at these hours")


_PREDICTION: Final = "prediction"
_VERSION_ENDED: Final = "ended, because its version is idle or has a new reference"


class SignalScope(NamedTuple):
    """A monitored signal, and the part of the traffic in which it was observed.

    ``main_check`` is "data" for a feature, "prediction" for a prediction and "concept" for the
    error; ``name`` is the name in the reference.  ``segment`` is a part of the traffic
    (``origin=EWR``), or None for all of it.
    """

    main_check: str
    name: str
    version: str
    segment: str | None = None

    @property
    def subject(self) -> str:
        """The signal as the subject of a sentence.

        >>> SignalScope("data", "temp", "1").subject, SignalScope("prediction", "eta", "1").subject
        ('`temp`', 'Prediction `eta`')
        """
        if self.main_check == "concept":
            return "Model error"
        if self.main_check == _PREDICTION:
            return "Predictions" if self.name == _PREDICTION else f"Prediction `{self.name}`"
        return f"`{self.name}`"

    @property
    def traffic(self) -> str:
        """The traffic that the sentence is about.

        >>> SignalScope("data", "temp", "1", "origin=EWR").traffic
        'traffic of version 1 with origin=EWR'
        """
        return _traffic(self.version, self.segment)


class ErrorEstimate(NamedTuple):
    """Error rates expected without labels: of the reference, and of the fresh events."""

    before: float
    after: float


def _traffic(version: str, segment: str | None = None) -> str:
    if segment is None:
        return f"all traffic of version {version}"
    return f"traffic of version {version} with {segment}"


# Drift and data quality of one signal.


def signal_message(
    scope: SignalScope,
    check: str,
    reference: FeatureReference,
    decision: PhaseDecision,
    after: float | None,
    estimate: ErrorEstimate | None = None,
) -> str:
    """Describe a phase of an episode of one signal.

    ``check`` is the check that decided it, ``after`` the mean of the fresh events where they have
    one, ``estimate`` the expected error rates where they are known.
    """
    if decision.phase == "resolved":
        return f"{scope.subject}: resolved."
    change = _change(check, reference, decision, after)
    if decision.phase == "superseded":
        return f"{scope.subject}: {_VERSION_ENDED} ({change})."
    if decision.phase == "recovered":
        return f"{scope.subject}: {_recovered(check, change, after)}."
    if decision.progress is not None:
        return joined(f"{scope.subject}: {change}", _progress(decision))
    better = direction_of(reference, decision, after) == "better"
    worse = f"{'Better' if better else 'Worse'} than reported before"
    return joined(
        f"{scope.subject}: {change} since {format_time(decision.suspicion.onset_ms)}, "
        f"{scope.traffic}",
        worse if decision.phase == "ongoing" else "",
        f"The new level fits {_conversion(decision.cause)}" if check == "unit" else "",
        "" if estimate is None else _expected_error(check, estimate, after),
        _signal_advice(check, scope, better=better),
    )


def _recovered(check: str, change: str, after: float | None) -> str:
    if check == "range":
        return f"values are within {change}, as in the reference"
    if check == "constant":
        return "values vary, as in the reference"
    if check == "unit":
        return f"back to the unit of the reference (mean {_number(after)})"
    return f"back to the reference ({change})"


def _signal_advice(check: str, scope: SignalScope, *, better: bool) -> str:
    """What to do about a change of one signal."""
    if check == "concept":
        return (
            "The error is below the reference; a new profile would describe the model as it is now"
            if better
            else "Retrain on labelled events from after the change"
        )
    if scope.main_check == _PREDICTION:
        if check == "prediction":
            return "Check which features changed, and compare with the labels once they arrive"
        return "Check the model server"
    if check == "data":
        return f"Check the source of {scope.subject}; retrain if the change is real and lasts"
    return data_quality_advice(scope.name)


def data_quality_advice(feature: str) -> str:
    """Return advice about wrong values of a feature.

    >>> data_quality_advice("temp")
    'Check the source of `temp`; its drift starts no retraining until this is fixed'
    """
    return f"Check the source of `{feature}`; its drift starts no retraining until this is fixed"


def direction_of(
    reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> Direction:
    """The direction of a change.  An error whose mean rose is not better, whatever its median."""
    direction, before = decision.suspicion.direction, reference.mean
    rose = after is not None and before is not None and after > before
    return (
        "down"
        if direction == "better" and rose and decision.phase not in ENDED_PHASES
        else direction
    )


def _change(
    check: str, reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> str:
    """What changed, from which size to which."""
    if check == "range":
        return decision.cause or ""
    if check == "validity":
        before = reference.n_invalid / max(1, reference.n_events)
        share = decision.bins[1] / max(1, decision.n_events)
        how = "missing or unknown" if reference.kind == "categorical" else "missing or invalid"
        return f"{format_percent(share)} of values are {how} (reference {format_percent(before)})"
    if check == "constant" and decision.phase not in ENDED_PHASES:
        return f"constant at {'unknown' if after is None else format_value(after)}"
    return _level_change(check, reference, decision, after)


def _level_change(
    check: str, reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> str:
    """The change of the mean, or of the share that changed most."""
    usual = seasonal_reference(reference, decision)
    if check == "concept" and reference.kind != "numeric":
        return f"rate{usual.at} {_percent_change(usual.mean, after)}"
    mean = f"mean{usual.at} {_mean_change(reference, usual.mean, after)}"
    if check == "concept":
        return mean
    if reference.kind != "numeric":
        return _share_change(reference, decision, usual)
    if decision.suspicion.channel in OF_REST and (
        rest := _rest_change(reference, decision, usual, after)
    ):
        return rest
    same_mean = (
        after is not None
        and usual.mean is not None
        and abs(after - usual.mean) < 0.1 * (reference.sd or 0.0)
    )
    return f"{mean}, {_share_change(reference, decision, usual)}" if same_mean else mean


def _mean_change(reference: FeatureReference, before: float | None, after: float | None) -> str:
    """The change of a mean; one of values that were limited to `MAX_SCALED` is only a bound."""
    if after is None or before is None or reference.kind != "numeric":
        return format_change(before, after)
    if abs(after - reference.centre) < reference.scale * MAX_SCALED / 2:
        return format_change(before, after)
    bound = "at least" if after > before else "at most"
    return f"{format_number(before)} → {bound} {format_number(after)}"


def _rest_change(
    reference: FeatureReference,
    decision: PhaseDecision,
    usual: SeasonalReference,
    after: float | None,
) -> str:
    """The change of the values other than the most frequent one; empty where there are none."""
    if reference.point_mass is None or usual.mean is None or after is None:
        return ""
    value = float(reference.quantiles[reference.point_mass[0]])
    place = int(reference.bin_of_index[sum(reference.point_mass)])
    means = []
    for counts, mean in ((usual.bins, usual.mean), (decision.bins, after)):
        share = counts[place] / max(1, sum(counts))
        if share == 1:
            return ""
        means.append((mean - share * value) / (1 - share))
    return f"mean of values other than {format_value(value)}{usual.at} {format_change(*means)}"


def _share_change(
    reference: FeatureReference, decision: PhaseDecision, usual: SeasonalReference
) -> str:
    label, before, after = largest_share_change(usual.bins, decision.bins, reference.bin_labels)
    of = f"values {label}" if reference.kind == "numeric" else f"`{label}`"
    return f"share of {of}{usual.at} {format_percent_change(before, after)}"


def largest_share_change(
    before: Sequence[int], after: Sequence[int], labels: Sequence[str]
) -> tuple[str, float, float]:
    """The bin whose share changed most: its label, its share before and after.

    >>> largest_share_change([50, 50], [90, 10], ["UA", "AA"])
    ('UA', 0.5, 0.9)
    """
    n_before, n_after = max(1, sum(before)), max(1, sum(after))
    shares = [(b / n_before, a / n_after) for b, a in zip(before, after, strict=True)]
    i = max(range(len(shares)), key=lambda k: abs(shares[k][1] - shares[k][0]))
    return labels[i], *shares[i]


def _conversion(name: str | None) -> str:
    """Name a conversion, such as ``°F → °C``, as what is sent instead of what is expected."""
    expected, _, sent = (name or "").partition(" → ")
    return f"{expected} sent as {sent}"


def _expected_error(check: str, estimate: ErrorEstimate, realised: float | None) -> str:
    """What the predictions let expect of the error rate.

    They explain a change of the error if more than half of it was expected.

    >>> _expected_error("prediction", ErrorEstimate(0.236, 0.154), None)
    'Expected error rate 23.6 % → 15.4 %, estimated without labels'
    >>> _expected_error("concept", ErrorEstimate(0.236, 0.344), 0.346)
    'For these predictions 34.4 % was expected: the change of the inputs explains it'
    >>> _expected_error("concept", ErrorEstimate(0.236, 0.238), 0.369)[43:]
    'the relation between inputs and outcome has changed (concept drift)'
    """
    if check != "concept":
        change = format_percent_change(*estimate)
        return f"Expected error rate {change}, estimated without labels"
    if realised is None:
        return ""
    explained = abs(realised - estimate.after) < abs(realised - estimate.before) / 2
    why = (
        "the change of the inputs explains it"
        if explained
        else "the relation between inputs and outcome has changed (concept drift)"
    )
    return f"For these predictions {format_percent(estimate.after)} was expected: {why}"


def all_invalid_message(name: str, how: str, onset_ms: int, version: str) -> str:
    """Describe a feature without one valid value; ``how`` they are invalid, such as "missing".

    >>> all_invalid_message("temp", "sent as text", 1362128040000, "1")[:60]
    '`temp`: all values are sent as text since 1 Mar 2013 08:54 U'
    """
    return joined(
        f"`{name}`: all values are {how} since {format_time(onset_ms)}, {_traffic(version)}",
        data_quality_advice(name),
    )


def out_of_range_values(
    values: Sequence[float], common: Sequence[float], share: float, low: float, high: float
) -> str:
    """Describe the ``share`` of values that the reference does not have.

    ``values`` are the latest of them, ``common`` the few values that most of them are, if any.

    >>> out_of_range_values([-999.0, -999.0], [-999.0], 0.041, 0.0, 120.0)
    '4.1 % of values are -999 (reference range 0 … 120)'
    >>> out_of_range_values([151.0, 144.2, 320.0], [], 0.02, -10.0, 120.0)
    '2 % of values (144 … 320) are outside of the reference range -10 … 120'
    """
    rate = f"{format_percent(share)} of values"
    if common:
        those = f"{rate} are {' or '.join(map(format_value, common))}"
        if all(low <= value <= high for value in common):
            return f"{those}, which the reference does not have"
        return f"{those} (reference range {format_range(low, high)})"
    lowest, highest = min(values), max(values)
    found = format_value(lowest) if lowest == highest else format_range(lowest, highest)
    return f"{rate} ({found}) are outside of the reference range {format_range(low, high)}"


# Correlation of two features.


def correlation_message(
    subject: str, version: str, before: float, after: float | None, decision: PhaseDecision
) -> str:
    """Describe a phase of an episode of two features and their rank correlation."""
    now = "unknown" if after is None else format_correlation(after)
    change = f"rank correlation {format_correlation(before)} → {now}"
    if decision.phase == "resolved":
        return f"{subject}: resolved."
    if decision.phase == "superseded":
        return f"{subject}: {_VERSION_ENDED} ({change})."
    if decision.phase == "recovered":
        return f"{subject}: back to the reference ({change})."
    if decision.progress is not None:
        return joined(f"{subject}: {change}", _progress(decision))
    return joined(
        f"{subject}: {change} since {format_time(decision.suspicion.onset_ms)}, "
        f"{_traffic(version)}",
        "Worse than reported before" if decision.phase == "ongoing" else "",
        "Neither of them has drifted by itself; check whether their sources still belong together",
    )


def explained_message(subject: str, feature: str) -> str:
    """Describe the end of an episode that an episode of ``feature`` includes from now on.

    >>> explained_message("`a` and `b`", "a")
    '`a` and `b`: reported as drift of `a` from now on, because `a` itself has changed.'
    """
    return (
        f"{subject}: reported as drift of `{feature}` from now on, because "
        f"`{feature}` itself has changed."
    )


# Features that the reference does not have.


def new_features_message(names: Sequence[str], onset_ms: int, version: str) -> str:
    """Describe features that the reference does not have.

    >>> new_features_message(["fare"], 1362128040000, "1")[:76]
    'New feature `fare` since 1 Mar 2013 08:54 UTC, in at least half of the event'
    """
    is_one = len(names) == 1
    return joined(
        f"New {_features(names)} since {format_time(onset_ms)}, in at least half of the events of "
        f"version {version}. The reference does not have {'it' if is_one else 'them'}",
        f"Build the profile from data with {'it' if is_one else 'them'}, or resolve this episode "
        f"to accept {'it' if is_one else 'them'}",
    )


def features_gone_message(names: Sequence[str]) -> str:
    """Describe that new features are no longer sent.

    >>> features_gone_message(["fare"])
    'Feature `fare` is no longer sent.'
    """
    listed = _features(names)
    verb = "is" if len(names) == 1 else "are"
    return f"{listed[0].upper()}{listed[1:]} {verb} no longer sent."


def schema_ended_message(*, resolved: bool) -> str:
    """Describe the end of an episode of new features that no event decided."""
    return f"New features: {'resolved' if resolved else _VERSION_ENDED}."


def _features(names: Sequence[str]) -> str:
    return f"{'feature' if len(names) == 1 else 'features'} {format_names(sorted(names))}"


def _progress(decision: PhaseDecision) -> str:
    if decision.progress is None or not decision.progress.n_events:
        return f"Not recovered after all; open since {format_time(decision.suspicion.onset_ms)}"
    return progress_message(*decision.progress)


def _number(value: float | None) -> str:
    return "unknown" if value is None else format_number(value)


def _percent_change(before: float | None, after: float | None) -> str:
    return " → ".join("unknown" if v is None else format_percent(v) for v in (before, after))
