"""The possible causes of an incident, ranked, each with its evidence.  Pure.

A score is between 0 and 1: the share of the episodes that the cause explains, weighed by severity.
Scores of different causes need not add up to 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Literal, TypeAlias

import msgspec

from producer.names import unescape
from stream_monitor.contracts import SEVERITY_RANK, Kind, Severity
from stream_monitor.episodes.formatting import format_time

CauseName: TypeAlias = Literal[
    "data_break",
    "new_deploy",
    "season",
    "population_shift",
    "feature_change",
    "relation_change",
    "prediction_change",
    "concept_change",
    "traffic_change",
]
_HOUR_MS: Final = 3_600_000
_DAY_MS: Final = 24 * _HOUR_MS
_SAME_HOUR_MS: Final = 2 * _HOUR_MS
_MIN_RETURNS: Final = 2


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """One episode of an incident, as of its latest alert; ``ended_ms`` null: it is open.

    ``feature`` is null for a prediction, the error, a feature correlation, and the traffic.
    """

    episode_id: str
    version: str
    series: str
    name: str
    kind: Kind
    broken: bool
    severity: Severity
    effect: float
    onset_ms: int
    started_ms: int
    ended_ms: int | None
    acknowledged_by: str | None
    explanation: str
    feature: str | None = None

    @property
    def weight(self) -> int:
        """The weight of the episode in scores."""
        return SEVERITY_RANK[self.severity]


class Cause(msgspec.Struct, frozen=True):
    """A possible cause, the share of the incident that it explains, and the evidence."""

    name: CauseName
    score: float
    why: str


def ranked_causes(
    members: Sequence[Member],
    before: Mapping[tuple[str, Kind], Sequence[int]],
    deploys: Mapping[str, int],
    *,
    shift_features: int,
    window_ms: int,
) -> list[Cause]:
    """The causes that explain a part of ``members``, the likeliest first.

    ``before`` are the onsets of earlier episodes by series and kind; ``deploys`` the event times at
    which each version was put into service.  A shift of the population needs several features that
    drift; it is certain from ``shift_features`` of them on.
    """
    total = sum(member.weight for member in members)
    found = [
        _data_break(members, total),
        _new_deploy(members, deploys, window_ms),
        _season(members, before),
        _movement(members, total, shift_features),
        _concept_change(members, total),
        _traffic_change(members, total),
    ]
    found = [cause for cause in found if cause.score > 0]
    return sorted(found, key=lambda cause: (-cause.score, cause.name))


def names_of(members: Sequence[Member], at_most: int = 3) -> str:
    """The names of the series, the most severe first."""
    worst = sorted(members, key=lambda m: (-m.weight * max(m.effect, 0.0), m.name))
    names = list(dict.fromkeys(member.name for member in worst))
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(names[:at_most]) + more


def _share(some: Sequence[Member], total: int) -> float:
    return round(sum(member.weight for member in some) / total, 3) if total else 0.0


def _data_break(members: Sequence[Member], total: int) -> Cause:
    broken = [member for member in members if member.broken]
    return Cause("data_break", _share(broken, total), f"{names_of(broken)}: wrong values are sent")


def _new_deploy(members: Sequence[Member], deploys: Mapping[str, int], window_ms: int) -> Cause:
    """The score falls from 1 at the start of the version to 0 a window later."""
    best = Cause("new_deploy", 0.0, "")
    onset_ms = min(member.onset_ms for member in members)
    for version in {member.version for member in members} & deploys.keys():
        after_ms = max(0, onset_ms - deploys[version])
        score = round(1 - after_ms / window_ms, 3) if onset_ms >= deploys[version] else 0.0
        if score > best.score:
            since = format_time(deploys[version])
            best = Cause("new_deploy", score, f"version {version} went into service at {since}")
    return best


def _season(members: Sequence[Member], before: Mapping[tuple[str, Kind], Sequence[int]]) -> Cause:
    """Series that drifted at the same hour of at least two other days."""
    score, why = 0.0, ""
    for member in members:
        gaps = [
            member.onset_ms - earlier_ms
            for earlier_ms in before.get((member.series, member.kind), ())
            if member.onset_ms - earlier_ms > _DAY_MS // 2
        ]
        off = [min(gap % _DAY_MS, -gap % _DAY_MS) for gap in gaps]
        returns = sum(each <= _SAME_HOUR_MS for each in off)
        if returns >= _MIN_RETURNS and returns / len(gaps) > score:
            score = round(returns / len(gaps), 3)
            why = f"{member.name} drifted {returns} times before at this hour of the day"
    return Cause("season", score, why)


def _movement(members: Sequence[Member], total: int, shift_features: int) -> Cause:
    """What drifted: one feature, with its correlations and the predictions, or many features.

    A feature that drifts in one segment, or in three, is one feature.  Two features whose
    correlation changed count as one: drift of one of them is enough for that.
    """
    moved = [m for m in members if m.kind in ("data", "prediction") and not m.broken]
    features = {m.feature for m in moved if m.feature is not None}
    groups = _uncorrelated(features, _correlated(moved))
    broken = {m.feature for m in members if m.broken and m.feature is not None}
    by_itself = [m for m in moved if not _ends(m) & (features | broken)]
    sure = 0.5 + 0.5 * min(1.0, len(groups) / shift_features)
    score = round(sure * _share(moved, total), 3)
    predicted = any(m.kind == "prediction" for m in moved)
    prediction = ", and so did the predictions" if predicted else ""
    who = names_of(by_itself)
    if len(groups) > 1:
        why = f"{len(features)} features moved{prediction}: {who}"
        return Cause("population_shift", score, why)
    if features:
        who = names_of([m for m in by_itself if m.feature is not None])
        return Cause("feature_change", score, f"{who} moved{prediction}")
    correlated = [m for m in by_itself if _ends(m)]
    if correlated:
        first, second = correlated[0].series.partition("/")[2].split("~")
        why = f"the correlation of {unescape(first)} and {unescape(second)} changed"
        return Cause("relation_change", score, why)
    return Cause("prediction_change", score, f"{who}: the predictions moved, and no feature did")


def _ends(member: Member) -> set[str]:
    """The two features of a correlation; empty for other series."""
    kind, _, name = member.series.partition("/")
    return {unescape(end) for end in name.split("~")} if kind == "relation" else set()


def _correlated(members: Sequence[Member]) -> list[set[str]]:
    return [ends for ends in map(_ends, members) if ends]


def _uncorrelated(features: AbstractSet[str], correlated: Sequence[set[str]]) -> list[set[str]]:
    """The features in groups, those of one correlation together.

    >>> [sorted(group) for group in _uncorrelated({"a", "b", "c"}, [{"a", "c"}, {"b", "x"}])]
    [['a', 'c'], ['b']]
    """
    groups = [{name} for name in sorted(features)]
    for ends in correlated:
        joined = [group for group in groups if group & ends]
        if len(joined) > 1:
            groups = [group for group in groups if not group & ends] + [set().union(*joined)]
    return sorted(groups, key=min)


def _concept_change(members: Sequence[Member], total: int) -> Cause:
    lost = [member for member in members if member.kind == "concept"]
    why = "the labels show that the error of the model changed"
    return Cause("concept_change", _share(lost, total), why)


def _traffic_change(members: Sequence[Member], total: int) -> Cause:
    traffic = [member for member in members if member.kind in ("volume", "labels")]
    worst = max(traffic, key=lambda m: (m.weight, m.effect), default=None)
    why = "" if worst is None else worst.explanation
    return Cause("traffic_change", _share(traffic, total), why)
