"""The logger never blocks and never raises in serving, and its counters add up."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import pytest
from confluent_kafka import Consumer, TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from producer.codec import decode
from producer.counters import Counters
from producer.events import Label
from producer.logger import InferenceLogger
from tests.builders import inference_event

UNREACHABLE = "127.0.0.1:1"
NOON = 1_711_800_000_000


def logger_on(servers: str, **settings: Any) -> InferenceLogger:
    return InferenceLogger(servers, model="m", version="1", **settings)


def adds_up(counters: Counters) -> bool:
    lost = sum(counters.dropped.values())
    return counters.accepted == counters.delivered + lost + counters.in_flight


def read(servers: str, n: int) -> list[tuple[Any, dict[str, bytes]]]:
    consumer = Consumer(
        {"bootstrap.servers": servers, "group.id": "t", "auto.offset.reset": "earliest"}
    )
    known = consumer.list_topics("driftline.events.v1", timeout=5).topics["driftline.events.v1"]
    consumer.assign([TopicPartition("driftline.events.v1", p, 0) for p in known.partitions])
    found = []
    for _ in range(200):
        for message in consumer.consume(n, 0.1):
            headers = {name: bytes(value or b"") for name, value in message.headers() or []}  # type: ignore[arg-type,str-unpack]
            found.append((decode(message.value() or b"", headers["ce_type"].decode()), headers))
        if len(found) >= n:
            break
    consumer.close()
    return found


def test_logged_events_arrive_unchanged(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    first = log.log(features={"temp": 71.6, "carrier": "UA"}, prediction=0.18, time_ms=NOON)
    log.label(id=first, label=1, time_ms=NOON + 9)

    assert log.flush(10) == 0
    assert log.counters() == Counters(accepted=2, delivered=2, dropped={}, in_flight=0)
    (event, headers), (label, _) = read(mock_broker, 2)
    assert event == inference_event(first, {"temp": 71.6, "carrier": "UA"}, 0.18, time_ms=NOON)
    assert label == Label(id=first, model="m", label=1, time_ms=NOON + 9)
    assert headers["ce_specversion"] == b"1.0"
    assert headers["ce_id"].decode() == first
    log.close()


def test_numbers_of_numpy_are_numbers_and_what_is_not_finite_is_missing(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    log.log(features={"a": np.float32(0.5), "b": math.nan, "c": np.int64(3)}, prediction=1.0)

    assert log.flush(10) == 0
    assert read(mock_broker, 1)[0][0].features == {"a": 0.5, "b": None, "c": 3}
    log.close()


def test_features_may_change_after_they_were_logged(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    features: dict[str, Any] = {"a": 1}
    log.log(features=features, prediction=1.0)
    features["a"] = 2

    assert log.flush(10) == 0
    assert read(mock_broker, 1)[0][0].features == {"a": 1}
    log.close()


def test_bad_input_is_counted_and_never_raised(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    log.log(features=None, prediction=1.0)  # type: ignore[arg-type]
    log.log(features={"a": object()}, prediction=1.0)
    log.log(features={"a": 1}, prediction=1.0)
    log.flush(10)

    assert log.counters() == Counters(
        accepted=3, delivered=1, dropped={"invalid": 2}, in_flight=0, invalid={"no_value": 2}
    )
    log.close()


class Hostile(Mapping[str, Any]):
    """What raises wherever it is touched; an error is not always one of value or type."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        return iter("ab")

    def __len__(self) -> int:
        raise OSError

    def __floor__(self) -> int:
        raise ZeroDivisionError

    def item(self) -> Any:
        raise LookupError


class Endless(Hostile):
    def __iter__(self) -> Iterator[str]:
        raise RecursionError


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.builds(object),
    st.builds(Hostile),
    st.builds(Endless),
    st.sampled_from([10**400, "\ud800", np.float32(1.5), np.int64(7)]),
)
KEYS = st.none() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.builds(object)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)
FIELDS = dict.fromkeys(("id", "time_ms", "segment", "version"), JUNK)


@given(st.fixed_dictionaries({"features": JUNK, "prediction": JUNK}, optional=FIELDS), JUNK, JUNK)
def test_logging_any_value_raises_nothing_and_counts_once(
    junk_logger: InferenceLogger, junk: dict[str, Any], label: Any, time_ms: Any
) -> None:
    before = junk_logger.counters().accepted
    event_id: Any = junk_logger.log(**junk)
    junk_logger.label(id=event_id, label=label, time_ms=time_ms)

    assert isinstance(event_id, str) or event_id is junk["id"]
    assert junk_logger.flush(10) == 0
    counters = junk_logger.counters()
    assert counters.accepted == before + 2
    assert counters.delivered + sum(counters.dropped.values()) == counters.accepted


@pytest.fixture
def junk_logger(mock_broker: str) -> Iterator[InferenceLogger]:
    with logger_on(mock_broker) as log:
        yield log


def test_a_time_with_a_fraction_is_a_whole_number_of_milliseconds(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    event_id = log.log(features={"a": 1.0}, prediction=0.5, time_ms=1384903980000.75)
    log.label(id=event_id, label=1, time_ms=np.float64(1384903980001.5))
    for no_time in (math.nan, math.inf, "soon"):
        log.log(features={"a": 1.0}, prediction=0.5, time_ms=no_time)
        log.label(id="b", label=1, time_ms=no_time)

    assert log.flush(10) == 0
    assert event_id.startswith("014272b5-b3e0-7")
    assert [event.time_ms for event, _ in read(mock_broker, 2)] == [1384903980000, 1384903980001]
    assert log.counters() == Counters(
        accepted=8, delivered=2, dropped={"invalid": 6}, in_flight=0, invalid={"no_value": 6}
    )
    log.close()


def test_with_a_dead_kafka_memory_is_bounded_and_the_newest_events_are_dropped() -> None:
    log = logger_on(UNREACHABLE, max_messages=100)
    for _ in range(1_000):
        log.log(features={"a": 1.0}, prediction=0.5)
    counters = log.counters()

    assert adds_up(counters)
    assert counters.delivered == 0
    assert 100 <= counters.in_flight <= 200  # our queue, and librdkafka's
    assert counters.dropped == {"queue_full": 1_000 - counters.in_flight}
    assert log.flush(0.05) == counters.in_flight
    log.close(0)


def test_events_that_expire_are_counted_by_their_reason() -> None:
    log = logger_on(UNREACHABLE, message_timeout_ms=50)
    for _ in range(20):
        log.log(features={"a": 1.0}, prediction=0.5)

    assert log.flush(10) == 0
    counters = log.counters()
    assert adds_up(counters)
    assert sum(counters.dropped.values()) == 20
    log.close(0)


def test_counters_add_up_under_concurrent_threads(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    seen: list[bool] = []

    def serve() -> None:
        for _ in range(500):
            log.log(features={"a": 1.0}, prediction=0.5)
            seen.append(adds_up(log.counters()))

    threads = [threading.Thread(target=serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert log.flush(10) == 0
    assert all(seen)
    assert log.counters().delivered == 2_000
    log.close()


def _in_child(log: InferenceLogger, answer: Connection) -> None:
    for _ in range(10):
        log.log(features={"a": 1.0}, prediction=0.5)
    left = log.flush(10)
    answer.send((left, log.counters().accepted, log.counters().delivered))
    answer.close()
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_forked_child_delivers_its_own_and_nothing_of_its_parent(mock_broker: str) -> None:
    log = logger_on(mock_broker)
    log.log(features={"a": 1.0}, prediction=0.5)
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_in_child, args=(log, theirs))
    child.start()

    assert ours.poll(20)
    assert ours.recv() == (0, 10, 10)
    child.join()
    assert log.flush(10) == 0
    assert log.counters().accepted == 1
    log.close()


def test_a_disabled_logger_does_nothing() -> None:
    log = logger_on(UNREACHABLE, disabled=True)
    log.log(features={"a": 1.0}, prediction=0.5)

    assert log.counters().accepted == 0


def test_the_logger_reads_its_servers_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, mock_broker: str
) -> None:
    monkeypatch.setenv("DRIFTLINE_KAFKA__BOOTSTRAP_SERVERS", mock_broker)
    with InferenceLogger.from_env(model="m", version="1") as log:
        log.log(features={"a": 1.0}, prediction=0.5)
        assert log.flush(10) == 0


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 257, "é" * 129, "\ud800"])
def test_an_invalid_name_is_rejected_at_construction(name: str) -> None:
    with pytest.raises(ValueError, match="model"):
        InferenceLogger(UNREACHABLE, model=name, version="1")


def test_a_model_server_loads_neither_numpy_nor_the_monitor() -> None:
    program = (
        "import sys, producer.logger, producer.writer;"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'stream_monitor', 'faust')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
