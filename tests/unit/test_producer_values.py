"""The logger encodes ordinary values of Python, and the monitor accepts what was delivered."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import ipaddress
import logging
import math
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from producer.codec import encode
from producer.counters import LoggerState
from producer.events import CE_TYPE_OF, InferenceEvent, Label
from producer.limits import Limits
from producer.logger import InferenceLogger
from producer.sender import Sender
from producer.times import time_ms_of
from producer.validation import EventValidator
from producer.values import value_of
from stream_monitor.ingest.decode import decode
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch
from tests.properties.name_strategies import NAMES

UNREACHABLE = "127.0.0.1:1"
NOON = 1_711_800_000_000


class Colour(enum.Enum):
    RED = "red"


class Grade(enum.IntEnum):
    A = 1


class Shout(str):
    __slots__ = ()

    def __str__(self) -> str:
        return "not this"


VALUES: list[tuple[Any, Any]] = [
    (np.float32(1.5), 1.5),
    (np.int64(3), 3),
    (np.bool_(True), True),  # noqa: FBT003
    (np.str_("a"), "a"),
    (np.float64("nan"), None),
    (np.array(2.5), 2.5),
    (np.array([2.5]), 2.5),
    (np.longdouble(1.5), 1.5),
    (np.datetime64("2024-01-01T00:00:00"), "2024-01-01T00:00:00"),
    (np.datetime64("2024-01-01", "ns"), "2024-01-01T00:00:00"),
    (np.datetime64("NaT"), None),
    (np.timedelta64(90, "s"), 90.0),
    (np.timedelta64(90, "ns"), 0.0),
    (np.ma.masked, None),
    (pd.NA, None),
    (pd.NaT, None),
    (None, None),
    (float("nan"), None),
    (float("inf"), None),
    (decimal.Decimal("12.50"), 12.5),
    (decimal.Decimal("NaN"), None),
    (decimal.Decimal("sNaN"), None),
    (decimal.Decimal("1e999"), None),
    (fractions.Fraction(1, 4), 0.25),
    (pd.Timestamp("2024-01-01"), "2024-01-01T00:00:00"),
    (pd.Timedelta("90s"), 90.0),
    (dt.datetime(2024, 1, 1), "2024-01-01T00:00:00"),  # noqa: DTZ001
    (dt.date(2024, 1, 1), "2024-01-01"),
    (dt.timedelta(minutes=2), 120.0),
    (dt.time(12, 30), "12:30:00"),
    (uuid.UUID(int=7), str(uuid.UUID(int=7))),
    (Colour.RED, "red"),
    (Grade.A, 1),
    (Shout("this"), "this"),
    (b"red", "red"),
    (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
    (pd.Interval(0, 1), "(0, 1]"),
    (pd.Period("2024-01"), "2024-01"),
    (pa.scalar(7), 7),
    (pa.scalar(None, pa.int64()), None),
    (1 << 64, float(1 << 64)),
    (10**400, None),
    (True, True),
    (0, 0),
    ("", ""),
]


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_a_value_is_what_one_expects(value: Any, expected: Any) -> None:
    found = value_of(value)
    if isinstance(found, float) and not math.isfinite(found):
        found = None  # as `encode` writes it
    assert found == expected
    assert type(found) is type(expected)


class Sent(NamedTuple):
    """What would go to Kafka, and what was counted as invalid, by its reason."""

    records: list[bytes]
    invalid: dict[str, int]


def sent(*, label: Any = UNSET, **logged: Any) -> Sent:
    """Log, and encode as the thread does it, without a thread and without Kafka."""
    logger = InferenceLogger(UNREACHABLE, model="m", version="1", disabled=True)
    logger._disabled = False
    behind = Sender.__new__(Sender)
    behind._validator = EventValidator(Limits())
    behind._state, behind._source, behind._shards = LoggerState(), "/test", 3
    behind._warned_s = 0.0
    logger._sender, logger._state = behind, behind._state
    if label is not UNSET:
        logger.label(id=logged.get("id", "a"), label=label, time_ms=logged.get("time_ms", NOON))
    else:
        logger.log(**logged)
    found = []
    while behind._state.queue:
        encoded = behind._encode_or_reject(behind._state.queue[0])
        behind._state.dequeue()
        if encoded is not None:
            found.append(encoded[1])
    logger._sender = None
    return Sent(found, behind._state.snapshot().invalid)


def taken(values: list[bytes], kind: type) -> list[Any]:
    """What the monitor makes of them; what it rejects is not in it."""
    records = [ConsumerRecord(i, NOON + 10**12, CE_TYPE_OF[kind], v) for i, v in enumerate(values)]
    return [event for _, event in decode(RecordBatch("t", 0, "e", 0, 1, records), Limits()).entries]


def logged(**fields: Any) -> InferenceEvent:
    one = sent(**{"features": {}, "prediction": 0.5, "time_ms": NOON} | fields)
    assert not one.invalid
    [event] = taken(one.records, InferenceEvent)
    assert isinstance(event, InferenceEvent)
    return event


@pytest.mark.parametrize(("value", "expected"), VALUES)
def test_the_monitor_sees_the_value_that_was_logged(value: Any, expected: Any) -> None:
    assert logged(features={"a": value}).features == {"a": expected}


PREDICTIONS: list[tuple[Any, Any]] = [
    (math.nan, None),
    (None, None),
    (math.inf, None),
    (pd.NA, None),
    (object(), None),
    (np.float32(0.5), 0.5),
    (np.array([1.0, 2.0]), [1.0, 2.0]),
    (np.array([[0.5]]), 0.5),
    ((1, decimal.Decimal("2.5")), [1.0, 2.5]),
    (["b", "a"], None),
    ({0: 0.2, 1: 0.8}, {"0": 0.2, "1": 0.8}),
    ({np.int64(0): np.float32(0.5), "x": None}, {"0": 0.5, "x": None}),
    (Colour.RED, "red"),
    ("p" * 5_000, None),
    (pd.Series([1.0, 2.0]), [1.0, 2.0]),
    (UNSET, UNSET),
]


@pytest.mark.parametrize(("prediction", "expected"), PREDICTIONS)
def test_an_event_counts_whatever_its_prediction_is(prediction: Any, expected: Any) -> None:
    assert logged(prediction=prediction).prediction == expected


def test_an_event_may_have_no_prediction() -> None:
    one = sent(features={"a": 1}, time_ms=NOON)
    assert b"prediction" not in one.records[0]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"features": {"a": [1]}}, "no_value"),
        ({"features": {"a": {"b": 1}}}, "no_value"),
        ({"features": {"a": object()}}, "no_value"),
        ({"features": {"a": 1j}}, "no_value"),
        ({"features": {object(): 1}}, "no_value"),
        ({"features": {1: 1, "1": 2}}, "no_value"),
        ({"features": None}, "no_value"),
        ({"features": {f"f{i}": 1 for i in range(600)}}, "too_many_features"),
        ({"features": {f"{i}" * 4: "x" * 250 for i in range(400)}}, "too_large"),
        ({"features": {"a": "x" * 5_000}}, "string_too_long"),
        ({"features": {"a": "\ud800"}}, "encoding"),
        ({"features": {"a\n": 1}}, "name"),
        ({"version": "x" * 300}, "name"),
        ({"version": 3}, "name"),
        ({"segment": {"a": "x" * 300}}, "string_too_long"),
        ({"id": ""}, "empty_id"),
        ({"id": object()}, "no_value"),
        ({"time_ms": -1_711_800_000}, "negative_time"),
        ({"time_ms": 10**30}, "future"),
        ({"time_ms": "soon"}, "no_value"),
    ],
)
def test_an_event_that_the_monitor_rejects_is_invalid_with_a_reason_and_a_log_line(
    fields: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "driftline.producer"):
        one = sent(**{"features": {"a": 1}, "prediction": 0.5, "time_ms": NOON} | fields)
    assert one == Sent([], {reason: 1})
    [line] = caplog.messages
    assert f"({reason})" in line


class Exits(Mapping[str, Any]):
    """What ends the process wherever it is touched."""

    def __getitem__(self, key: str) -> Any:
        raise SystemExit(1)

    def __iter__(self) -> Iterator[str]:
        raise SystemExit(1)

    def __len__(self) -> int:
        raise SystemExit(1)

    def item(self) -> Any:
        raise SystemExit(1)

    def __floor__(self) -> int:
        raise SystemExit(1)

    def __str__(self) -> str:
        raise SystemExit(1)


def test_nothing_escapes_log_nor_the_thread_behind_it() -> None:
    for fields in (
        {"features": Exits()},
        {"features": {"a": Exits()}},
        {"id": Exits()},
        {"time_ms": Exits()},
        {"segment": Exits()},
    ):
        one = sent(**{"features": {}, "prediction": 0.5, "time_ms": NOON} | fields)
        assert sum(one.invalid.values()) == 1
    assert logged(prediction=Exits()).prediction is None
    assert sum(sent(label=Exits()).invalid.values()) == 1


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (1_711_800_000, NOON),
        (1_711_800_000.25, NOON + 250),
        (NOON, NOON),
        (NOON * 1_000 + 999, NOON),
        (NOON * 1_000_000, NOON),
        (np.int64(NOON * 1_000_000), NOON),
        (np.datetime64(NOON, "ms"), NOON),
        (pd.Timestamp(NOON, unit="ms", tz="UTC"), NOON),
        (dt.datetime.fromtimestamp(NOON / 1000, dt.UTC), NOON),
        ("2024-03-30T12:00:00Z", NOON),
        ("1711800000", NOON),
    ],
)
def test_units_of_times_follow_from_their_size(moment: Any, expected: int) -> None:
    assert logged(time_ms=moment).time_ms == expected
    [label] = taken(sent(label=1, time_ms=moment).records, Label)
    assert label.time_ms == expected


@pytest.mark.parametrize("moment", [20240131, 20240131.0, 19991231])
def test_a_day_as_a_number_is_no_time_and_has_its_reason(moment: float) -> None:
    with pytest.raises(ValueError, match=rf"{moment:.0f} looks like a day"):
        time_ms_of(moment)
    assert time_ms_of(str(round(moment))) % 86_400_000 == 0
    assert time_ms_of(20240132) == 20240132_000  # no day: seconds


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (np.int64(2), 2),
        (Colour.RED, "red"),
        (math.nan, None),
        ([1, 2], None),
        ({"a": 1}, None),
        (decimal.Decimal("1.5"), 1.5),
        (True, True),
    ],
)
def test_a_label_may_be_anything(label: Any, expected: Any) -> None:
    [found] = taken(sent(label=label).records, Label)
    assert found.label == expected


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.decimals(),
    st.fractions(),
    st.datetimes(),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.builds(object),
    st.builds(Exits),
    st.complex_numbers(),
    st.sampled_from([value for value, _ in VALUES] + ["x" * 300, "\ud800"]),
)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
KEYS = NAMES | st.text(max_size=4) | st.none() | st.integers() | st.uuids() | st.builds(object)
EVENTS = st.fixed_dictionaries(
    {"features": st.dictionaries(KEYS, SCALARS, max_size=4) | JUNK},
    optional={
        "prediction": JUNK,
        "id": JUNK,
        "time_ms": JUNK,
        "version": JUNK,
        "segment": st.dictionaries(KEYS, SCALARS, max_size=2) | JUNK,
    },
)


@given(EVENTS)
def test_the_monitor_accepts_every_event_that_is_not_counted_as_invalid(
    fields: dict[str, Any],
) -> None:
    one = sent(**fields)
    assert len(one.records) + sum(one.invalid.values()) == 1
    assert len(taken(one.records, InferenceEvent)) == len(one.records)


@given(JUNK, JUNK)
def test_the_monitor_accepts_every_label_that_is_not_counted_as_invalid(
    label: Any, name: Any
) -> None:
    one = sent(label=label, id=name)
    assert len(one.records) + sum(one.invalid.values()) == 1
    assert len(taken(one.records, Label)) == len(one.records)


def test_events_that_are_encoded_twice_are_the_same() -> None:
    event = logged(features={"a": decimal.Decimal(1)})
    assert encode(event) == encode(taken([encode(event)], InferenceEvent)[0])
