"""One sentence a person understands."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from stream_monitor.alerts.episode import Verdict
from stream_monitor.alerts.recovery import Clear
from stream_monitor.alerts.usual import Usual, usual_of
from stream_monitor.contracts import ENDED, Direction
from stream_monitor.reference.feature import OF_REST
from stream_monitor.reference.profile import FeatureReference
from stream_monitor.windows.distance import shown


def number(value: float) -> str:
    """Three significant digits, without needless zeros.

    >>> number(71.62), number(0.0312), number(1234567.0), number(-0.4)
    ('71.6', '0.0312', '1.23e+06', '-0.4')
    """
    return f"{value:.3g}"


def moment(time_ms: int) -> str:
    """A time as people write it, in UTC.

    >>> moment(1362128040000)
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


def clear_words(n_events: int, n_needed: int) -> str:
    """How far an episode is on its way to its end.

    >>> clear_words(310, 600)
    'clear for 310 of about 600 events'
    """
    return f"clear for {n_events:,} of about {n_needed:,} events"


def ongoing(clear: Clear | None, moved: str, since: str, how: str = "worse") -> str:
    """What is told of an episode that goes on: it is worse, may be over, or is not over after all.

    >>> ongoing(Clear(310, 600), "mean 40 → 40.1, PSI 0", "since 2013-03-01 08:54Z")
    'clear for 310 of about 600 events, mean 40 → 40.1, PSI 0'
    >>> ongoing(Clear(0, 0), "mean 40 → 52, PSI 0.4", "since 2013-03-01 08:54Z")
    'not over, mean 40 → 52, PSI 0.4, since 2013-03-01 08:54Z'
    """
    if clear is None:
        return f"{how}, {moved}, {since}"
    if not clear.n_events:
        return f"not over, {moved}, {since}"
    return f"{clear_words(*clear)}, {moved}"


def direction_of(
    reference: FeatureReference, verdict: Verdict, current_mean: float | None
) -> Direction:
    """Where to it moved: an error whose mean rose is not better, though most of its values fell."""
    direction, before = verdict.suspicion.direction, reference.mean
    rose = current_mean is not None and before is not None and current_mean > before
    return "down" if direction == "better" and rose and verdict.phase not in ENDED else direction


def describe(
    name: str,
    track: str,
    reference: FeatureReference,
    verdict: Verdict,
    current_mean: float | None,
) -> str:
    """The sentence of an alert: what moved, from where to where, how far, since when."""
    since = f"since {moment(verdict.suspicion.onset_ms)}"
    distance = f"PSI {shown(verdict.effect):.2g}"
    moved = _moved(track, reference, verdict, current_mean)
    if verdict.phase in ("superseded", "resolved"):
        over = f"superseded: its version is idle, or has a new reference ({moved})"
        return f"{name}: {over if verdict.phase == 'superseded' else 'resolved'}"
    if track == "range":
        back = f"values are within {moved} again"
        return f"{name}: {back if verdict.phase == 'recovered' else f'{moved}, {since}'}"
    if track in ("unit", "constant"):
        broken = f"{name}: {moved}, {distance}, {since}; looks like a change of unit"
        return _broken(name, broken, verdict, _mean(current_mean), since)
    if verdict.phase == "recovered":
        return f"{name}: back to its reference, {moved}, {distance}"
    better = direction_of(reference, verdict, current_mean) == "better"
    if verdict.phase == "ongoing":
        how = "better still" if better else "worse"
        return f"{name}: {ongoing(verdict.clear, f'{moved}, {distance}', since, how)}"
    told = f"{moved}, better than the reference" if better else moved
    return f"{name}: {told}, {distance}, {since}"


def _broken(name: str, unit: str, verdict: Verdict, now: str, since: str) -> str:
    over = verdict.phase == "recovered"
    if verdict.suspicion.channel == "constant":
        return f"{name}: values vary again" if over else f"{name}: constant at {now} {since}"
    if over:
        return f"{name}: the unit is back ({verdict.cause} is over), mean {now}"
    return f"{unit} ({verdict.cause})"


def _moved(
    track: str, reference: FeatureReference, verdict: Verdict, current_mean: float | None
) -> str:
    """What moved, from where to where, in the words of the track and the kind of value."""
    if track == "validity":
        before = reference.n_invalid / max(1, reference.n_events)
        after = verdict.bins[1] / max(1, verdict.n_events)
        return f"missing, invalid or unseen {_percent(before)} → {_percent(after)}"
    if track == "range":
        return verdict.cause or ""
    usual = usual_of(reference, verdict)
    means = f"{usual.at} {_mean(usual.mean)} → {_mean(current_mean)}"
    if track == "concept":
        return f"{'mean loss' if reference.kind == 'numeric' else 'error rate'}{means}"
    if reference.kind != "numeric":
        return _share(reference, verdict, usual)
    if verdict.suspicion.channel in OF_REST and (
        rest := _of_rest(reference, verdict, usual, current_mean)
    ):
        return rest
    same_mean = (
        current_mean is not None
        and usual.mean is not None
        and abs(current_mean - usual.mean) < 0.1 * (reference.sd or 0.0)
    )
    return f"mean{means}" + (f", {_share(reference, verdict, usual)}" if same_mean else "")


def _of_rest(
    reference: FeatureReference, verdict: Verdict, usual: Usual, current_mean: float | None
) -> str:
    """What moved of the values that are not the one which most are."""
    if reference.mass is None or usual.mean is None or current_mean is None:
        return ""
    value = float(reference.quantiles[reference.mass[0]])
    place = int(reference.bin_of_index[sum(reference.mass)])
    means = []
    for counts, mean in ((usual.bins, usual.mean), (verdict.bins, current_mean)):
        share = counts[place] / max(1, sum(counts))
        if share == 1:
            return ""
        means.append((mean - share * value) / (1 - share))
    moved = f"{number(means[0])} → {number(means[1])}"
    return f"mean of values other than {number(value)}{usual.at} {moved}"


def _mean(mean: float | None) -> str:
    return "unknown" if mean is None else number(mean)


def _share(reference: FeatureReference, verdict: Verdict, usual: Usual) -> str:
    label, before, after = biggest_move(usual.bins, verdict.bins, reference.bin_labels)
    return f"share of {label}{usual.at} {_percent(before)} → {_percent(after)}"
