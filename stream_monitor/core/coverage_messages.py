"""The sentences about what is not watched: what, how much, since when, why, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from stream_monitor.core.coverage import UNITS, CoverageReason
from stream_monitor.episodes.messages import format_time

_NAMED: Final = 5


class CoverageGap(NamedTuple):
    """What a sentence about a reason needs.

    ``names`` are the features, versions or models it is about, the most frequent first; ``n`` is
    how much of its unit came in the last hour, ``share`` that of the model's events, where the
    reason counts events.  ``n_total`` of ``n_needed`` events have become the reference so far.
    """

    reason: CoverageReason
    model: str
    version: str
    names: Sequence[str]
    n: int
    share: float
    since_ms: int
    n_total: int
    n_needed: int


def listed(names: Sequence[str]) -> str:
    """Some names, and how many more there are.

    >>> listed(["a", "b"]), listed(list("abcdefg"))
    ('a, b', 'a, b, c, d, e and 2 more')
    """
    named = [name or "others" for name in names]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def _plural(n: int, word: str) -> str:
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"


def _warming_up(gap: CoverageGap) -> str:
    return (
        f"its first {gap.n_needed:,} events become its reference ({min(gap.n_total, gap.n_needed):,} "
        f"so far).  To watch a version from its first event, announce it with a profile: "
        f"driftline profile build, then driftline profile send"
    )


def _no_profile(_: CoverageGap) -> str:
    return (
        "the model moved to this partition when partitions or shards were added, and nobody has "
        "copied its reference here yet.  Run driftline topics grow: it copies what is missing"
    )


def _version_over_limit(gap: CoverageGap) -> str:
    return (
        f"the model is at its limit of versions ({listed(gap.names)} over it).  Use one version "
        "name per deploy, not per build, or raise [monitor] max_versions"
    )


def _model_over_limit(gap: CoverageGap) -> str:
    return (
        f"the partition is at its limit of models ({listed(gap.names)} over it).  "
        "Raise [monitor] max_models, or stop the producer that makes up model names"
    )


def _nothing_comparable(_: CoverageGap) -> str:
    return (
        "the reference has no feature and no prediction that can be compared.  Build a profile "
        "from at least 300 rows: driftline profile build says what it leaves out, and why"
    )


def _stale(_: CoverageGap) -> str:
    return (
        "their producer sent them to the wrong partition: it knows an old number of partitions or "
        "shards.  Restart it, or wait until it refreshes its metadata"
    )


def _not_comparable(gap: CoverageGap) -> str:
    return (
        f"the reference does not have {listed(gap.names)}.  If they matter, build the profile from "
        "data that has them; if not, resolve this episode"
    )


def _too_short(gap: CoverageGap) -> str:
    return (
        f"the reference has too few values of {listed(gap.names)} (300 are needed).  Build the "
        "profile from more rows; if they do not matter, resolve this episode"
    )


def _prediction_absent(_: CoverageGap) -> str:
    return (
        "the reference has predictions and these events have none, so only their inputs are "
        "watched.  Log prediction= with each event, None where the model failed (a serializer that "
        "leaves out nulls hides that); if it is meant so, resolve this episode"
    )


def _label_elsewhere(_: CoverageGap) -> str:
    return (
        "partitions or shards were added after their predictions, or their writer knows an old "
        "number of them, so they join no prediction.  This passes with the label horizon; write "
        "labels with driftline's writers, under the key of their prediction"
    )


def _label_not_comparable(_: CoverageGap) -> str:
    return (
        "they cannot be compared with their predictions.  Send labels of the type of the "
        "prediction, or name the positive one in the profile (--positive)"
    )


def _label_unwatched(_: CoverageGap) -> str:
    return (
        "the versions of their predictions gave way to newer ones and are not watched any more.  "
        "If such labels matter, raise [monitor] max_versions"
    )


def _label_warming_up(_: CoverageGap) -> str:
    return "their version was warming up and had no reference yet; later labels are compared"


def _replaced(_: CoverageGap) -> str:
    return (
        "somebody announced the same version with another profile, and events are compared with "
        "that one from now on.  driftline audit MODEL names who did it"
    )


_WHY: Final[dict[CoverageReason, Callable[[CoverageGap], str]]] = {
    "warming_up": _warming_up,
    "no_profile": _no_profile,
    "version_over_limit": _version_over_limit,
    "model_over_limit": _model_over_limit,
    "nothing_comparable": _nothing_comparable,
    "routed_by_stale_metadata": _stale,
    "feature_not_comparable": _not_comparable,
    "series_too_short": _too_short,
    "prediction_absent": _prediction_absent,
    "label_prediction_elsewhere": _label_elsewhere,
    "label_not_comparable": _label_not_comparable,
    "label_version_unwatched": _label_unwatched,
    "label_warming_up": _label_warming_up,
    "reference_replaced": _replaced,
}


def sentence(gap: CoverageGap) -> str:
    """What is not watched, since when, how much, why, and what to do.

    >>> gap = CoverageGap("nothing_comparable", "m", "1", [], 310, 0.4, 1362128040000, 310, 0)
    >>> sentence(gap)[:80]
    'coverage: 310 events of version 1 in the last hour are not watched (40 % of the '
    """
    since = f"since {format_time(gap.since_ms)}"
    of = f" of version {gap.version}" if gap.version else ""
    unit = UNITS[gap.reason]
    if gap.reason == "prediction_absent":
        what = (
            f"{_plural(gap.n, 'event')}{of} in the last hour {_have(gap.n)} no prediction {since}"
        )
    elif unit == "feature":
        what = (
            f"{_plural(len(gap.names), 'feature')}{of} {_are(len(gap.names))} not watched {since}"
        )
    elif gap.reason == "model_over_limit":
        what = (
            f"{_plural(gap.n, 'event')} of {_plural(len(gap.names), 'model')} in the last hour "
            f"{_are(gap.n)} not watched {since}"
        )
    elif unit == "event":
        part = f"{_percent(gap.share)} of the traffic" if gap.share < 1 else "all of the traffic"
        what = (
            f"{_plural(gap.n, 'event')}{of} in the last hour {_are(gap.n)} not watched ({part}) "
            f"{since}"
        )
    elif gap.reason == "reference_replaced":
        what = f"the reference{of} was replaced {since}"
    else:
        label = "label" if unit == "label" else "record"
        what = f"{_plural(gap.n, label)}{of} in the last hour {_are(gap.n)} not used {since}"
    return f"coverage: {what}: {_WHY[gap.reason](gap)}"


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _have(n: int) -> str:
    return "has" if n == 1 else "have"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def sentence_over(
    reason: CoverageReason, version: str, n: int, since_ms: int, *, is_watched: bool = False
) -> str:
    """The sentence of an episode that ended; ``is_watched``: because its version is watched now.

    >>> sentence_over("warming_up", "3", 2000, 1362128040000, is_watched=True)
    'coverage: version 3 is watched now; 2,000 events since 2013-03-01 08:54Z were not'
    """
    since = f"since {format_time(since_ms)}"
    if is_watched:
        return f"coverage: version {version} is watched now; {_plural(n, 'event')} {since} were not"
    of = f" of version {version}" if version else ""
    if reason == "reference_replaced":
        return f"coverage: the new reference{of} is in place {since}"
    unit = UNITS[reason]
    what = "values" if unit == "feature" else f"{unit}s"
    said = reason.replace("_", " ")
    return f"coverage: no more {what}{of} come ({said}); {n:,} {since} were not watched"
