"""Laws of a spool file: what was written is read in order, and nothing else ever is."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producer.cloudevents import event_headers
from producer.codec import encode, event_headers_of_value
from producer.events import InferenceEvent, Label
from producer.spool.spool_file import SpooledRecord, SpoolFile, SpoolVersionError

FEW = st.text(max_size=8)
RECORDS = st.lists(
    st.builds(SpooledRecord, FEW, st.binary(max_size=8), FEW, st.binary(max_size=9_000)), max_size=8
)


def written(folder: str, records: Sequence[SpooledRecord]) -> Path:
    file = SpoolFile.create(Path(folder))
    assert file.append(records, 1 << 20) == len(records)
    file.close()
    return file.path


def read(path: Path) -> list[SpooledRecord] | None:
    """The records of the file of an ended process; None if an error is raised instead."""
    found: list[SpooledRecord] = []
    try:
        file = SpoolFile.adopt(path)
        assert file is not None
        while (batch := file.first()) is not None:
            found += batch.records
            file.remove(batch)
        file.close()
    except (sqlite3.DatabaseError, SpoolVersionError):
        return None
    return found


def is_subsequence(some: Sequence[SpooledRecord], of: Sequence[SpooledRecord]) -> bool:
    rest = iter(of)
    return all(any(one == other for other in rest) for one in some)


@given(RECORDS)
def test_records_are_read_in_the_order_they_were_written(records: list[SpooledRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert read(written(folder, records)) == records


@given(RECORDS, st.data())
def test_a_damaged_file_returns_only_written_records(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, records)
        full = path.read_bytes()
        begin = data.draw(st.integers(0, len(full)))
        junk = data.draw(st.binary(max_size=60))
        path.write_bytes(full[:begin] + junk + full[begin + len(junk) :])
        found = read(path)

        assert found is None or is_subsequence(found, records)


def test_a_damaged_name_in_the_schema_is_an_error_of_sqlite() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, [])
        full = path.read_bytes()
        at = full.index(b"records", full.index(b"CREATE TABLE") - 40)
        path.write_bytes(full[:at] + b"\x80" + full[at + 1 :])
        file = SpoolFile.adopt(path)
        assert file is not None
        with pytest.raises(sqlite3.DatabaseError, match="malformed"):
            file.first()
        file.close()


@given(RECORDS, st.data())
def test_bytes_lost_from_the_file_invent_no_record(
    records: list[SpooledRecord], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, records)
        full = path.read_bytes()
        begin, end = sorted(data.draw(st.tuples(*[st.integers(0, len(full))] * 2)))
        path.write_bytes(full[:begin] + full[end:])
        found = read(path)

        assert found is None or is_subsequence(found, records)


NAMES = st.text(max_size=8)
EVENTS = st.one_of(
    st.builds(
        InferenceEvent,
        id=NAMES,
        model=NAMES,
        version=NAMES,
        time_ms=st.integers(0, 1 << 40),
        features=st.dictionaries(NAMES, st.one_of(st.none(), st.floats(), NAMES), max_size=3),
        prediction=st.one_of(st.floats(), NAMES),
    ),
    st.builds(Label, id=NAMES, model=NAMES, label=st.floats(), time_ms=st.integers(0, 1 << 40)),
)


@given(EVENTS)
def test_the_headers_of_an_event_are_found_from_its_bytes(event: InferenceEvent | Label) -> None:
    assert event_headers_of_value(encode(event), source="/s") == event_headers(event, source="/s")
