"""Publishing a file: rows become events, and an injection changes their values only."""

from __future__ import annotations

import statistics
from pathlib import Path

import msgspec
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftline.offline.injection import Injection, category_name, inject, parse
from driftline.offline.tables.row_events import (
    PublishColumns,
    layout_to_publish,
    publish_rows,
    row_events_of,
)
from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import open_table
from producer.events import Event, InferenceEvent, Label, Value
from producer.limits import Limits
from stream_monitor.reference.values import category
from tests.builders import inference_event

COLUMNS = PublishColumns(prediction="score", label="late", time="at", id="key")
CSV = """key,at,temp,carrier,score,late
a,2013-01-01T00:00,30.5,UA,0.25,1
b,2013-01-01T01:00,,AA,0.75,0
c,2013-01-01T02:00,NaN,UA,0.5,
"""
NOW_MS = 1_700_000_000_000


class Kept(list[Event]):
    """A writer that keeps what it is given."""

    def write(self, event: Event) -> None:
        self.append(event)


@pytest.fixture
def csv_file(tmp_path: Path) -> Path:
    path = tmp_path / "flights.csv"
    path.write_text(CSV, "utf-8")
    return path


def published(
    path: Path, *injections: str, columns: PublishColumns = COLUMNS, source: str = "a"
) -> list[Event]:
    kept = Kept()
    table = open_table(path)
    rows = row_events_of(
        table,
        layout_to_publish(table, columns),
        model="m",
        version="1",
        columns=columns,
        injections=[parse(text) for text in injections],
        source=source,
        now_ms=NOW_MS,
        limits=Limits(),
    )
    done = publish_rows(rows, kept)
    assert not done.rejected, done
    return kept


def test_each_row_is_an_event_and_its_label_if_it_has_one(csv_file: Path) -> None:
    assert published(csv_file) == [
        inference_event("a", {"temp": 30.5, "carrier": "UA"}, 0.25, time_ms=1_356_998_400_000),
        Label(id="a", model="m", label=1, time_ms=1_356_998_400_000),
        inference_event("b", {"temp": None, "carrier": "AA"}, 0.75, time_ms=1_357_002_000_000),
        Label(id="b", model="m", label=0, time_ms=1_357_002_000_000),
        inference_event("c", {"temp": None, "carrier": "UA"}, time_ms=1_357_005_600_000),
    ]


def test_parquet_gives_the_same_result_as_csv(csv_file: Path, tmp_path: Path) -> None:
    pd.read_csv(csv_file).to_parquet(tmp_path / "flights.parquet")

    assert published(tmp_path / "flights.parquet") == published(csv_file)


def test_injected_drift_changes_its_rows_and_its_column_only(csv_file: Path) -> None:
    plain, changed = published(csv_file), published(csv_file, "swap:carrier:UA=DL@1")

    assert [event for event in changed if event not in plain] == [
        inference_event("c", {"temp": None, "carrier": "DL"}, time_ms=1_357_005_600_000)
    ]


@pytest.mark.parametrize(
    ("columns", "complaint"),
    [
        (PublishColumns(prediction="nothing"), "no column 'nothing'"),
        (PublishColumns(prediction="score", time="carrier"), "row 0: 'UA' is not a time"),
        (PublishColumns(prediction="score", id="no"), "no column 'no'"),
        (PublishColumns(prediction="score", id="late"), "row 2 has no id"),
    ],
)
def test_a_wrong_file_is_rejected_with_row_and_column(
    csv_file: Path, columns: PublishColumns, complaint: str
) -> None:
    with pytest.raises(SourceError, match=complaint):
        published(csv_file, columns=columns)


@pytest.mark.parametrize(
    "text",
    [
        *("mean:temp", "mean:temp@x", "melt:temp:1@5", "swap:carrier:UA@5", "mean:temp:a@5"),
        *("missing:temp:20@5", "missing:temp:-0.1@5", "missing:temp:0@5", "missing:temp:nan@5"),
        *("mean:temp:inf@5", "mean:temp:nansd@5", "scale:temp:1e999@5"),
        *("mean:temp:0@5", "mean:temp:0sd@5", "scale:temp:1@5", "swap:carrier:UA=UA@5"),
    ],
)
def test_a_malformed_injection_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match=text.split("@", maxsplit=1)[0]):
        parse(text)


@pytest.mark.parametrize(
    ("value", "after"),
    [
        ("101", "205"),
        (101, 205),
        (101.0, 205.0),
        (101.5, 101.5),
        (None, None),
        ("101.0", "101.0"),
        (True, True),
    ],
)
def test_a_category_is_swapped_by_its_name_and_stays_what_it_was(
    value: Value, after: Value
) -> None:
    found = inject(parse("swap:code:101=205@0"), value, 0, 1.0)

    assert (type(found), found) == (type(after), after)


@given(
    st.one_of(st.text(), st.integers(), st.booleans(), st.floats(-1e9, 1e9).map(round).map(float))
)
def test_a_category_has_the_name_the_monitor_gives_it(value: Value) -> None:
    assert category_name(value) == category(value)


def test_a_mean_in_deviations_is_of_the_column(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    values = [1.0, 2.0, 4.0, 8.0]
    path.write_text("x,score\n" + "".join(f"{v},0.5\n" for v in values), "utf-8")
    sd = statistics.pstdev(values)

    events = published(path, "mean:x:+2sd@2", columns=PublishColumns(prediction="score"))

    moved = [event.features["x"] for event in events if isinstance(event, InferenceEvent)]
    assert moved == [1.0, 2.0, *(pytest.approx(v + 2 * sd) for v in values[2:])]


@given(
    share=st.floats(0, 1),
    rows=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50),
)
def test_missing_leaves_out_and_changes_nothing_else(share: float, rows: list[float]) -> None:
    injection = Injection(kind="missing", column="x", first=0, amount=share)

    found: list[Value] = [inject(injection, value, i, 1.0) for i, value in enumerate(rows)]

    assert all(after is None or after == before for before, after in zip(rows, found, strict=True))
    assert found == [inject(injection, value, i, 1.0) for i, value in enumerate(rows)]
    if share in (0, 1):
        assert found.count(None) == share * len(rows)


def test_without_columns_for_them_ids_belong_to_the_source_and_times_end_now(
    csv_file: Path,
) -> None:
    columns = PublishColumns(prediction="score")
    first, other = (published(csv_file, columns=columns, source=name) for name in "ab")
    assert [event.time_ms for event in first] == [NOW_MS - 2_000, NOW_MS - 1_000, NOW_MS]
    assert len({msgspec.structs.asdict(event)["id"] for event in [*first, *other]}) == 6
