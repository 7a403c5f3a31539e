"""The short form of a monitoring service: ``/monitor/health`` and ``/monitor/metrics``."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec
from fastapi import APIRouter, Query, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from driftline.dashboard.model_state import ModelState, StateName
from driftline.dashboard.read_model import MODELS_SHOWN, ReadModel
from driftline.dashboard.request_problem import described_problem, json_response
from driftline.dashboard.window_series import drift_of_latest
from producer.names import escape
from stream_monitor.contracts import Severity
from stream_monitor.windows.drift_level import LEVELS, DriftLimits, SeriesDrift

HealthStatus: TypeAlias = Literal["ok", "warning", "no_data", "drift"]
_WORSE: Final[tuple[HealthStatus, ...]] = ("ok", "warning", "no_data", "drift")
_STATUS_OF: Final[dict[StateName, HealthStatus]] = {
    "broken_data": "drift",
    "error_rate": "drift",
    "drift": "drift",
    "no_data": "no_data",
    "traffic": "warning",
    "not_watched": "warning",
    "partly_watched": "warning",
    "warming_up": "ok",
    "ok": "ok",
}
MAX_MODELS: Final = 1_000
_MODEL: Final = Query(description="Only this model.")
_Found: TypeAlias = dict[tuple[str, str], list[SeriesDrift]]


class ModelHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a model; ``status`` follows from ``state``, that of the first screen.

    ``since_ms`` is the earliest onset of the open episodes of ``state``.  ``watched_share`` is the
    share of the last hour's events that was watched; ``None`` without events.
    """

    model: str
    status: HealthStatus
    state: StateName
    severity: Severity | None
    since_ms: int | None
    watched_share: float | None
    reasons: list[str]
    open_episodes: list[str]


class ModelsHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The states of the models, the worst first.

    ``status`` is the worst of them: drift, no_data, warning, ok.  Where a server is away, it is at
    least ``warning``, and the states are the last known ones.  ``n_models`` counts those that were
    left out too.
    """

    status: HealthStatus
    now_ms: int
    servers_away: list[str]
    n_models: int
    models: list[ModelHealth]


class MonitorRoutes:
    """The answers below ``/monitor``."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read
        self._limits = read.settings.drift_limits()

    def routes(self) -> APIRouter:
        """The routes."""
        router = APIRouter(prefix="/monitor", tags=["read"])
        schema = {"$ref": "#/components/schemas/ModelsHealth"}
        described: dict[int | str, dict[str, Any]] = {
            200: {"description": "OK", "content": {"application/json": {"schema": schema}}},
            422: described_problem("A parameter is invalid"),
        }
        router.add_api_route(
            "/health", self.health, summary="Whether each model is ok, or drifts",
            methods=["GET"], response_class=Response, responses=described,
        )  # fmt: skip
        router.add_api_route(
            "/metrics", self.metrics, summary="PSI, chi-square and level, for Prometheus",
            methods=["GET"], response_class=Response,
            responses={200: {"description": "OK", "content": {"text/plain": {}}}},
        )  # fmt: skip
        return router

    def health(self, model: Annotated[str | None, _MODEL] = None) -> Response:
        """The state of each model, always with HTTP 200."""
        self._read.observer.viewed()
        seen = self._read.observer.current
        states = [s for s in self._read.states(seen) if model in (None, s.model)]
        away = [server.name for server in seen.away()]
        found: list[HealthStatus] = [_STATUS_OF[state.state] for state in states] or ["no_data"]
        if away:
            found.append("warning")
        return json_response(
            ModelsHealth(
                status=max(found, key=_WORSE.index),
                now_ms=seen.now_ms,
                servers_away=list(away),
                n_models=len(states),
                models=[_health_of(state) for state in states[:MAX_MODELS]],
            )
        )

    def metrics(self) -> Response:
        """The drift of the latest closed window of each version, of the worst models."""
        self._read.observer.viewed()
        states = self._read.states(self._read.observer.current)
        shown = states[:MODELS_SHOWN]
        found: _Found = {}
        for state in shown:
            detail = self._read.observer.detail(state.model, len(shown))
            for each in detail.windows:
                if not each.shadow:
                    profile = detail.reference_of(each.version)
                    drift = drift_of_latest(each.windows, profile, self._limits)
                    found[state.model, each.version] = drift
        registry = CollectorRegistry()
        registry.register(_Families(_metrics_of(found, self._limits, len(states) - len(shown))))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _health_of(state: ModelState) -> ModelHealth:
    return ModelHealth(
        model=state.model,
        status=_STATUS_OF[state.state],
        state=state.state,
        severity=state.severity,
        since_ms=state.since_ms,
        watched_share=state.share,
        reasons=state.reasons,
        open_episodes=[alert.episode_id for alert in state.open_episodes],
    )


def _metrics_of(found: _Found, limits: DriftLimits, n_left_out: int) -> list[Metric]:
    labels = ["model", "version", "series"]
    of = "of the latest closed window against the reference, all partitions together"
    psi = GaugeMetricFamily("driftline_psi", f"Population stability index {of}", labels=labels)
    statistic = GaugeMetricFamily("driftline_chi_square", f"Chi-square {of}", labels=labels)
    p_value = GaugeMetricFamily(
        "driftline_chi_square_p_value", f"p-value of the chi-square test {of}", labels=labels
    )
    level = GaugeMetricFamily(
        "driftline_psi_level",
        f"0 none, 1 warning from {limits.warning:g}, 2 critical from {limits.critical:g}: "
        "PSI without the bias of few events, by [psi]",
        labels=labels,
    )
    for (model, version), drift in found.items():
        for one in drift:
            key = [escape(model), escape(version), one.series]
            psi.add_metric(key, one.psi)
            statistic.add_metric(key, one.chi_square)
            p_value.add_metric(key, one.chi_square_p)
            level.add_metric(key, LEVELS.index(one.level))
    left_out = GaugeMetricFamily(
        "driftline_psi_models_left_out",
        f"Models without a PSI here: the {MODELS_SHOWN} worst ones have one",
        value=n_left_out,
    )
    return [psi, statistic, p_value, level, left_out]
