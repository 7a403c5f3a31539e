"""An incident as it is shown: its sentence, a picture before and after, and what to do.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, get_args

import msgspec

from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.pictures import Distribution, distribution
from driftline.dashboard.recent_values import RecentValues
from driftline.dashboard.retrain_view import RetrainJob, jobs_about
from driftline.dashboard.window_series import FeatureBucket, merged_feature
from stream_monitor.contracts import ENDED_PHASES, SEVERITY_RANK, DriftAlert
from stream_monitor.episodes.causes import CauseName, Member
from stream_monitor.episodes.incidents import Incident

_BY_CAUSE: Final[tuple[tuple[str, str], ...]] = (
    ("Wrong values are sent", "Repair the source of the values. No retrain starts on broken data."),
    (
        "A new version was deployed",
        "Compare the version with its predecessor; roll back an unwanted change.",
    ),
    (
        "It returns with the season",
        "Check whether the season is known. If so, acknowledge it with the reason.",
    ),
    (
        "The population has shifted",
        "Check whether the change is real; if it lasts, a retrain is due.",
    ),
    (
        "One feature has changed",
        "Check the source of the feature. Retrain if the change is real and lasts.",
    ),
    (
        "Two features no longer belong together",
        "Check whether the sources of both features still belong together.",
    ),
    (
        "The predictions moved, no feature did",
        "Check the model server: its version, its preprocessing, its inputs.",
    ),
    (
        "The outcome has changed (concept drift)",
        "Retrain on recent labels. Check that the labels are right.",
    ),
    ("The traffic has changed", "Check the model server and the producers of events and labels."),
)
"""The label of each cause and the advice, in the order of `CauseName`."""
CAUSE_LABELS: Final[dict[CauseName, str]] = {
    name: label for name, (label, _) in zip(get_args(CauseName), _BY_CAUSE, strict=True)
}
WHAT_TO_DO: Final[dict[CauseName, str]] = {
    name: advice for name, (_, advice) in zip(get_args(CauseName), _BY_CAUSE, strict=True)
}
_PLAIN_ADVICE: Final = "Open the incident and check the source of what has changed."


class EpisodePicture(msgspec.Struct, frozen=True, kw_only=True):
    """The picture of one episode: a distribution, or the numbers before and after.

    ``feature`` is the feature whose distribution can be shown; ``None``: there is none.
    ``newest``: the distribution is that of the newest events, because no window has closed.
    """

    name: str
    feature: str | None = None
    newest: bool = False
    shape: Distribution | None = None
    before: float | None = None
    after: float | None = None
    until_ms: int = 0
    since_ms: int = 0
    reference: str = ""


class IncidentCard(msgspec.Struct, frozen=True, kw_only=True):
    """An incident with the sentence of its worst episode, its picture, and advice."""

    incident: Incident
    worst: Member
    sentence: str
    cause: str
    cause_score: float
    why: str
    advice: str
    picture: EpisodePicture | None
    n_open: int
    decision: RetrainJob | None


def incident_card(
    incident: Incident,
    alerts: Mapping[str, Sequence[DriftAlert]],
    detail: ModelDetail,
    jobs: Sequence[RetrainJob],
) -> IncidentCard:
    """The card of an incident; ``alerts`` are those of each episode, in order."""
    worst = worst_member(incident)
    cause = incident.causes[0] if incident.causes else None
    members = [member.episode_id for member in incident.members]
    decisions = jobs_about(jobs, members)
    return IncidentCard(
        incident=incident,
        worst=worst,
        sentence=worst.explanation,
        cause="Unknown" if cause is None else CAUSE_LABELS[cause.name],
        cause_score=0.0 if cause is None else cause.score,
        why=incident.explanation if cause is None else cause.why,
        advice=_PLAIN_ADVICE if cause is None else WHAT_TO_DO[cause.name],
        picture=episode_picture(alerts.get(worst.episode_id, ()), detail),
        n_open=sum(member.ended_ms is None for member in incident.members),
        decision=decisions[0] if decisions else None,
    )


def with_newest_events(
    card: IncidentCard, detail: ModelDetail, recent: RecentValues
) -> IncidentCard:
    """The card with a distribution of the newest events, while no window since the onset closed.

    An incident that has ended keeps its numbers: the newest events are not those of the episode.
    """
    picture, profile = card.picture, detail.reference_of(card.worst.version)
    if picture is None or picture.feature is None or picture.until_ms or profile is None:
        return card
    reference, fresh = (
        profile.features.get(picture.feature), recent.features.get(picture.feature),
    )  # fmt: skip
    if reference is None or fresh is None:
        return card
    shape = distribution(reference, fresh)
    newest = msgspec.structs.replace(
        picture, shape=shape, newest=True, since_ms=fresh.start_ms, until_ms=fresh.end_ms
    )
    return msgspec.structs.replace(card, picture=newest)


def worst_member(incident: Incident) -> Member:
    """The open episode of the highest severity; of a resolved incident, any episode."""
    members = [m for m in incident.members if m.ended_ms is None] or incident.members
    return max(members, key=lambda m: (SEVERITY_RANK[m.severity], m.effect))


def worst_first(incidents: Iterable[Incident]) -> list[Incident]:
    """Open incidents before resolved ones, then by severity, then the newest."""
    return sorted(
        incidents,
        key=lambda i: (
            i.closed_ms is not None,
            i.acknowledged,
            -SEVERITY_RANK[i.severity],
            -i.opened_ms,
        ),
    )


def alerts_by_episode(alerts: Iterable[DriftAlert]) -> dict[str, list[DriftAlert]]:
    """The alerts of each episode, in the order of their decisions."""
    found: dict[str, list[DriftAlert]] = {}
    for alert in sorted(alerts, key=lambda a: (a.partition, a.decided_offset, a.alert_id)):
        found.setdefault(alert.episode_id, []).append(alert)
    return found


def episode_picture(alerts: Sequence[DriftAlert], detail: ModelDetail) -> EpisodePicture | None:
    """The distribution of a feature's reference, and of its values since the onset.

    Where there is none (a prediction, the error, the traffic), the numbers before and after.
    """
    if not alerts:
        return None
    first, shown = alerts[0], last_drift(alerts)
    since, until = first.onset_ms, _ended_ms(alerts)
    shape = feature = None
    profile = detail.reference_of(first.version)
    if first.feature is not None and profile is not None and first.segment is None:
        feature = first.feature
        reference = profile.features.get(first.feature)
        if reference is not None:
            windows = detail.windows_of(first.version).windows
            fresh: FeatureBucket | None = merged_feature(
                windows, first.feature, reference, since, until or _end_of(windows)
            )
            shape = distribution(reference, fresh) if fresh is not None else None
    if shape is None and shown.before is None:
        return None
    return EpisodePicture(
        name=first.feature or first.series,
        feature=feature,
        shape=shape,
        before=shown.before,
        after=shown.after,
        since_ms=since,
        until_ms=until,
        reference=f"version {first.version}, from {first.reference.replace('_', '-')}",
    )


def _end_of(windows: Sequence[msgspec.Struct]) -> int:
    return max((getattr(window, "end_ms", 0) for window in windows), default=0)


def last_drift(alerts: Sequence[DriftAlert]) -> DriftAlert:
    """The latest alert that describes the change, not its end or an answer to it."""
    about = [a for a in alerts if a.phase in ("started", "ongoing") and not a.recovery_events]
    return about[-1] if about else alerts[0]


def _ended_ms(alerts: Sequence[DriftAlert]) -> int:
    return next((a.decided_ms for a in alerts if a.phase in ENDED_PHASES), 0)
