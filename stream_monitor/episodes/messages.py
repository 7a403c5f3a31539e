"""One sentence a person understands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from stream_monitor.contracts import ENDED_PHASES, Direction
from stream_monitor.episodes.lifecycle import PhaseDecision
from stream_monitor.episodes.recovery import RecoveryProgress
from stream_monitor.episodes.seasonal_reference import SeasonalReference, seasonal_reference
from stream_monitor.reference.feature_reference import OF_REST
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.statistics.distance import rounded_effect


def format_number(value: float) -> str:
    """Three significant digits, without needless zeros.

    >>> format_number(71.62), format_number(0.0312), format_number(1234567.0), format_number(-0.4)
    ('71.6', '0.0312', '1.23e+06', '-0.4')
    """
    return f"{value:.3g}"


def format_time(time_ms: int) -> str:
    """A time as people write it, in UTC.

    >>> format_time(1362128040000)
    '2013-03-01 08:54Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d %H:%MZ")


def biggest_move(
    before: Sequence[int], after: Sequence[int], labels: Sequence[str]
) -> tuple[str, float, float]:
    """The bin whose share changed most: its label, its share before and after.

    >>> biggest_move([50, 50], [90, 10], ["UA", "AA"])
    ('UA', 0.5, 0.9)
    """
    n_before, n_after = max(1, sum(before)), max(1, sum(after))
    shares = [(b / n_before, a / n_after) for b, a in zip(before, after, strict=True)]
    i = max(range(len(shares)), key=lambda k: abs(shares[k][1] - shares[k][0]))
    return labels[i], *shares[i]


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def progress_message(n_events: int, n_needed: int) -> str:
    """How far an episode is on its way to its end.

    >>> progress_message(310, 600)
    'clear for 310 of about 600 events'
    """
    return f"clear for {n_events:,} of about {n_needed:,} events"


def ongoing_message(
    clear: RecoveryProgress | None, moved: str, since: str, how: str = "worse"
) -> str:
    """What is told of an episode that goes on: it is worse, may be over, or is not over after all.

    >>> ongoing_message(RecoveryProgress(310, 600), "mean 40 → 40.1, PSI 0", "since 2013-03-01 08:54Z")
    'clear for 310 of about 600 events, mean 40 → 40.1, PSI 0'
    >>> ongoing_message(RecoveryProgress(0, 0), "mean 40 → 52, PSI 0.4", "since 2013-03-01 08:54Z")
    'not over, mean 40 → 52, PSI 0.4, since 2013-03-01 08:54Z'
    """
    if clear is None:
        return f"{how}, {moved}, {since}"
    if not clear.n_events:
        return f"not over, {moved}, {since}"
    return f"{progress_message(*clear)}, {moved}"


def direction_of(
    reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> Direction:
    """Where to it moved: an error whose mean rose is not better, though most of its values fell."""
    direction, before = decision.suspicion.direction, reference.mean
    rose = after is not None and before is not None and after > before
    return (
        "down"
        if direction == "better" and rose and decision.phase not in ENDED_PHASES
        else direction
    )


def signal_message(
    name: str, track: str, reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> str:
    """The sentence of an alert: what moved, from where to where, how far, since when."""
    since = f"since {format_time(decision.suspicion.onset_ms)}"
    distance = f"PSI {rounded_effect(decision.effect):.2g}"
    moved = _moved(track, reference, decision, after)
    if decision.phase in ("superseded", "resolved"):
        over = f"superseded: its version is idle, or has a new reference ({moved})"
        return f"{name}: {over if decision.phase == 'superseded' else 'resolved'}"
    if track == "range":
        back = f"values are within {moved} again"
        return f"{name}: {back if decision.phase == 'recovered' else f'{moved}, {since}'}"
    if track in ("unit", "constant"):
        broken = f"{name}: {moved}, {distance}, {since}; looks like a change of unit"
        return _broken(name, broken, decision, _mean(after), since)
    if decision.phase == "recovered":
        return f"{name}: back to its reference, {moved}, {distance}"
    better = direction_of(reference, decision, after) == "better"
    if decision.phase == "ongoing":
        how = "better still" if better else "worse"
        return f"{name}: {ongoing_message(decision.clear, f'{moved}, {distance}', since, how)}"
    told = f"{moved}, better than the reference" if better else moved
    return f"{name}: {told}, {distance}, {since}"


def _broken(name: str, unit: str, decision: PhaseDecision, now: str, since: str) -> str:
    over = decision.phase == "recovered"
    if decision.suspicion.channel == "constant":
        return f"{name}: values vary again" if over else f"{name}: constant at {now} {since}"
    if over:
        return f"{name}: the unit is back ({decision.cause} is over), mean {now}"
    return f"{unit} ({decision.cause})"


def _moved(
    track: str, reference: FeatureReference, decision: PhaseDecision, after: float | None
) -> str:
    """What moved, from where to where, in the words of the track and the kind of value."""
    if track == "validity":
        before = reference.n_invalid / max(1, reference.n_events)
        after = decision.bins[1] / max(1, decision.n_events)
        return f"missing, invalid or unseen {_percent(before)} → {_percent(after)}"
    if track == "range":
        return decision.cause or ""
    usual = seasonal_reference(reference, decision)
    means = f"{usual.at} {_mean(usual.mean)} → {_mean(after)}"
    if track == "concept":
        return f"{'mean loss' if reference.kind == 'numeric' else 'error rate'}{means}"
    if reference.kind != "numeric":
        return _share(reference, decision, usual)
    if decision.suspicion.channel in OF_REST and (
        rest := _of_rest(reference, decision, usual, after)
    ):
        return rest
    same_mean = (
        after is not None
        and usual.mean is not None
        and abs(after - usual.mean) < 0.1 * (reference.sd or 0.0)
    )
    return f"mean{means}" + (f", {_share(reference, decision, usual)}" if same_mean else "")


def _of_rest(
    reference: FeatureReference,
    decision: PhaseDecision,
    usual: SeasonalReference,
    after: float | None,
) -> str:
    """What moved of the values that are not the one which most are."""
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
    moved = f"{format_number(means[0])} → {format_number(means[1])}"
    return f"mean of values other than {format_number(value)}{usual.at} {moved}"


def _mean(mean: float | None) -> str:
    return "unknown" if mean is None else format_number(mean)


def _share(reference: FeatureReference, decision: PhaseDecision, usual: SeasonalReference) -> str:
    label, before, after = biggest_move(usual.bins, decision.bins, reference.bin_labels)
    return f"share of {label}{usual.at} {_percent(before)} → {_percent(after)}"
