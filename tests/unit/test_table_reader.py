"""Which files can be read, and the errors of the others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pandas as pd
import pytest

from driftline.offline.tables.source_error import SourceError
from driftline.offline.tables.table_reader import read_table


def rows(path: Path) -> pd.DataFrame:
    return read_table(path).frame


EVENT = {"id": "e1", "model": "m", "features": {"temp": 71.5, "carrier": "UA"}, "prediction": 0.5}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"a,b\n1,x\n2,y\n"),
        ("a.csv", b"\xef\xbb\xbfa,b\n1,x\n2,y\n"),  # as spreadsheets write it
        ("a.csv", b"a;b\r\n1;x\r\n2;y\r\n"),
        ("a.tsv", b"a\tb\n1\tx\n2\ty\n"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0)),
        ("a.jsonl", b'{"a": 1, "b": "x"}\n\n{"a": 2, "b": "y"}'),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n', mtime=0)),
        ("a.json", b'[{"a": 1, "b": "x"}, {"b": "y", "a": 2}]'),
    ],
)
def test_the_same_rows_whatever_the_file(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    frame = rows(tmp_path / name)
    assert frame.to_dict("list") == {"a": [1, 2], "b": ["x", "y"]}


def test_parquet_keeps_its_index_where_it_has_a_name(tmp_path: Path) -> None:
    frame = pd.DataFrame({"at": ["x", "y"], "a": [1, 2]})
    frame.set_index("at").to_parquet(tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet").to_dict("list") == frame.to_dict("list")


def test_recorded_events_become_rows_and_their_features_columns(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps(EVENT) + "\n" + json.dumps(EVENT), "utf-8")
    frame = rows(tmp_path / "a.jsonl")
    assert list(frame) == ["id", "model", "prediction", "temp", "carrier"]
    assert frame["temp"].tolist() == [71.5, 71.5]


def test_not_a_number_in_json_is_read_as_missing(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": NaN}\n{"a": 1.5}\n{"b": 1}\n', "utf-8")
    assert rows(tmp_path / "a.jsonl")["a"].isna().tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"\n\n", "the file is empty"),
        ("a.jsonl", b" \n", "the file is empty"),
        ("a.csv", b"a,b\n", "2 columns and no rows"),
        ("a.csv", b"a,a\n1,2\n", "2 columns have the name 'a'"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "row 1 has more fields"),
        ("a.csv", b"a,b\n1,2,3\n1,2,3\n", "row 0 has more fields than the header has names (2)"),
        ("a.csv", b"a,b\n\xcf\xf0\xe8\xe2\xe5\xf2,2\n", "is not UTF-8, and the text is not West"),
        ("a.csv", b"a,b\n\xff\xfe\x81,2\n", "is not UTF-8, and the text is not cp1252 either"),
        ("a.csv", b"a,b\n1,\x002\n", "character 6 is a NUL"),
        ("a.csv", b"1.5,2\n2.5,3\n", "its first line holds numbers (1.5, 2)"),
        ("a.csv", b'a,b\n1,"2\n3,4\n', "a quote"),
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "line 2: "),
        ("a.jsonl", b'{"a": 1}\n\n[1]\n', "line 3 is not an object"),
        ("a.jsonl", b'{"temp": 1, "features": {"temp": 2}}', "both have the name 'temp'"),
        ("a.parquet", b"a,b\n1,2\n", "Parquet"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:30], "gzip cannot be read"),
        ("a.csv.zst", b"\x28\xb5\x2f\xfd" + b"x" * 30, "zstd cannot be read"),
        ("a.xlsx", b"PK", "files of this format are not supported"),
    ],
)
def test_an_unreadable_file_is_rejected_once_with_place_and_reason(
    tmp_path: Path, name: str, content: bytes, complaint: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError) as raised:
        rows(path)
    assert complaint in str(raised.value)
    assert str(raised.value).count(str(path)) == 1 + str(raised.value).count(f"'{path}'")
