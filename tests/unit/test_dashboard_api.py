"""The dashboard's API: what the command line shows, as JSON that the OpenAPI document describes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from driftline.dashboard.api import ANSWERS, ROOT
from driftline.dashboard.event_intake import MAX_BODY_BYTES, MAX_EVENTS
from driftline.dashboard.request_problem import Problem
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import Incident
from tests.unit.offline_dashboard import OfflineObserver, client_of, observe_log


@pytest.fixture(scope="module")
def observer() -> OfflineObserver:
    return observe_log("churn", "tenure")


@pytest.fixture
def client(observer: OfflineObserver) -> Iterator[httpx.Client]:
    with client_of(observer) as client:
        yield client


@pytest.mark.parametrize("path", ANSWERS)
def test_every_answer_has_the_type_that_is_described(client: httpx.Client, path: str) -> None:
    model = {"model": "churn"} if path in ("/features", "/windows") else {}
    answer = client.get(ROOT + path, params=model)

    assert answer.status_code == 200, answer.text
    found = msgspec.json.decode(answer.content, type=ANSWERS[path])
    assert found


def test_the_document_describes_every_path_and_every_reference_in_it(client: httpx.Client) -> None:
    document = client.get(f"{ROOT}/openapi.json").json()

    assert {ROOT + path for path in ANSWERS} <= set(document["paths"])
    schemas = document["components"]["schemas"]
    assert "DriftAlert" in schemas
    assert set(_references(document)) <= set(schemas)
    assert "HTTPValidationError" not in set(_references(document["paths"]))


def test_the_document_describes_how_to_write_events(client: httpx.Client) -> None:
    document = client.get(f"{ROOT}/openapi.json").json()

    for path in (f"{ROOT}/events", f"{ROOT}/labels", "/monitor/predict"):
        route = document["paths"][path]["post"]
        one, many = route["requestBody"]["content"]["application/json"]["schema"]["oneOf"]
        assert many["maxItems"] == MAX_EVENTS
        assert f"{MAX_BODY_BYTES:,}" in route["requestBody"]["description"]
        schema = document["components"]["schemas"][one["$ref"].rpartition("/")[2]]
        assert not {"id", "time_ms"} & set(schema["required"])
        assert {*schema["required"]} < {*schema["properties"]}
        assert set(route["responses"]) >= {"202", "401", "403", "413", "422", "429", "503"}
        assert [*route["security"][0]] == [*document["components"]["securitySchemes"]]


def test_events_need_a_token_of_the_dashboard(observer: OfflineObserver) -> None:
    """The real server: an invalid event is answered, and other hosts and tokens are not."""
    path, header = f"{ROOT}/events", {"authorization": "Bearer secret"}
    with client_of(observer, token="secret") as client:  # noqa: S106
        invalid = client.post(path, json=[{}], headers=header)
        large = client.post(path, content=b" " * (MAX_BODY_BYTES + 1), headers=header)
        missing = client.post(path, json=[{}])
        form = client.post(path, data={"token": "secret"})
        foreign = client.post(path, json=[{}], headers={**header, "host": "evil.example"})
        read = client.get(path)
    with client_of(observer) as client:
        read_only = client.post(path, json=[{}], headers=header)

    assert (invalid.status_code, invalid.json()["where"]) == (422, "$[0].model")
    assert invalid.headers["content-security-policy"]
    assert (large.status_code, missing.status_code, form.status_code) == (413, 401, 401)
    assert (foreign.status_code, read.status_code, read_only.status_code) == (421, 405, 403)


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value.rpartition("/")[2]
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def test_incidents_and_alerts_are_those_of_the_topic(
    client: httpx.Client, observer: OfflineObserver
) -> None:
    alerts = msgspec.json.decode(client.get(f"{ROOT}/alerts").content, type=list[DriftAlert])
    incidents = msgspec.json.decode(client.get(f"{ROOT}/incidents").content, type=list[Incident])

    assert {a.alert_id for a in alerts} == {a.alert_id for a in observer.current.alerts}
    members = {m.episode_id for one in incidents for m in one.members}
    assert members == {a.episode_id for a in observer.current.alerts if a.kind != "coverage"}


def test_a_feature_that_drifts_comes_first_with_its_numbers(client: httpx.Client) -> None:
    first, *others = client.get(f"{ROOT}/features", params={"model": "churn"}).json()

    assert first["name"] == "tenure"
    assert first["effect"] > 1
    assert first["usual_mean"] == pytest.approx(50, abs=2)
    assert first["mean"] == pytest.approx(90, abs=2)
    assert first["episodes"]
    assert all(other["effect"] < 0.25 for other in others)
    assert sum(first["shape"][1]) == pytest.approx(1)


def test_an_unknown_model_is_an_error_that_names_the_next_step(client: httpx.Client) -> None:
    answer = client.get(f"{ROOT}/features", params={"model": "none"})

    assert answer.status_code == 404
    assert "/api/v1/models" in answer.json()["fix"]


@pytest.mark.parametrize(
    ("method", "path", "status", "where"),
    [
        ("GET", f"{ROOT}/nothing", 404, f"{ROOT}/nothing"),
        ("GET", "/monitor/nothing", 404, "/monitor/nothing"),
        ("DELETE", f"{ROOT}/alerts", 405, f"{ROOT}/alerts"),
        ("GET", f"{ROOT}/alerts?limit=0", 422, "query parameter limit"),
        ("GET", f"{ROOT}/alerts?limit=many", 422, "query parameter limit"),
        ("GET", f"{ROOT}/windows", 422, "query parameter model"),
        ("GET", f"{ROOT}/windows?model=none", 404, "query parameter model"),
    ],
)
def test_every_error_has_one_form(
    client: httpx.Client, method: str, path: str, status: int, where: str
) -> None:
    answer = client.request(method, path)

    assert answer.status_code == status
    found = msgspec.json.decode(answer.content, type=Problem)
    assert found.where == where
    assert found.why
    assert found.fix
    assert (answer.headers.get("allow") == "GET") == (status == 405)


def test_a_limit_keeps_the_newest(client: httpx.Client) -> None:
    alerts = client.get(f"{ROOT}/alerts").json()

    assert client.get(f"{ROOT}/alerts", params={"limit": 1}).json() == alerts[:1]
    assert client.get(f"{ROOT}/alerts", params={"limit": 0}).status_code == 422


def test_answers_need_a_token(observer: OfflineObserver) -> None:
    """Nothing is written: there is no Kafka, and an accepted answer would fail otherwise."""
    [incident] = observer.current.alerts[:1]
    form = {"action": "acknowledge", "user": "ana", "token": "secret"}
    with client_of(observer) as client:
        [found, *_] = client.get(f"{ROOT}/incidents").json()
        path = f"/incidents/{found['incident_id']}/answer"
        assert client.post(path, data=form).status_code == 403
        assert "read-only" in client.post(path, data=form).text
    with client_of(observer, token="another") as client:  # noqa: S106
        wrong = client.post(path, data=form)
        foreign = client.post(path, data=form, headers={"sec-fetch-site": "cross-site"})
        missing = client.post(path, data={"action": "acknowledge", "token": "another"})
        long = client.post(path, data={**form, "reason": "x" * 20_000})

    assert (wrong.status_code, "token is wrong" in wrong.text) == (403, True)
    assert (foreign.status_code, "another site" in foreign.text) == (403, True)
    assert missing.status_code == 400
    assert long.status_code == 413
    assert incident.model == "churn"
