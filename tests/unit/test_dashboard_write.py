"""Events over HTTP: the monitor's rules, all events of a request or none, and bounded work."""

from __future__ import annotations

import gzip
import socket
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
import pytest
from fastapi import FastAPI

from driftline.dashboard.event_intake import MAX_BODY_BYTES, MAX_EVENTS, events_of_body
from driftline.dashboard.request_problem import Problem, RequestProblem
from driftline.dashboard.write_api import MAX_REQUESTS, WriteApi
from producer.events import CE_TYPE_OF, InferenceEvent, Label
from producer.limits import Limits
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import KafkaSettings
from tests.asgi_requests import json_of, post
from tests.builders import batch_of

TOKEN: Final = "secret"  # noqa: S105
NOW_MS: Final = 1_700_000_000_000
PLAIN: Final[dict[str, Any]] = {"model": "churn", "version": "3", "features": {"x": 1.5}}


@pytest.fixture(scope="module")
def closed_port() -> Iterator[str]:
    """An address that is taken, where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def app_of(servers: str, token: str = TOKEN) -> FastAPI:
    app = FastAPI()
    settings = Settings(kafka=KafkaSettings(bootstrap_servers=servers))
    app.include_router(WriteApi(settings, token, timeout_s=0.5).routes())
    return app


def problem_of(body: Any, kind: type[InferenceEvent | Label] = InferenceEvent) -> Problem:
    with pytest.raises(RequestProblem) as caught:
        events_of_body(json_of(body), kind, limits=Limits(), now_ms=NOW_MS)
    return caught.value.problem


COMPLETE: Final[dict[str, Any]] = {**PLAIN, "id": "a", "time_ms": NOW_MS}
INVALID: Final[list[tuple[dict[str, Any], str]]] = [
    ({**COMPLETE, "time_ms": NOW_MS + 86_400_000}, "time_ms"),
    ({**COMPLETE, "time_ms": "today"}, "time_ms"),
    ({**COMPLETE, "time_ms": -1}, "time_ms"),
    ({**COMPLETE, "id": ""}, "id"),
    ({**COMPLETE, "model": "a\nb"}, "model"),
    ({**COMPLETE, "features": {"plan": "x" * 300}}, "features.plan"),
    ({**COMPLETE, "features": {"age": 1, "plan": [1]}}, "features.plan"),
    ({**COMPLETE, "features": {f"f{i}": 1 for i in range(600)}}, "features"),
    ({**COMPLETE, "segment": {"region": "x" * 300}}, "segment.region"),
    ({k: v for k, v in COMPLETE.items() if k != "version"}, "version"),
    ({**COMPLETE, "prediction": "x" * 70_000}, ""),
]


@pytest.mark.parametrize(("invalid", "field"), INVALID, ids=lambda one: str(one)[:40])
def test_an_invalid_event_has_the_reason_and_detail_of_its_dead_letter(
    invalid: dict[str, Any], field: str
) -> None:
    record = ConsumerRecord(0, NOW_MS, CE_TYPE_OF[InferenceEvent], json_of(invalid))
    [dead_letter] = decode(batch_of([record]), Limits()).dead_letters

    found = problem_of([COMPLETE, COMPLETE, invalid])

    assert found.reason == dead_letter.reason
    if found.reason != "too_large":  # the size is that of the compact JSON that is written
        assert found.why == dead_letter.detail
    assert found.where == (f"$[2].{field}" if field else "$[2]")
    assert "event 2 of 3" in found.what
    assert "nothing was written" in found.what
    assert found.fix


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[1, 2", b"\xff", b"[" * 100_000, b'{"x": NaN', b"[NaN, \xff]"]
)
def test_a_body_that_is_no_json_is_an_error(body: bytes) -> None:
    assert problem_of(body).reason == "malformed_json"


@pytest.mark.parametrize("body", [7, "text", None, [7], [None], [[COMPLETE]]])
def test_a_body_without_objects_is_an_error(body: Any) -> None:
    assert problem_of(body).reason == "invalid_event"


def test_an_event_without_id_and_time_has_a_new_id_and_the_present_time() -> None:
    body = [PLAIN, {**PLAIN, "predictoin": 1}, COMPLETE]

    found = events_of_body(json_of(body), InferenceEvent, limits=Limits(), now_ms=NOW_MS)

    assert len({event.id for event in found.events}) == 3
    assert [event.time_ms for event in found.events] == [NOW_MS] * 3
    assert found.events[2].id == "a"
    assert found.ignored_fields == ["predictoin"]


def test_numbers_that_json_does_not_have_are_missing_values() -> None:
    body = b'[{"model":"m","version":"1","features":{"x":NaN,"y":-Infinity,"z":1}}]'

    [event] = events_of_body(body, InferenceEvent, limits=Limits(), now_ms=NOW_MS).events

    assert isinstance(event, InferenceEvent)
    assert event.features == {"x": None, "y": None, "z": 1}


def test_an_event_is_no_label() -> None:
    assert "/api/v1/events" in problem_of({**COMPLETE, "label": 1}, Label).fix
    assert problem_of({"id": "a", "model": "m"}, Label).where == "$.label"


def test_a_label_without_an_id_belongs_to_no_event() -> None:
    """Unless it has the prediction, and needs no event."""
    problem = problem_of({"model": "m", "label": 1}, Label)
    assert (problem.where, problem.what) == ("$.id", "the label is invalid; nothing was written")

    own = {"model": "m", "version": "1", "prediction": 0.2, "label": 1}
    [found] = events_of_body(json_of(own), Label, limits=Limits(), now_ms=NOW_MS).events
    assert found.id


def test_an_empty_body_is_named() -> None:
    with pytest.raises(RequestProblem) as failed:
        events_of_body(b" ", InferenceEvent, limits=Limits(), now_ms=NOW_MS)
    assert (failed.value.problem.where, failed.value.problem.why) == ("the body", "it is empty")


def test_too_many_events_and_none_are_errors() -> None:
    many = events_of_body(
        json_of([PLAIN] * MAX_EVENTS), InferenceEvent, limits=Limits(), now_ms=NOW_MS
    )

    assert len(many.events) == MAX_EVENTS
    assert str(MAX_EVENTS) in problem_of([PLAIN] * (MAX_EVENTS + 1)).why
    assert "empty" in problem_of([]).why


def test_a_request_without_the_token_is_rejected(closed_port: str) -> None:
    [no_token] = post(app_of(closed_port, token=""), PLAIN)
    [missing] = post(app_of(closed_port), PLAIN, authorization="")
    [wrong] = post(app_of(closed_port), PLAIN, authorization="Bearer secre")
    [basic] = post(app_of(closed_port), PLAIN, authorization=f"Basic {TOKEN}")

    assert no_token.status_code == 403
    assert "DRIFTLINE_DASHBOARD_TOKEN_FILE" in no_token.json()["fix"]
    assert [one.status_code for one in (missing, wrong, basic)] == [401] * 3
    assert wrong.headers["www-authenticate"] == "Bearer"


def test_a_compressed_body_is_named(closed_port: str) -> None:
    [answer] = post(app_of(closed_port), gzip.compress(b"[]"), encoding="gzip")
    [plain] = post(app_of(closed_port), [], encoding="identity")

    assert (answer.status_code, plain.status_code) == (415, 422)
    assert answer.json()["where"] == "header Content-Encoding"


def test_a_body_over_the_bound_is_rejected(closed_port: str) -> None:
    [large] = post(app_of(closed_port), b" " * (MAX_BODY_BYTES + 1))
    [many] = post(app_of(closed_port), [PLAIN] * (MAX_EVENTS + 1))
    [invalid] = post(app_of(closed_port), [COMPLETE, {**COMPLETE, "id": ""}])

    assert (large.status_code, many.status_code, invalid.status_code) == (413, 413, 422)
    assert str(MAX_BODY_BYTES) in large.json()["why"]
    assert invalid.json()["where"] == "$[1].id"


@pytest.mark.parametrize("path", ["/api/v1/events", "/monitor/predict"])
def test_without_kafka_the_answer_names_the_ids_to_repeat(closed_port: str, path: str) -> None:
    [answer] = post(app_of(closed_port), [COMPLETE, PLAIN], path=path)

    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    found = msgspec.json.decode(answer.content, type=Problem)
    assert found.ids[0] == "a"
    assert len(found.ids) == 2
    assert closed_port in found.where
    assert found.why
    assert "repeat" in found.fix


def test_requests_over_the_bound_are_rejected_with_a_time_to_retry(closed_port: str) -> None:
    """Without Kafka each request takes as long as the timeout, so all are in work at once."""
    answers = post(app_of(closed_port), *[PLAIN] * (MAX_REQUESTS + 3))

    assert Counter(a.status_code for a in answers) == {503: MAX_REQUESTS, 429: 3}
    assert all("retry-after" in a.headers for a in answers)
