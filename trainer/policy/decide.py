"""What an alert leads to: a retrain, a refusal with its reason, the end of a waiting job, nothing.

Every rule looks at event time (the alert's ``decided_ms``) and at what was decided before, so a
replayed year is decided as it was the first time.
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
    {"old_version", "data_quality_open", "already_running", "cooldown", "daily_budget"}
)
"""Refusals for a while: an episode refused by one of these is decided on again when it worsens, and
when the while is over and it is still there.  So is one whose waiting job `requeue` has ended."""
_HOUR_MS: Final = 3_600_000


class History(NamedTuple):
    """What was decided on a model so far.

    ``champion`` is None where no promotion is recorded: then the one of the log serves, which an
    alert names where it is another version's.  ``champion_ms`` is when that was promoted.
    ``asked_ms`` are the alert times of its jobs, ``finished_ms`` that of the last one's end,
    ``episode_decided`` whether the alert's episode was decided on before, for good.
    ``waiting_episode_id`` is the episode a job waits for labels on.  ``quality`` are the episodes
    of broken data of the alert's feature and version, those that are over too.
    """

    champion: str | None = None
    champion_ms: int = 0
    has_factory: bool = True
    running_job_id: str | None = None
    waiting_episode_id: str | None = None
    episode_decided: bool = False
    finished_ms: int | None = None
    asked_ms: tuple[int, ...] = ()
    quality: tuple[QualityEpisode, ...] = ()


class Decision(NamedTuple):
    """``rule`` names what decided, ``reason`` says it to a person, ``numbers`` is what it saw."""

    action: Action
    rule: str
    reason: str = ""
    numbers: Numbers = {}  # noqa: RUF012 - nobody writes to it


def decide(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision:
    """The decision on one alert.

    An episode is decided on once, at the first alert that tells it is there; a refusal for a while
    (`DEFERRABLE`) is none: its next alert, which says that it got worse, is decided on again, and
    so is the same one later (`trainer.jobs.deferred_alerts`).
    The first rule that applies, in this order, decides: a drill, coverage, rejected records, over,
    a person's word, about to be over, known, no factory, traffic, data quality, an improvement,
    old version, broken data of its feature, a job runs, cooldown, budget.
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
    """Why an alert of an open episode leads to nothing, if it does not."""
    if alert.phase in ("acknowledged", "snoozed"):
        return "person"
    if alert.recovery_events:
        return "clear"  # it may be over: whether it is, its next alert says
    return "episode_decided" if history.episode_decided else None


def _not_about_the_model(alert: DriftAlert) -> str | None:
    """The rule that applies to alerts that say nothing of the model, whatever was decided."""
    if alert.drill:
        return "drill"
    if alert.kind == "coverage":  # of what is not watched
        return "coverage"
    return "rejected_records" if alert.cause == REJECTED else None  # such records train no model


def _request(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision:
    """Labels count from where events prove the drift: while its data were broken, none did."""
    since_ms = valid_since_ms(alert, history.quality)
    since = "the onset" if since_ms == alert.onset_ms else "its broken data were mended"
    return Decision(
        "request",
        "drift",
        f"{alert.explanation} Retraining once {policy.min_labelled_events:,} labelled events since "
        f"{since} are there.",
        _alert_numbers(alert)
        | {"labels_since_ms": since_ms, "min_labelled_events": policy.min_labelled_events},
    )


def _declined(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision | None:
    """The first rule that says no, if there is one."""
    for rule in (
        _not_trainable,
        _data_quality_guard,
        _already_running,
        _in_cooldown,
        _over_daily_budget,
    ):
        refusal = rule(alert, history, policy)
        if refusal is not None:
            return refusal._replace(numbers=_alert_numbers(alert) | refusal.numbers)
    return None


def _not_trainable(alert: DriftAlert, history: History, _policy: RetrainPolicy) -> Decision | None:
    """Nothing can, or nothing should, be learnt because of this alert."""
    if not history.has_factory:
        reason = f"No factory is configured for {alert.model}: nothing can be trained."
        return Decision("decline", "no_factory", reason)
    if alert.kind in ("volume", "labels"):
        reason = f"{alert.explanation} How much comes, or when, says nothing a model could learn."
        return Decision("decline", "traffic", reason)
    if is_data_quality(alert):
        advice = _SCHEMA_REASON if alert.cause == "schema" else _DATA_QUALITY_REASON
        return Decision("decline", "data_quality", f"{alert.explanation} {advice}")
    if is_improvement(alert):
        reason = (
            f"{alert.explanation} The model errs less than its reference says: there is nothing "
            "to mend; a new reference would describe it."
        )
        return Decision("decline", "improved", reason)
    for champion in (history.champion, alert.champion):
        if champion is not None and alert.version != champion:
            reason = (
                f"Version {alert.version} is watched, but {champion} is the champion: only its "
                "episodes ask for a retrain."
            )
            return Decision("decline", "old_version", reason)
    return None


def is_improvement(alert: DriftAlert) -> bool:
    """Whether an alert says that the error is lower than in the reference."""
    return alert.direction == "better"


def requeue(waiting_alert: DriftAlert, quality: Sequence[QualityEpisode]) -> Decision | None:
    """The end of a job that waits for labels on this alert: data of its feature broke meanwhile."""
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
        f"{alert.explanation} Its data are broken meanwhile ({broken.explanation}): decided again "
        "when they are mended."
    )
    numbers: Numbers = {"quality_episode": broken.episode_id, "quality_onset_ms": broken.start_ms}
    return Decision("decline", "data_quality_open", reason, numbers)


def _already_running(
    _alert: DriftAlert, history: History, _policy: RetrainPolicy
) -> Decision | None:
    if history.running_job_id is None:
        return None
    reason = "A retrain of this model runs already; it will see these events too."
    return Decision("decline", "already_running", reason, {"job": history.running_job_id})


def _in_cooldown(alert: DriftAlert, history: History, policy: RetrainPolicy) -> Decision | None:
    if history.finished_ms is None:
        return None
    since_last_retrain_ms = alert.decided_ms - history.finished_ms
    if since_last_retrain_ms >= policy.cooldown_ms:
        return None
    reason = (
        f"The last retrain ended {_hours(max(0, since_last_retrain_ms))} before; a model rests for "
        f"{_hours(policy.cooldown_ms)}."
    )
    numbers: Numbers = {
        "since_last_retrain_ms": since_last_retrain_ms,
        "cooldown_ms": policy.cooldown_ms,
    }
    return Decision("decline", "cooldown", reason, numbers)


def _over_daily_budget(
    alert: DriftAlert, history: History, policy: RetrainPolicy
) -> Decision | None:
    today = sum(alert.decided_ms - DAY_MS < asked <= alert.decided_ms for asked in history.asked_ms)
    if today < policy.max_retrains_per_day:
        return None
    reason = f"{today} retrains within 24 h; {policy.max_retrains_per_day} are allowed."
    numbers: Numbers = {"retrains": today, "max_retrains_per_day": policy.max_retrains_per_day}
    return Decision("decline", "daily_budget", reason, numbers)


_END_REASONS: Final = {
    "recovered": "The drift went away before there were enough labels.",
    "superseded": "Another version, or another episode, took over before there were enough labels.",
    "resolved": "A person resolved the drift before there were enough labels.",
}


_DATA_QUALITY_REASON: Final = "This is broken data, not a changed world: mend the source."
_SCHEMA_REASON: Final = "The model is not given it: a retrain learns nothing from it."


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
