"""The decision on one alert: request a retrain, decline it, cancel a waiting job, or ignore it.

Every rule uses only the alert, its event time (``decided_ms``) and the model's history, so a
replay decides the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from stream_monitor.contracts import REJECTED, DriftAlert
from trainer.policy.data_quality_guard import (
    QualityEpisode,
    is_data_quality,
    open_quality_episode,
    valid_since_ms,
)
from trainer.policy.retrain_policy import DAY_MS, RetrainPolicy

Action: TypeAlias = Literal["request", "decline", "cancel", "ignore"]
Numbers: TypeAlias = dict[str, float | int | str | None]

DEFERRABLE: Final = frozenset(
    {
        "old_version",
        "immaterial",
        "rejected",
        "data_quality_open",
        "already_running",
        "cooldown",
        "daily_budget",
        "swapped",
    }
)
"""Rules that decline for a while only.

The trainer decides on the alert again when its episode worsens, and when the rule no longer applies
while the episode is open.  The same holds for the alert of a job that `requeue` or a swap of
versions cancelled.
"""
_HOUR_MS: Final = 3_600_000
_SEVERITIES: Final = ("low", "medium", "high")


class History(NamedTuple):
    """The trainer's earlier decisions about a model; all times are event time.

    ``champion`` is None without a recorded promotion: then the champion is known only to the
    monitor, and an alert of another version names it.  ``champion_ms`` is the time of its
    promotion.  ``asked_ms`` has the times at which jobs were requested, ``finished_ms`` the end of
    the last job.  ``episode_decided``: the alert's episode has a final decision,
    or its job runs.  ``rejected_ms`` is the end of the last job of the episode whose challenger was
    rejected.  ``waiting_episode_id`` is the episode of a job that waits for labels.  ``quality``
    has the quality episodes of the alert's feature and version, open and ended.
    """

    champion: str | None = None
    champion_ms: int = 0
    has_factory: bool = True
    running_job_id: str | None = None
    waiting_episode_id: str | None = None
    episode_decided: bool = False
    rejected_ms: int | None = None
    finished_ms: int | None = None
    asked_ms: tuple[int, ...] = ()
    quality: tuple[QualityEpisode, ...] = ()


class Decision(NamedTuple):
    """``rule`` names the rule that decided, ``reason`` explains it, ``numbers`` has its inputs."""

    action: Action
    rule: str
    reason: str = ""
    numbers: Numbers = {}  # noqa: RUF012 - never changed


def decide(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision:
    """Decide on one alert.

    An episode is decided on once, at its first alert, unless a rule of `DEFERRABLE` declined it, or
    its challenger was rejected (`trainer.jobs.deferred_alerts`).  The first rule that applies
    decides, in this order: a drill, coverage, rejected records, an ended episode, a person's
    decision, a recovering episode, an episode decided before, no factory, traffic, data quality, an
    improvement, an old version, an immaterial change, a recent rejection, the data-quality guard, a
    running job, cooldown, daily budget.
    """
    if (rule := _not_about_the_model(alert)) is not None:
        return Decision("ignore", rule)
    if alert.phase in _END_REASONS:
        if history.waiting_episode_id == alert.episode_id:
            return Decision("cancel", alert.phase, _END_REASONS[alert.phase], _alert_numbers(alert))
        return Decision("ignore", "over")
    ignored = _ignored(alert, history)
    if ignored is not None:
        return Decision("ignore", ignored)
    return _declined(alert, history, policy) or _request(alert, history, policy)


def _ignored(alert: DriftAlert, history: History) -> str | None:
    """Return the rule that ignores an alert of an open episode, if there is one."""
    if alert.phase in ("acknowledged", "snoozed"):
        return "person"
    if alert.recovery_events:
        return "clear"  # it may end; the next alert shows whether it did
    return "episode_decided" if history.episode_decided else None


def _not_about_the_model(alert: DriftAlert) -> str | None:
    """Return the rule that ignores alerts without information about the model."""
    if alert.drill:
        return "drill"
    if alert.kind == "coverage":  # events that are not watched
        return "coverage"
    return "rejected_records" if alert.cause == REJECTED else None  # such records train no model


def _request(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision:
    """Request a retrain; labels count from `labels_since_ms`."""
    since_ms = labels_since_ms(alert, history)
    since = "the end of its broken data"
    if since_ms == alert.onset_ms:
        since = "the onset"
    elif since_ms == history.rejected_ms:
        since = "the rejected retrain"
    return Decision(
        "request",
        "drift",
        f"{alert.explanation} The retrain starts with {policy.min_labelled_events:,} labelled "
        f"events since {since}.",
        _alert_numbers(alert)
        | {"labels_since_ms": since_ms, "min_labelled_events": policy.min_labelled_events},
    )


def labels_since_ms(alert: DriftAlert, history: History) -> int:
    """Return the event time from which labelled events count for the start of a retrain.

    That is the onset, the end of broken data after it, or the last rejected retrain of the episode:
    a new decision needs new evidence.
    """
    return max(valid_since_ms(alert, history.quality), history.rejected_ms or 0)


def _declined(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision | None:
    """Return the decision of the first rule that declines, if there is one."""
    for rule in (_not_trainable, _immaterial, _rejected_recently, _data_quality_guard, _over_limit):
        declined = rule(alert, history, policy)
        if declined is not None:
            return declined._replace(numbers=_alert_numbers(alert) | declined.numbers)
    return None


def limit_reached(now_ms: int, history: History, policy: RetrainPolicy) -> Decision | None:
    """Return the first limit that forbids a retrain at event time ``now_ms``, if there is one."""
    for rule in (_already_running, _in_cooldown, _over_daily_budget):
        declined = rule(now_ms, history, policy)
        if declined is not None:
            return declined
    return None


def _over_limit(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision | None:
    return limit_reached(alert.decided_ms, history, policy)


def _not_trainable(alert: DriftAlert, history: History, _policy: RetrainPolicy) -> Decision | None:
    """Decline an alert on which no retrain is possible or useful."""
    if not history.has_factory:
        reason = f"No factory is configured for {alert.model}: nothing can be trained."
        return Decision("decline", "no_factory", reason)
    if alert.kind in ("volume", "labels"):
        reason = f"{alert.explanation} Volume and delay of traffic cannot train a model."
        return Decision("decline", "traffic", reason)
    if is_data_quality(alert):
        why = _SCHEMA_REASON if alert.cause == "schema" else _DATA_QUALITY_REASON
        reason = f"{alert.explanation} {why}"
        return Decision("decline", "data_quality", reason)
    if is_improvement(alert):
        reason = (
            f"{alert.explanation} The error is lower than in the reference, so there is nothing to "
            "repair. A new reference would describe the model."
        )
        return Decision("decline", "improved", reason)
    for champion in (history.champion, alert.champion):
        if champion is not None and alert.version != champion:
            reason = (
                f"Version {alert.version} is not the champion ({champion} is). Only episodes of "
                "the champion request a retrain."
            )
            return Decision("decline", "old_version", reason)
    return None


def _immaterial(alert: DriftAlert, _history: History, policy: RetrainPolicy) -> Decision | None:
    """Decline drift of the predictions, and drift of the inputs that is too small to matter.

    The severity weighs the size of a change with the importance of its feature.  A change of the
    error itself always matters.  Predictions follow from the inputs, so that their drift has its
    cause there, and its effect in the error; both have alerts of their own.
    """
    if alert.kind == "prediction":
        reason = (
            f"{alert.explanation} Drift of predictions alone trains nothing: drift of the inputs "
            "or of the error does."
        )
        return Decision("decline", "immaterial", reason)
    if alert.kind != "data":
        return None
    if _SEVERITIES.index(alert.severity) >= _SEVERITIES.index(policy.min_severity):
        return None
    reason = (
        f"{alert.explanation} Its severity is {alert.severity}, and a retrain needs "
        f"{policy.min_severity}: such a change has little effect on the error."
    )
    return Decision("decline", "immaterial", reason)


def _rejected_recently(
    alert: DriftAlert, history: History, _policy: RetrainPolicy
) -> Decision | None:
    """Decline an episode that has not lasted twice as long as when its challenger was rejected.

    A challenger that learns from little more than the rejected one would be rejected again; so an
    episode without a remedy costs a few fits, however long it lasts.
    """
    if history.rejected_ms is None:
        return None
    lasted_ms = alert.decided_ms - alert.onset_ms
    rejected_after_ms = history.rejected_ms - alert.onset_ms
    if lasted_ms >= 2 * rejected_after_ms:
        return None
    reason = (
        f"{alert.explanation} A challenger was rejected {_hours(max(0, rejected_after_ms))} after "
        "the onset; the next retrain starts when the drift has lasted twice as long."
    )
    numbers: Numbers = {"lasted_ms": lasted_ms, "rejected_after_ms": rejected_after_ms}
    return Decision("decline", "rejected", reason, numbers)


def is_improvement(alert: DriftAlert) -> bool:
    """Whether the alert is about an error below the reference."""
    return alert.direction == "better"


def requeue(waiting_alert: DriftAlert, quality: Sequence[QualityEpisode]) -> Decision | None:
    """Cancel a job that waits for labels, if the data of its alert's feature broke meanwhile."""
    broken = _declined_for_data_quality(waiting_alert, quality)
    if broken is None:
        return None
    return broken._replace(action="cancel", numbers=_alert_numbers(waiting_alert) | broken.numbers)


def _data_quality_guard(
    alert: DriftAlert, history: History, _policy: RetrainPolicy
) -> Decision | None:
    return _declined_for_data_quality(alert, history.quality)


def _declined_for_data_quality(
    alert: DriftAlert, quality: Sequence[QualityEpisode]
) -> Decision | None:
    broken = open_quality_episode(alert, quality)
    if broken is None:
        return None
    reason = (
        f"{alert.explanation} Its data are broken ({broken.explanation}). The trainer decides "
        "again when they are repaired."
    )
    numbers: Numbers = {"quality_episode": broken.episode_id, "quality_onset_ms": broken.start_ms}
    return Decision("decline", "data_quality_open", reason, numbers)


def _already_running(_now_ms: int, history: History, _policy: RetrainPolicy) -> Decision | None:
    if history.running_job_id is None:
        return None
    reason = "A retrain of this model is running; it uses these events too."
    return Decision("decline", "already_running", reason, {"job": history.running_job_id})


def _in_cooldown(now_ms: int, history: History, policy: RetrainPolicy) -> Decision | None:
    if history.finished_ms is None:
        return None
    since_last_retrain_ms = now_ms - history.finished_ms
    if since_last_retrain_ms >= policy.cooldown_ms:
        return None
    reason = (
        f"The last retrain ended {_hours(max(0, since_last_retrain_ms))} ago; the cooldown is "
        f"{_hours(policy.cooldown_ms)}."
    )
    numbers: Numbers = {
        "since_last_retrain_ms": since_last_retrain_ms,
        "cooldown_ms": policy.cooldown_ms,
    }
    return Decision("decline", "cooldown", reason, numbers)


def _over_daily_budget(now_ms: int, history: History, policy: RetrainPolicy) -> Decision | None:
    today = sum(now_ms - DAY_MS < asked <= now_ms for asked in history.asked_ms)
    if today < policy.max_retrains_per_day:
        return None
    reason = f"{today} retrains within 24 h; at most {policy.max_retrains_per_day} are allowed."
    numbers: Numbers = {"retrains": today, "max_retrains_per_day": policy.max_retrains_per_day}
    return Decision("decline", "daily_budget", reason, numbers)


_END_REASONS: Final = {
    "recovered": "The drift ended before there were enough labels.",
    "superseded": "Another version or episode replaced it before there were enough labels.",
    "resolved": "A person resolved the drift before there were enough labels.",
}


_DATA_QUALITY_REASON: Final = "This is broken data, not drift: repair the source."
_SCHEMA_REASON: Final = (
    "The model does not use this feature, so a retrain would learn nothing from it."
)


def _alert_numbers(alert: DriftAlert) -> Numbers:
    return {
        "kind": alert.kind,
        "series": alert.series,
        "severity": alert.severity,
        "effect": alert.effect,
        "onset_ms": alert.onset_ms,
        "decided_ms": alert.decided_ms,
    }


def _hours(duration_ms: int) -> str:
    return f"{duration_ms / _HOUR_MS:.1f} h"
