"""The state of each model, by its worst problem, the worst model first.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal, TypeAlias

import msgspec

from driftline.dashboard.observation import Observation
from driftline.monitor_state.coverage_report import ModelCoverage, reasons_of
from driftline.topics.alert_history import open_alerts
from stream_monitor.contracts import SEVERITY_RANK, DriftAlert, Severity
from stream_monitor.core.coverage import WATCHED

StateName: TypeAlias = Literal[
    "broken_data",
    "error_rate",
    "drift",
    "no_data",
    "traffic",
    "not_watched",
    "partly_watched",
    "warming_up",
    "ok",
]
STATE_LABELS: Final[dict[StateName, str]] = {
    "broken_data": "Broken data",
    "error_rate": "Error changed",
    "drift": "Drift",
    "no_data": "No data",
    "traffic": "Traffic changed",
    "not_watched": "Not watched",
    "partly_watched": "Partly watched",
    "warming_up": "Warming up",
    "ok": "OK",
}
"""The states as text, the worst first among equal severities."""
_ORDER: Final = list(STATE_LABELS)
_STATE_OF_KIND: Final[dict[str, StateName]] = {
    "quality": "broken_data",
    "concept": "error_rate",
    "data": "drift",
    "prediction": "drift",
    "volume": "traffic",
    "labels": "traffic",
    "coverage": "partly_watched",
}
_RANK_WITHOUT_EPISODE: Final[dict[StateName, int]] = {
    "not_watched": 3,
    "no_data": 2,
    "partly_watched": 1,
}


class ModelState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a model, with the open episodes that it follows from.

    ``rank`` is that of the worst severity, 0 where nothing is wrong.  ``since_ms`` is the earliest
    onset of the open episodes of ``state``.  ``share`` is the share of the last hour's events that
    was watched; ``None`` without events.  ``reasons`` state what was not watched, and why.
    """

    model: str
    state: StateName
    label: str
    rank: int
    severity: Severity | None = None
    since_ms: int | None = None
    acknowledged: bool = False
    share: float | None = None
    reasons: list[str] = []
    open_episodes: list[DriftAlert] = []


def model_states(seen: Observation, *, workers_alive: bool) -> list[ModelState]:
    """The states of all models that were ever seen, the worst first.

    Without a living worker no model is watched, whatever was found before.
    """
    by_model: dict[str, list[DriftAlert]] = {}
    for alert in open_alerts(seen.alerts):
        by_model.setdefault(alert.model, []).append(alert)
    coverage = {one.model: one for one in seen.coverage if one.model}
    names = {*by_model, *coverage, *seen.models}
    states = [
        _state(name, by_model.get(name, []), coverage.get(name), workers_alive=workers_alive)
        for name in names
    ]
    return sorted(states, key=lambda s: (-s.rank, _ORDER.index(s.state), s.model))


def _state(
    model: str, alerts: Sequence[DriftAlert], coverage: ModelCoverage | None, *, workers_alive: bool
) -> ModelState:
    share = None if coverage is None else coverage.share
    reasons = [] if coverage is None else reasons_of(coverage)
    only_warm = _only_warming_up(coverage)
    found = [
        (_state_of(alert, share, only_warm=only_warm), SEVERITY_RANK[alert.severity])
        for alert in alerts
        if not (only_warm and alert.kind == "coverage" and alert.severity == "low")
    ]
    if not workers_alive:
        found.append(("not_watched", _RANK_WITHOUT_EPISODE["not_watched"]))
    if share is None and (coverage is not None or not alerts):
        found.append(("no_data", _RANK_WITHOUT_EPISODE["no_data"]))
    elif share is not None and share < 1:
        found.append(("warming_up", 0) if only_warm else _gap(share))
    state, rank = min(found, key=lambda one: (-one[1], _ORDER.index(one[0])), default=("ok", 0))
    mine = [alert for alert in alerts if _state_of(alert, share, only_warm=only_warm) == state]
    worst = max(alerts, key=lambda alert: SEVERITY_RANK[alert.severity], default=None)
    return ModelState(
        model=model,
        state=state,
        label=STATE_LABELS[state],
        rank=rank,
        severity=None if worst is None else worst.severity,
        since_ms=min((alert.onset_ms for alert in mine), default=None),
        acknowledged=bool(alerts) and all(_is_acknowledged(alert) for alert in alerts),
        share=share,
        reasons=reasons,
        open_episodes=sorted(alerts, key=_badness, reverse=True),
    )


def _is_acknowledged(alert: DriftAlert) -> bool:
    return alert.acknowledged_by is not None or alert.phase in ("acknowledged", "snoozed")


def _badness(alert: DriftAlert) -> tuple[int, float]:
    return SEVERITY_RANK[alert.severity], alert.effect


def _gap(share: float) -> tuple[StateName, int]:
    """The state of a model whose events were not all watched, and its rank."""
    state: StateName = "partly_watched" if share > 0 else "not_watched"
    return state, _RANK_WITHOUT_EPISODE[state]


def _state_of(alert: DriftAlert, share: float | None, *, only_warm: bool) -> StateName:
    if alert.kind == "volume" and alert.channel == "silence":
        return "no_data"
    if alert.kind == "coverage" and only_warm:
        return "warming_up"
    if alert.kind == "coverage" and share == 0:
        return "not_watched"
    return _STATE_OF_KIND[alert.kind]


def _only_warming_up(coverage: ModelCoverage | None) -> bool:
    """Whether all events that were not watched became part of a reference."""
    rows = [] if coverage is None else coverage.rows
    reasons = {r.reason for r in rows if r.unit == "event" and r.last_hour and r.reason != WATCHED}
    return reasons == {"warming_up"}


def worst_feature(alerts: Iterable[DriftAlert]) -> DriftAlert | None:
    """The open episode of a feature, the prediction or the error with the largest change."""
    about = [a for a in alerts if a.kind in ("data", "quality", "prediction", "concept")]
    return max(about, key=_badness, default=None)
