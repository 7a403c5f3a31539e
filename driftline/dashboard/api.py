"""The HTTP API: what the pages show, as JSON, described by OpenAPI.

The contracts are msgspec structs: their JSON Schemas are those of the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.openapi.utils import get_openapi

from driftline.dashboard.feature_view import FeatureView
from driftline.dashboard.model_row import ModelRow
from driftline.dashboard.observation import Observation
from driftline.dashboard.overview import Headline, Tile
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.request_problem import (
    Problem,
    RequestProblem,
    described_problem,
    json_response,
)
from driftline.monitor_state.coverage_report import ModelCoverage
from driftline.topics.alert_history import open_alerts
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import Incident
from stream_monitor.windows.closed_window import ClosedWindow
from stream_monitor.windows.performance import WindowPerformance
from trainer.contracts import RetrainEvent

ROOT: Final = "/api/v1"
MAX_ROWS: Final = 1_000
_REF: Final = "#/components/schemas/{name}"

ModelQuery = Annotated[str | None, Query(description="Only this model.")]
RequiredModel = Annotated[str, Query(description="The model.")]
OpenOnly = Annotated[bool, Query(description="Only what has not ended.")]
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="At most so many, the newest first.")]


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to "is anything wrong?", with the health of the installation."""

    now_ms: int
    headline: Headline
    tiles: list[Tile]
    models_by_state: dict[str, int]


class WindowsOfVersion(msgspec.Struct, frozen=True, kw_only=True):
    """Closed windows of one version of a model, ascending, and the errors that labels showed."""

    version: str
    shadow: bool
    windows: list[ClosedWindow]
    performance: list[WindowPerformance]


ANSWERS: Final[dict[str, Any]] = {
    "": Status,
    "/models": list[ModelRow],
    "/features": list[FeatureView],
    "/windows": list[WindowsOfVersion],
    "/incidents": list[Incident],
    "/episodes": list[DriftAlert],
    "/alerts": list[DriftAlert],
    "/retrains": list[RetrainEvent],
    "/coverage": list[ModelCoverage],
}
"""The type of the answer of each path below `ROOT`."""


class ReadApi:
    """The answers of the API, by path below `ROOT`."""

    def __init__(self, read: ReadModel) -> None:
        self._read = read

    def routes(self) -> APIRouter:
        """The routes of the API."""
        router = APIRouter(prefix=ROOT, tags=["read"])
        answers: dict[str, tuple[Callable[..., Response], str]] = {
            "": (self.status, "Is anything wrong, and is data flowing?"),
            "/models": (self.models, "The models, the worst first, with their state"),
            "/features": (self.features, "Each feature of a model against its reference"),
            "/windows": (self.windows, "The closed windows of a model, the newest of each version"),
            "/incidents": (self.incidents, "Episodes that belong together, with likely causes"),
            "/episodes": (self.episodes, "The latest alert of each episode"),
            "/alerts": (self.alerts, "The alerts, the newest first"),
            "/retrains": (self.retrains, "Every step of every retrain, the newest first"),
            "/coverage": (self.coverage, "How much was watched in the last hour, and why not all"),
        }
        for path, (answer, summary) in answers.items():
            router.add_api_route(
                path,
                answer,
                summary=summary,
                methods=["GET"],
                response_class=Response,
                responses=_described(path),
            )
        return router

    def _seen(self) -> Observation:
        self._read.observer.viewed()
        return self._read.observer.current

    def status(self) -> Response:
        """The headline, the strip, and the number of models in each state."""
        self._seen()
        screen = self._read.first_screen(n_models=0)
        return json_response(
            Status(
                now_ms=screen.seen.now_ms,
                headline=screen.headline,
                tiles=screen.tiles,
                models_by_state=screen.by_state,
            )
        )

    def models(self, model: ModelQuery = None, limit: Limit = 50) -> Response:
        """State, rate, drift and error of each model."""
        seen = self._seen()
        states = [s for s in self._read.states(seen) if model in (None, s.model)]
        return json_response(self._read.rows(seen, states[:limit]))

    def features(self, model: RequiredModel) -> Response:
        """The features of the version in service: drifting ones first."""
        _require(model, self._seen())
        return json_response(self._read.features(model))

    def windows(self, model: RequiredModel, limit: Limit = 48) -> Response:
        """The newest closed windows of each version of a model."""
        _require(model, self._seen())
        return json_response(
            [
                WindowsOfVersion(
                    version=each.version,
                    shadow=each.shadow,
                    windows=list(each.windows[-limit:]),
                    performance=list(each.performance[-limit:]),
                )
                for each in self._read.observer.detail(model).windows
            ]
        )

    def incidents(
        self, model: ModelQuery = None, limit: Limit = 100, *, open_only: OpenOnly = False
    ) -> Response:
        """The incidents, the newest first."""
        found = [
            one
            for one in reversed(self._read.incidents(self._seen()))
            if model in (None, one.model) and not (open_only and one.closed_ms is not None)
        ]
        return json_response(found[:limit])

    def episodes(
        self, model: ModelQuery = None, limit: Limit = 100, *, open_only: OpenOnly = False
    ) -> Response:
        """The latest alert of each episode, the newest first."""
        seen = self._seen()
        opened = {alert.episode_id for alert in open_alerts(seen.alerts)}
        found = [
            alert
            for alert in self._read.episode_alerts(seen)
            if model in (None, alert.model) and (not open_only or alert.episode_id in opened)
        ]
        return json_response(found[:limit])

    def alerts(self, model: ModelQuery = None, limit: Limit = 100) -> Response:
        """All alerts: each phase of each episode."""
        found = [alert for alert in self._seen().alerts if model in (None, alert.model)]
        found.sort(key=lambda alert: (-alert.decided_ms, alert.alert_id))
        return json_response(found[:limit])

    def retrains(self, model: ModelQuery = None, limit: Limit = 100) -> Response:
        """Every decision of the trainer, with its numbers."""
        found = [e for e in reversed(self._seen().retrains) if model in (None, e.model)]
        return json_response(found[:limit])

    def coverage(self, model: ModelQuery = None) -> Response:
        """The counts of what was watched, and of what was not, by reason."""
        return json_response([one for one in self._seen().coverage if model in (None, one.model)])


def _require(model: str, seen: Observation) -> None:
    known = {*seen.models, *(alert.model for alert in seen.alerts)}
    if model not in known:
        raise RequestProblem(
            404,
            Problem(
                what="the request was not answered", where="query parameter model",
                why="the monitor does not know this model", fix="/api/v1/models lists the models",
            ),
        )  # fmt: skip


def _described(path: str) -> dict[int | str, dict[str, Any]]:
    (schema,), _ = msgspec.json.schema_components([ANSWERS[path]], ref_template=_REF)
    found: dict[int | str, dict[str, Any]] = {
        200: {"description": "OK", "content": {"application/json": {"schema": schema}}},
        422: described_problem("A parameter is missing or invalid"),
    }
    if path in ("/features", "/windows"):
        found[404] = described_problem("The monitor does not know this model")
    return found


def describe(
    app: FastAPI, answers: Sequence[Any], extra: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """The OpenAPI document of ``app``: with the schemas of ``answers`` and ``extra`` components."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        _, schemas = msgspec.json.schema_components(answers, ref_template=_REF)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas)
        for section, found in extra.items():
            components.setdefault(section, {}).update(found)
        app.openapi_schema = document
    return app.openapi_schema
