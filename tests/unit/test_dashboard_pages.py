"""The dashboard's pages: what they answer first, that texts of events are inert, and their size."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import httpx
import msgspec
import pytest

from driftline.dashboard.observation import DoctorReport, Observation, ServerStatus
from driftline.dashboard.observer import ModelDetail
from driftline.dashboard.page_templates import url
from driftline.dashboard.read_model import MODELS_SHOWN
from driftline.dashboard.recent_values import recent_values
from driftline.doctor.health_checks import HealthCheckResult
from driftline.monitor_state.coverage_report import CoverageReportRow, ModelCoverage
from driftline.topics.events_around import EventAt
from stream_monitor.contracts import DriftAlert, Severity
from stream_monitor.episodes.formatting import format_number
from tests.builders import alert, inference_event
from tests.unit.offline_dashboard import (
    HOSTILE_CATEGORY,
    HOSTILE_FEATURE,
    HOSTILE_MODEL,
    NOW_MS,
    START_MS,
    OfflineObserver,
    client_of,
    observe_log,
)

MAX_UPDATE_BYTES = 100_000
PAGES = ("/", "/incidents", "/retrains", "/coverage", "/doctor")


@pytest.fixture(scope="module")
def hostile() -> OfflineObserver:
    return observe_log(HOSTILE_MODEL, HOSTILE_FEATURE)


@pytest.fixture
def client(hostile: OfflineObserver) -> Iterator[httpx.Client]:
    with client_of(hostile) as client:
        yield client


class Elements(HTMLParser):
    """The elements of a page, and their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def incident_path(observer: OfflineObserver, client: httpx.Client) -> str:
    del observer
    [incident, *_] = client.get("/api/v1/incidents").json()
    return f"/incidents/{incident['incident_id']}"


def test_the_first_screen_names_the_model_that_drifts_and_since_when(client: httpx.Client) -> None:
    page = client.get("/").text

    assert "needs attention since" in page
    assert "14 Nov 2023" in page or "15 Nov 2023" in page
    assert 'class="state drift' in page
    assert "1 open incident" in page or "open incidents" in page


def test_texts_of_events_are_never_elements(client: httpx.Client, hostile: OfflineObserver) -> None:
    own_scripts = re.compile(r"/static/[\w./-]+\.js\?v=[0-9a-f]{12}")
    paths = [*PAGES, url("/model", name=HOSTILE_MODEL), incident_path(hostile, client)]
    for path in paths:
        answer = client.get(path)
        assert answer.status_code == 200, path
        elements = Elements(answer.text).found
        scripts = [attributes for tag, attributes in elements if tag == "script"]
        assert all(own_scripts.fullmatch(found["src"] or "") for found in scripts), path
        assert not [tag for tag, _ in elements if tag == "img"], path
        handlers = [name for _, found in elements for name in found if name.startswith("on")]
        assert handlers == [], path
        assert not [found for _, found in elements if "style" in found], path


def test_hostile_names_are_shown_as_they_are(client: httpx.Client) -> None:
    page = client.get(url("/model", name=HOSTILE_MODEL)).text

    for text in ("&lt;script&gt;alert(1)&lt;/script&gt;", "&lt;img src=x onerror=alert(2)&gt;"):
        assert text in page
    assert HOSTILE_FEATURE not in page
    assert HOSTILE_CATEGORY not in page


def test_every_answer_has_a_strict_content_policy(client: httpx.Client) -> None:
    for path in (*PAGES, "/healthz", "/api/v1", "/api/v1/openapi.json", "/nothing"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_head_is_answered_as_get_without_the_body(client: httpx.Client) -> None:
    """Probes and proxies ask for the headers alone."""
    for path in (*PAGES, "/healthz", "/api/v1", "/api/v1/models", "/nothing", "/api/v1/nothing"):
        headers, page = client.head(path), client.get(path)
        assert (headers.status_code, headers.content) == (page.status_code, b""), path
        assert headers.headers["content-type"] == page.headers["content-type"], path
    answer = client.head("/updates")  # the stream does not end
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_another_host_name_is_not_answered_on_loopback(hostile: OfflineObserver) -> None:
    with client_of(hostile, host="attacker.example") as client:
        assert client.get("/").status_code == 421
        assert client.get("/api/v1/models").status_code == 421


def test_the_page_of_the_model_states_window_n_and_reference_of_each_feature(
    client: httpx.Client,
) -> None:
    page = client.get(url("/model", name=HOSTILE_MODEL)).text

    assert page.count("reference n 600 (version 1, from warm-up)") == 3
    assert len(re.findall(r"the last \d+ windows, n 1,0\d\d", page)) == 3
    assert page.count('class="chart"') >= 4


def test_the_psi_of_the_model_page_is_that_of_the_api_and_the_metrics(client: httpx.Client) -> None:
    page = client.get(url("/model", name=HOSTILE_MODEL)).text
    features = client.get("/api/v1/features", params={"model": HOSTILE_MODEL}).json()
    metrics = client.get("/monitor/metrics").text

    drifting = features[0]["latest_window"]
    assert drifting["level"] == "critical"
    for feature in features:
        latest = feature["latest_window"]
        text = f"PSI <b>{format_number(latest['psi'])}</b>"
        tag = ' <span class="tag problem">critical</span>' if latest["level"] == "critical" else ""
        assert f"last window, n {latest['n']:,}: {text}{tag}, χ²" in page
    levels = re.findall(r"^driftline_psi_level\{.*\} (\S+)$", metrics, re.MULTILINE)
    assert page.count('<span class="tag problem">critical</span>') == levels.count("2.0")
    assert levels.count("2.0") == 1


def test_the_incident_has_cause_axis_decision_and_commands(
    client: httpx.Client, hostile: OfflineObserver
) -> None:
    page = client.get(incident_path(hostile, client)).text

    assert "One feature has changed" in page
    assert "too small to matter" in page
    assert 'class="lanes"' in page
    assert "driftline incidents acknowledge " in page
    assert "read-only" in page


def test_an_unknown_model_or_incident_is_a_page_with_a_way_back(client: httpx.Client) -> None:
    for path in ("/model?name=none", "/incidents/none"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert 'href="/"' in answer.text
        assert "hx-get" not in answer.text  # an update would replace it by another page
    lost = client.get("/nothing/<b>")
    assert lost.status_code == 404
    assert "There is no page /nothing/&lt;b&gt;" in lost.text


def test_a_server_that_is_away_is_the_first_thing_on_the_page(hostile: OfflineObserver) -> None:
    seen = msgspec.structs.replace(
        hostile.current,
        servers=[
            ServerStatus(name="Kafka", reachable=False, since_ms=START_MS, error="closed"),
            ServerStatus(name="Redis", reachable=True, since_ms=START_MS),
        ],
    )
    away = OfflineObserver(hostile.state, seen, hostile.detail("m"))
    with client_of(away) as client:
        page = client.get("/").text

        assert "<h1>Kafka does not answer since 14 Nov 2023" in page
        assert "recovers by itself" in page
        assert client.get("/healthz").text == "alive; without Kafka\n"
        assert client.get("/healthz").status_code == 200


def test_the_findings_of_doctor_are_those_of_the_page(hostile: OfflineObserver) -> None:
    """Each with its fix; the first problem is the headline where all models are fine."""
    redis = HealthCheckResult(check="redis", level="warning", found="<b> may evict", fix="do x")
    routing = HealthCheckResult(check="routing", level="problem", found="2 of 9", fix="do y")
    results = [redis, routing]
    fine = HealthCheckResult(check="trainer", level="ok", found="runs")
    doctor = DoctorReport(time_ms=NOW_MS, results=[*results, fine])
    calm = msgspec.structs.replace(hostile.current, alerts=[], models=[], coverage=[])
    one = [msgspec.structs.replace(hostile.current.coverage[0], model="m")]
    seen = msgspec.structs.replace(calm, doctor=doctor, models=["m"], coverage=one)
    with client_of(OfflineObserver(hostile.state, seen, ModelDetail({}, []))) as client:
        first, all_checks = client.get("/").text, client.get("/doctor").text
        headline = client.get("/api/v1").json()["headline"]

    for result in results:
        for page in (first, all_checks):
            assert html.escape(result.found) in page
            assert result.fix in page
    assert "runs" in all_checks
    assert headline["text"] == "driftline doctor found a problem: routing"
    assert headline["level"] == "problem"


def test_without_a_worker_no_model_is_ok(hostile: OfflineObserver) -> None:
    seen = msgspec.structs.replace(hostile.current, workers=[], alerts=[])
    with client_of(OfflineObserver(hostile.state, seen, hostile.detail("m"))) as client:
        page = client.get("/").text
        [model] = client.get("/api/v1/models").json()

    assert "No worker runs: nothing is watched" in page
    assert model["status"]["state"] == "not_watched"


def test_a_model_without_events_is_not_ok(hostile: OfflineObserver) -> None:
    silent = [msgspec.structs.replace(c, events=0, share=None) for c in hostile.current.coverage]
    seen = msgspec.structs.replace(hostile.current, alerts=[], coverage=silent)
    with client_of(OfflineObserver(hostile.state, seen, hostile.detail("m"))) as client:
        [model] = client.get("/api/v1/models").json()

    assert (model["status"]["state"], model["status"]["label"]) == ("no_data", "No data")


def covered(model: str, *rows: tuple[str, int]) -> ModelCoverage:
    """The coverage of a model whose events of the last hour had these reasons."""
    events, watched = sum(n for _, n in rows), sum(n for reason, n in rows if reason == "watched")
    return ModelCoverage(
        model=model,
        events=events,
        watched=watched,
        share=watched / events,
        rows=[
            CoverageReportRow(version="1", reason=reason, unit="event", last_hour=n, total=n)
            for reason, n in rows
        ],
    )


def screen_of(hostile: OfflineObserver, *coverage: ModelCoverage, alerts: list[DriftAlert]) -> Any:
    """The headline of the first screen, and the state of each model."""
    seen = msgspec.structs.replace(
        hostile.current, alerts=alerts, models=[], coverage=[*coverage], health=[]
    )
    with client_of(OfflineObserver(hostile.state, seen, ModelDetail({}, []))) as client:
        models = client.get("/api/v1/models").json()
        states = {one["status"]["model"]: one["status"]["state"] for one in models}
        return client.get("/api/v1").json()["headline"], states


def gap_of(model: str, severity: Severity) -> DriftAlert:
    return alert(kind="coverage", series="coverage/x", model=model, severity=severity)


def test_models_that_only_warm_up_are_neither_fine_nor_partly_watched(
    hostile: OfflineObserver,
) -> None:
    new = covered("new", ("warming_up", 30))
    headline, states = screen_of(hostile, new, alerts=[gap_of("new", "low")])
    assert states == {"new": "warming_up"}
    assert headline["level"] == "unknown"
    assert headline["text"] == "Nothing is watched yet: 1 model warming up"

    old = covered("old", ("watched", 100))
    headline, _ = screen_of(hostile, new, old, alerts=[gap_of("new", "low")])
    assert headline["text"] == "Nothing is wrong"
    assert headline["detail"] == "1 model watched, no open episode. 1 still warming up."


@pytest.mark.parametrize("severity", [None, "low", "high"])
def test_a_model_without_one_watched_event_is_not_watched(
    severity: Severity | None, hostile: OfflineObserver
) -> None:
    alerts = [] if severity is None else [gap_of("m", severity)]
    headline, states = screen_of(hostile, covered("m", ("model_over_limit", 30)), alerts=alerts)
    assert (states, headline["level"]) == ({"m": "not_watched"}, "problem")

    some = covered("m", ("model_over_limit", 30), ("watched", 1))
    _, states = screen_of(hostile, some, alerts=alerts)
    assert states == {"m": "partly_watched"}


def test_an_installation_without_models_names_the_next_step(hostile: OfflineObserver) -> None:
    empty = Observation(
        now_ms=NOW_MS, servers=hostile.current.servers, workers=hostile.current.workers
    )
    with client_of(OfflineObserver(hostile.state, empty, ModelDetail({}, []))) as client:
        page = client.get("/").text

    assert "No model has sent events yet" in page
    assert "No open incident" in page
    assert "No retrain yet" in page


def test_an_update_is_small_with_five_hundred_models(hostile: OfflineObserver) -> None:
    """The page is what an update loads."""
    names = [f"model-{i:03}-with-a-long-name" for i in range(500)]
    [alert, *_] = hostile.current.alerts
    alerts = [
        msgspec.structs.replace(alert, model=name, episode_id=name, alert_id=name) for name in names
    ]
    coverage = [msgspec.structs.replace(hostile.current.coverage[0], model=name) for name in names]
    seen = msgspec.structs.replace(
        hostile.current, alerts=alerts, coverage=coverage, models=names,
        served=dict.fromkeys(names, "1"),
    )  # fmt: skip
    with client_of(OfflineObserver(hostile.state, seen, hostile.detail("m"))) as client:
        page = client.get("/").text
        found = client.get("/?q=model-499").text

    assert page.count('class="model-name"') == MODELS_SHOWN
    assert len(page.encode()) <= MAX_UPDATE_BYTES
    assert found.count('class="model-name"') == 1


def test_the_page_of_a_model_with_fifty_features_is_small(hostile: OfflineObserver) -> None:
    """Features beyond the first ones are rows of a table, and a link brings each to the top."""
    detail = hostile.detail("m")
    profile = detail.profiles["1"]
    names = [f"feature-{i:02}" for i in range(50)]
    features = {n: msgspec.structs.replace(profile.features["age"], name=n) for n in names}
    [served] = detail.windows
    windows = [
        msgspec.structs.replace(w, features=dict.fromkeys(names, w.features["age"]))
        for w in served.windows
        if "age" in w.features
    ]
    wide = ModelDetail(
        {"1": msgspec.structs.replace(profile, features=features)},
        [served._replace(windows=windows)],
    )
    with client_of(OfflineObserver(hostile.state, hostile.current, wide)) as client:
        page = client.get(url("/model", name=HOSTILE_MODEL)).text
        chosen = client.get(url("/model", name=HOSTILE_MODEL, feature="feature-49")).text

    assert len(page.encode()) <= MAX_UPDATE_BYTES
    assert all(name in page for name in names)
    assert "<h3><span>feature-49" not in page
    assert "<h3><span>feature-49" in chosen


def test_the_newest_predictions_are_compared_with_their_reference(
    client: httpx.Client, hostile: OfflineObserver
) -> None:
    [profile] = hostile.detail("m").profiles.values()
    same = [EventAt(i, inference_event(f"s{i}", prediction=0.3 + i / 5_000)) for i in range(1_000)]
    moved = [EventAt(i, inference_event(f"m{i}", prediction=0.9)) for i in range(1_000)]
    broken = [EventAt(i, inference_event(f"b{i}", prediction=None)) for i in range(10)]

    near, far = (recent_values(profile, es).prediction for es in (same, [*moved, *broken]))

    assert near is not None
    assert far is not None
    assert (far.n, far.invalid) == (1_000, 10)
    assert far.effect > near.effect
    assert recent_values(profile, []).prediction is None
    page = client.get(url("/model", name=HOSTILE_MODEL)).text
    assert "against the newest 1,500 predictions" in page


def test_before_a_window_closes_the_newest_events_are_compared(hostile: OfflineObserver) -> None:
    """On the page of the model, of the incident, and in the API; the version that serves too."""
    seen = msgspec.structs.replace(hostile.current, served={})
    early = ModelDetail(hostile.detail("m").profiles, [])
    with client_of(OfflineObserver(hostile.state, seen, early)) as client:
        model = client.get(url("/model", name=HOSTILE_MODEL)).text
        incident = client.get(incident_path(hostile, client)).text
        features = client.get("/api/v1/features", params={"model": HOSTILE_MODEL}).json()

    assert "Version 1 is in service" in model
    assert model.count("the newest 1,500 values, because no window has closed yet") == 3
    assert "no labels" not in model
    assert "newest events, since" in incident
    assert [f["n"] for f in features] == [1_500] * 3
    assert all(f["latest_window"] is None for f in features)
    assert features[0]["effect"] > 0.25 > features[1]["effect"]
    assert features[0]["mean"] > 80
