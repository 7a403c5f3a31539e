"""The CloudEvents headers that driftline writes, as consumers of its topics read them."""

from __future__ import annotations

from typing import Final

from producer.cloudevents import cloudevent_headers, event_headers
from producer.events import CE_TYPE_OF, Command, InferenceEvent, Label, ModelUpdate, Tick, Topology

EVENTS: Final = (
    InferenceEvent(id="a", model="m", version="1", time_ms=5, features={}),
    Label(id="a", model="m", label=1, time_ms=5),
    ModelUpdate(id="a", model="m", version="1", time_ms=5),
    Command(id="a", model="m", action="resolve", episode="e", actor="ann", time_ms=5),
    Topology(id="a", time_ms=5, generation=1, partitions=4),
)


def test_an_event_has_the_required_headers_and_no_more() -> None:
    for event in EVENTS:
        assert event_headers(event, source="/svc") == [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"a"),
            ("ce_source", b"/svc"),
            ("ce_type", CE_TYPE_OF[type(event)].encode()),
            ("content-type", b"application/json"),
        ]


def test_a_tick_is_named_after_its_time() -> None:
    assert ("ce_id", b"tick-5") in event_headers(Tick(time_ms=5), source="/svc")


def test_the_trace_context_is_passed_through() -> None:
    assert event_headers(EVENTS[0], source="/svc", traceparent="00-1")[-1] == (
        "traceparent",
        b"00-1",
    )


def test_other_topics_have_time_and_subject_too() -> None:
    headers = cloudevent_headers("t", "a", "/svc", time_ms=1_700_000_000_000, subject="m/1")

    assert dict(headers)["ce_time"] == b"2023-11-14T22:13:20.000Z"
    assert dict(headers)["ce_subject"] == b"m/1"


def test_a_time_that_no_calendar_has_becomes_the_epoch() -> None:
    headers = cloudevent_headers("t", "a", "/svc", time_ms=1 << 62)

    assert dict(headers)["ce_time"] == b"1970-01-01T00:00:00.000Z"
