"""Files as people have them: the same columns, kinds and values in every command that reads them.

Each case is one line: a name, a file, and what is right.
"""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import feather, parquet

from driftline.cli.option_groups import file_options
from driftline.offline.tables import table_reader as reader
from driftline.offline.tables.read_options import ReadOptions
from driftline.offline.tables.row_events import PublishColumns, layout_to_publish, row_events_of
from producer.events import Event
from producer.limits import Limits
from tests.cases.command_runner import read_by, run

N = 340
_RNG = np.random.default_rng(15)
ROWS = pd.DataFrame(
    {
        "amount": _RNG.normal(1_500, 150, N).round(2),
        "qty": _RNG.integers(1, 900, N),
        "shop": _RNG.choice(["Köln", "Ulm", "Bonn"], N),
        "score": _RNG.beta(2, 5, N).round(3),
    }
)


def text(**how: Any) -> str:
    return str(ROWS.to_csv(index=False, **how))


CSV = text()
OBJECTS = ROWS.to_dict("records")
COMMA = {"sep": ";", "decimal": ","}


def lines(objects: Any) -> str:
    return "\n".join(json.dumps(one, ensure_ascii=False) for one in objects)


def grouped(point: str, comma: str) -> str:
    """Amounts in groups of three digits, fields in quotes."""
    swap = str.maketrans({",": comma, ".": point})
    frame = ROWS.assign(amount=ROWS["amount"].map("{:,.2f}".format).str.translate(swap))
    return frame.to_csv(index=False, sep=";" if point == "," else ",")


def zipped(content: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("rows.csv", content)
    return file.getvalue()


def zstd(content: str) -> bytes:
    return bytes(pa.compress(content.encode(), codec="zstd", asbytes=True))


def arrow(**types: Any) -> bytes:
    """The rows as Parquet, with columns of other Arrow types."""
    table = pa.Table.from_pandas(ROWS, preserve_index=False)
    for name, kind in types.items():
        at = table.column_names.index(name)
        table = table.set_column(at, name, table.column(name).cast(kind))
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()


def indexed(frame: pd.DataFrame) -> bytes:
    sink = io.BytesIO()
    frame.to_parquet(sink)
    return sink.getvalue()


def feathered() -> bytes:
    sink = io.BytesIO()
    feather.write_feather(pa.Table.from_pandas(ROWS), sink)
    return sink.getvalue()


def encoded(name: str, content: str = CSV) -> bytes:
    return content.encode(name)


SAME: dict[str, tuple[str, str | bytes]] = {
    "plain": ("a.csv", CSV),
    "semicolon and decimal comma": ("a.csv", text(**COMMA)),
    "tab": ("a.tsv", text(sep="\t")),
    "tab, named .csv": ("a.csv", text(sep="\t")),
    "pipe": ("a.psv", text(sep="|")),
    "pipe and decimal comma, named .txt": ("a.txt", text(sep="|", decimal=",")),
    "sep=; in the first line": ("a.csv", "sep=;\r\n" + text(**COMMA)),
    "line ends of Windows": ("a.csv", text(lineterminator="\r\n")),
    "carriage returns as line ends": ("a.csv", text(lineterminator="\r")),
    "blanks after commas": ("a.csv", CSV.replace(",", ", ")),
    "quotes around every field": ("a.csv", text(quoting=1)),
    "commas at the end of rows": ("a.csv", CSV.replace("\n", ",\n").replace(",\n", "\n", 1)),
    "commas at the end of all lines": ("a.csv", CSV.replace("\n", ",,\n")),
    "UTF-8 with its mark": ("a.csv", encoded("utf-8-sig")),
    "UTF-16 with its mark": ("a.csv", encoded("utf-16")),
    "UTF-16 without": ("a.csv", encoded("utf-16-le")),
    "UTF-32": ("a.csv", encoded("utf-32")),
    "cp1252": ("a.csv", encoded("cp1252")),
    "gzip": ("a.csv.gz", gzip.compress(CSV.encode())),
    "gzip, not named so": ("a.csv", gzip.compress(CSV.encode())),
    "named .gz, and not compressed": ("a.csv.gz", CSV),
    "bz2": ("a.csv.bz2", bz2.compress(CSV.encode())),
    "xz": ("a.csv.xz", lzma.compress(CSV.encode())),
    "zip": ("a.zip", zipped(CSV)),
    "comment before the header": ("a.csv", "# exported at noon\n# by me\n" + CSV),
    "thousands with commas": ("a.csv", grouped(".", ",")),
    "thousands with points, decimal comma": ("a.csv", grouped(",", ".")),
    "thousands with spaces": ("a.csv", grouped(".", "\u202f")),
    "thousands with apostrophes": ("a.csv", grouped(".", "'")),
    "JSON lines": ("a.jsonl", lines(OBJECTS)),
    "JSON lines, named .txt": ("a.txt", lines(OBJECTS)),
    "JSON lines, gzip": ("a.ndjson.gz", gzip.compress(lines(OBJECTS).encode())),
    "JSON lines in UTF-16": ("a.jsonl", encoded("utf-16", lines(OBJECTS))),
    "JSON array": ("a.json", json.dumps(OBJECTS)),
    "JSON array, printed for people": ("a.json", json.dumps(OBJECTS, indent=2)),
    "JSON objects, printed for people": (
        "a.json",
        "\n".join(json.dumps(one, indent=2) for one in OBJECTS),
    ),
    "recorded events": (
        "a.jsonl",
        lines(
            [
                {"features": {k: v for k, v in one.items() if k != "score"}, "score": one["score"]}
                for one in OBJECTS
            ]
        ),
    ),
    "JSON, numbers as text": ("a.jsonl", lines(ROWS.astype(str).to_dict("records"))),
    "Parquet": ("a.parquet", arrow()),
    "Parquet, without its ending": ("rows", arrow()),
    "Parquet, index without a name": ("a.pq", indexed(ROWS.set_index(ROWS.index[::-1]))),
    "Parquet, index with a name": ("a.parquet", indexed(ROWS.set_index("amount"))),
    "dictionary": ("a.parquet", arrow(shop=pa.dictionary(pa.int8(), pa.string()))),
    "large strings": ("a.parquet", arrow(shop=pa.large_string())),
    "bytes of text": ("a.parquet", arrow(shop=pa.binary())),
    "decimal128": ("a.parquet", arrow(amount=pa.decimal128(12, 2), score=pa.decimal128(5, 3))),
    "decimal256": ("a.parquet", arrow(amount=pa.decimal256(40, 2))),
    "small integers": ("a.parquet", arrow(qty=pa.uint16())),
    "nullable pandas types": ("a.parquet", indexed(ROWS.convert_dtypes())),
    "Feather": ("a.feather", feathered()),
}


@functools.cache
def base() -> Path:
    """The same rows as plain CSV."""
    return written(Path(tempfile.mkdtemp(prefix="driftline-cases-")), "base.csv", CSV)


@functools.cache
def expected(command: str) -> Any:
    """What a command makes of the plain rows."""
    return compared(command, read_by(command, base()).json())


@functools.cache
def expected_events() -> list[Event]:
    """What `publish` would write of the plain rows."""
    return list(events(base()))


def compared(command: str, output: Any) -> Any:
    """Without the order of columns, and without what depends on the clock."""
    if command == "explain":
        return {(one["series"], one["channel"]): one for one in output["channels"]}
    return in_order(output)


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read_options(*options: str) -> ReadOptions:
    """The description of a file that was read with these options."""
    named = dict(zip(options[::2], options[1::2], strict=True))
    return file_options(
        decimal=named.get("--decimal"),
        separator=named.get("--separator"),
        categorical=[named["--categorical"]] if "--categorical" in named else None,
        numeric=[named["--numeric"]] if "--numeric" in named else None,
        ignore=[named["--ignore"]] if "--ignore" in named else None,
    )


def events(path: Path, *options: str) -> Iterator[Event]:
    """What `publish` would write."""
    columns = PublishColumns(prediction="score")
    table = reader.open_table(path, read_options(*options))
    rows = row_events_of(
        table,
        layout_to_publish(table, columns),
        model="m",
        version="1",
        columns=columns,
        source="a",
        now_ms=1_700_000_000_000,
        limits=Limits(),
    )
    return (event for row in rows for event in row.events)


def in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: in_order(v) for k, v in sorted(value.items()) if k not in ("seconds", "pairs")}
    return value


@pytest.mark.slow
@pytest.mark.parametrize("case", SAME)
def test_the_same_data_is_the_same_in_every_command(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, *SAME[case])

    turn = list(SAME).index(case) % 3  # each of the others reads a third of the cases
    for command in ("profile", *(("replay",), ("explain",), ())[turn]):
        output = read_by(command, path)
        assert output.code == 0, output
        assert "not watched" not in output.err
        assert compared(command, output.json()) == expected(command)
    if turn == 2:
        columns = run("check", base(), path, "--json").json()["columns"]
        assert {one["column"]: one["verdict"] for one in columns} == dict.fromkeys(ROWS, "ok")
    monkeypatch.setattr(reader, "CHUNK_ROWS", 77)  # however it is cut
    assert list(events(path)) == expected_events()
