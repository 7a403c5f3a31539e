"""``/monitor/health`` and ``/monitor/metrics``: the states and the figures of the other views."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import httpx
import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from driftline.dashboard.model_row import ModelRow
from driftline.dashboard.monitor_routes import ModelsHealth, MonitorRoutes
from driftline.dashboard.observation import ServerStatus
from driftline.dashboard.read_model import ReadModel
from driftline.dashboard.server import listen
from driftline.dashboard.window_series import drift_of_latest
from stream_monitor.settings import Settings
from stream_monitor.windows.drift_level import DriftLimits, drift_of_window
from tests.unit.offline_dashboard import SETTINGS, START_MS, OfflineObserver, client_of, observe_log

LIMITS = DriftLimits()
OF_SERIES = ("driftline_psi", "driftline_chi_square", "driftline_chi_square_p_value")


@pytest.fixture(scope="module")
def observer() -> OfflineObserver:
    return observe_log("churn", "tenure")


def health_of(observer: OfflineObserver) -> ModelsHealth:
    with client_of(observer) as client:
        answer = client.get("/monitor/health")
    assert answer.status_code == 200
    return msgspec.json.decode(answer.content, type=ModelsHealth)


def seen_with(observer: OfflineObserver, **changes: Any) -> OfflineObserver:
    seen = msgspec.structs.replace(observer.current, **changes)
    return OfflineObserver(observer.state, seen, observer.detail("churn"))


def test_health_has_the_state_of_the_first_screen(observer: OfflineObserver) -> None:
    found = health_of(observer)
    with client_of(observer) as client:
        rows = msgspec.json.decode(client.get("/api/v1/models").content, type=list[ModelRow])

    [model], [row] = found.models, rows
    assert (model.model, model.state) == ("churn", row.status.state)
    assert model.status == found.status == "drift"
    assert model.open_episodes == [one.episode_id for one in row.status.open_episodes]


def test_a_model_without_alerts_is_ok_and_no_model_is_no_data(observer: OfflineObserver) -> None:
    away = ServerStatus(name="Kafka", reachable=False, since_ms=START_MS, error="down")
    calm = health_of(seen_with(observer, alerts=[]))
    empty = health_of(seen_with(observer, alerts=[], models=[], coverage=[]))
    silent = health_of(seen_with(observer, alerts=[], coverage=[]))
    idle = health_of(seen_with(observer, alerts=[], workers=[]))
    blind = health_of(seen_with(observer, alerts=[], servers=[away]))

    assert (calm.status, calm.models[0].state) == ("ok", "ok")
    assert (empty.status, empty.models) == ("no_data", [])
    assert (silent.status, silent.models[0].state) == ("no_data", "no_data")
    assert (idle.status, idle.models[0].state) == ("warning", "not_watched")
    assert (blind.status, blind.models[0].status) == ("warning", "ok")
    assert blind.servers_away == ["Kafka"]


def metrics_of(client: httpx.Client) -> dict[str, dict[str, float]]:
    """The values of each metric, by series."""
    answer = client.get("/monitor/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(family.name, {})[sample.labels.get("series", "")] = sample.value
    return found


def test_metrics_features_and_the_monitor_have_the_same_figures(observer: OfflineObserver) -> None:
    with client_of(observer) as client:
        metrics = metrics_of(client)
        features = client.get("/api/v1/features", params={"model": "churn"}).json()

    newest = max(observer.detail("churn").windows[0].windows, key=lambda w: w.start_ms)
    expected = {one.series: one for one in drift_of_window(newest, LIMITS)}
    assert set(expected) == {"tenure", "age", "plan"}
    for name, figures in zip(OF_SERIES, ("psi", "chi_square", "chi_square_p"), strict=True):
        assert metrics[name] == {n: getattr(one, figures) for n, one in expected.items()}
    assert metrics["driftline_psi_level"]["tenure"] == 2
    assert metrics["driftline_psi_models_left_out"] == {"": 0}
    for feature in features:
        latest, one = feature["latest_window"], expected[feature["name"]]
        assert (latest["psi"], latest["effect"]) == (one.psi, one.effect)
        assert (latest["chi_square"], latest["chi_square_p"]) == (one.chi_square, one.chi_square_p)
        assert (latest["level"], latest["n"]) == (one.level, one.n_values)


def test_the_levels_follow_the_settings(observer: OfflineObserver) -> None:
    settings = Settings(**SETTINGS, psi={"warning": 50.0, "critical": 60.0})
    routes = MonitorRoutes(ReadModel(observer, settings))

    text = bytes(routes.metrics().body).decode()

    [family] = [f for f in text_string_to_metric_families(text) if f.name == "driftline_psi_level"]
    assert [sample.value for sample in family.samples] == [0, 0, 0]
    assert "warning from 50" in family.documentation


def test_answers_do_not_wait_for_acknowledgements_of_tcp() -> None:
    """With Nagle's algorithm the body of an answer waits for the ACK of its headers, 40 ms."""

    async def option_of_a_connection() -> int:
        accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        listener = listen("127.0.0.1", 0)
        async with await asyncio.start_server(connected, sock=listener):
            _reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.close()
            return await accepted

    assert asyncio.run(option_of_a_connection())


def test_partitions_are_one_sample_and_a_foreign_reference_is_not_compared(
    observer: OfflineObserver,
) -> None:
    detail = observer.detail("churn")
    newest = max(detail.windows[0].windows, key=lambda w: w.start_ms)
    single = {one.series: one for one in drift_of_window(newest, LIMITS)}
    halves = [
        msgspec.structs.replace(
            newest,
            partition=part,
            features={
                name: msgspec.structs.replace(
                    feature, bins=(bins := [(n + part) // 2 for n in feature.bins]), count=sum(bins)
                )
                for name, feature in newest.features.items()
            },
        )
        for part in (0, 1)
    ]

    merged = drift_of_latest(halves, detail.profiles["1"], LIMITS)

    assert [one.series for one in merged] == sorted(single)
    for one in merged:
        whole = single[one.series]
        assert (one.n_values, one.level) == (whole.n_values, whole.level)
        assert one.psi == pytest.approx(whole.psi, rel=1e-6)
        assert one.effect == pytest.approx(whole.effect, rel=1e-6)
        assert one.chi_square == pytest.approx(whole.chi_square, rel=1e-6)
    wide = msgspec.structs.replace(newest.features["age"], bins=[1, 2])
    odd = msgspec.structs.replace(newest, partition=1, features={**newest.features, "age": wide})
    found = {
        one.series: one for one in drift_of_latest([newest, odd], detail.profiles["1"], LIMITS)
    }
    assert found["age"].psi == single["age"].psi
    assert drift_of_latest([], detail.profiles["1"], LIMITS) == []
