"""Columns as people have them: what each is taken for, in every command that reads files.

A case is a name, the values, and what is right: kind and first value, or why it is not watched.
"""

from __future__ import annotations

import datetime as dt
import decimal
import io
import json
import uuid
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.cases.command_runner import read_by, run
from tests.cases.test_files import ROWS, N, events, lines, written

RNG: Final = np.random.default_rng(7)
NUMBERS: Final[list[float]] = RNG.normal(0, 50, N).round(1).tolist()
A: Final = NUMBERS[0]
SIZES: Final = [abs(x) for x in NUMBERS]
THOUSANDS: Final = [f"{1 + i % 9},{100 + i % 800}" for i in range(N)]
START: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
TIMES: Final = [START + dt.timedelta(minutes=i) for i in range(N)]
SNOWFLAKES: Final = RNG.integers(2**60, 2**62, 2_000)


class Case(NamedTuple):
    """``values`` as texts of a CSV, as an Arrow array, or as JSON; then what is right."""

    values: Any
    kind: str = ""
    first: Any = None
    because: str = ""
    options: tuple[str, ...] = ()


def texts(values: Any) -> list[str]:
    return [str(value) for value in values]


def some(share: int, other: Any, values: Any) -> list[Any]:
    """``other`` in every ``share``-th row."""
    return [other if i % share == share - 1 else value for i, value in enumerate(values)]


ZIPS: Final = [f"{(i * 37) % 50:05d}" for i in range(N)]
CODES: Final = texts(RNG.integers(1, 6, N) * 101)
FLAGS: Final = [i % 3 == 0 for i in range(N)]
WORDS: Final = [("yes", "no", "maybe")[i % 3] for i in range(N)]

IN_CSV: dict[str, Case] = {
    "numbers": Case(texts(NUMBERS), "numeric", A),
    "an exponent": Case([f"{x:.3e}" for x in NUMBERS], "numeric", float(f"{A:.3e}")),
    "percent": Case([f"{x} %" for x in NUMBERS], "numeric", A),
    "a currency": Case([f"€{x:.2f}" for x in SIZES], "numeric", abs(A)),
    "an accountant's brackets": Case(
        [f"({-x})" if x < 0 else f"{x}" for x in NUMBERS], "numeric", A
    ),
    "a minus of typographers": Case([str(x).replace("-", "\u2212") for x in NUMBERS], "numeric", A),
    "words among numbers": Case(some(20, "oops", texts(NUMBERS)), "numeric", A),
    "words for missing": Case(some(12, "n/a", texts(NUMBERS)), "numeric", A),
    "beyond 1e12": Case([f"{x}e14" for x in NUMBERS], "numeric", A * 1e14),
    "1,234 where other columns have a point": Case(THOUSANDS, "numeric", 1_100.0),
    "1,234 and --decimal": Case(THOUSANDS, "numeric", 1.1, options=("--decimal", ",")),
    "leading zeros": Case(ZIPS, "categorical", "00000"),
    "unknown words for missing, and --numeric": Case(
        some(9, "-", texts(NUMBERS)), "numeric", A, options=("--numeric", "x")
    ),
    "codes": Case(CODES, "numeric", float(CODES[0])),
    "codes and --categorical": Case(CODES, "categorical", CODES[0], options=("--categorical", "x")),
    "codes and --ignore": Case(CODES, because="--ignore", options=("--ignore", "x")),
    "true and false": Case([str(x).upper() for x in FLAGS], "boolean", FLAGS[0]),
    "yes and no": Case(WORDS, "categorical", "yes"),
    "a comma in quotes": Case([f"a, {x}" for x in WORDS], "categorical", "a, yes"),
    "a newline in quotes": Case([f"a\n{x}" for x in WORDS], "categorical", "a\nyes"),
    "quotes in quotes": Case([f'a "{x}"' for x in WORDS], "categorical", 'a "yes"'),
    "addresses": Case([f"10.0.0.{i % 50}" for i in range(N)], "categorical", "10.0.0.0"),
    "ISO times": Case([x.isoformat() for x in TIMES], because="a time (use --time)"),
    "days of Germany": Case([f"{x:%d.%m.%Y}" for x in TIMES], because="a time (use --time)"),
    "days of America": Case([f"{x:%m/%d/%y}" for x in TIMES], because="a time (use --time)"),
    "names of months": Case([f"{x:%d-%b-%Y}" for x in TIMES], because="a time (use --time)"),
    "identifiers": Case([str(uuid.UUID(int=i * 2**90)) for i in range(N)], because="identifier"),
    "row numbers": Case(texts(range(N)), because="it only counts up"),
    "nothing": Case([""] * N, because="all values are missing"),
    "one value": Case(["7"] * N, "numeric", 7.0),
}
IN_PARQUET: dict[str, Case] = {
    "decimal128 with gaps": Case(
        pa.array(some(12, None, [decimal.Decimal(str(x)) for x in NUMBERS]), pa.decimal128(9, 1)),
        "numeric",
        A,
    ),
    "half floats": Case(
        pa.array(np.array(NUMBERS, dtype=np.float16)), "numeric", float(np.float16(A))
    ),
    "integers with gaps": Case(
        pa.array(some(12, None, [7, *range(1, N)]), pa.int32()), "numeric", 7.0
    ),
    "booleans with gaps": Case(pa.array(some(12, None, FLAGS)), "boolean", first=True),
    "a dictionary of numbers": Case(
        pa.array([x // 25 for x in NUMBERS]).dictionary_encode(), "numeric", A // 25
    ),
    "views of strings": Case(pa.array(WORDS).cast(pa.string_view()), "categorical", "yes"),
    "zip codes": Case(pa.array(ZIPS), "categorical", "00000"),
    "the text NA": Case(pa.array(some(2, "NA", WORDS)), "categorical", "yes"),
    "times with a zone": Case(
        pa.array(TIMES, pa.timestamp("us", "UTC")), because="a time (use --time)"
    ),
    "times beyond nanoseconds": Case(
        pa.array([x.replace(year=4000) for x in TIMES], pa.timestamp("us", "UTC")),
        because="a time (use --time)",
    ),
    "days": Case(pa.array([x.date() for x in TIMES], pa.date32()), because="a time (use --time)"),
    "times of day": Case(
        pa.array([x.time() for x in TIMES], pa.time64("us")), because="times of day"
    ),
    "durations": Case(pa.array([dt.timedelta(seconds=x) for x in SIZES]), "numeric", abs(A)),
    "bytes": Case(pa.array([b"\xff" + bytes([i % 7]) for i in range(N)]), because="bytes"),
    "lists": Case(pa.array([[1.0, 2.0]] * N), because="lists or objects"),
    "maps": Case(
        pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int8())), because="lists or objects"
    ),
    "structures": Case(pa.array([{"a": 1}] * N), because="lists or objects"),
    "null": Case(pa.nulls(N), because="all values are missing"),
    "infinity": Case(pa.array([float("inf")] * N), because="none of the numbers is finite"),
}
IN_JSON: dict[str, Case] = {
    "numbers": Case(NUMBERS, "numeric", A),
    "numbers as text": Case(texts(NUMBERS), "numeric", A),
    "numbers and a few words": Case(some(20, "oops", NUMBERS), "numeric", A),
    "numbers and words mixed": Case(some(2, "a", [1] * N), "categorical", "1"),
    "truth and null": Case(some(12, None, FLAGS), "boolean", first=True),
    "beyond 64 bits": Case([2**70 + i % 7 for i in range(N)], "numeric", float(2**70)),
    "objects": Case([{"a": 1}] * N, because="lists or objects"),
    "lists of nothing": Case([[]] * N, because="lists or objects"),
}


def in_csv(values: Any) -> tuple[str, str]:
    return "a.csv", str(ROWS.assign(x=values).to_csv(index=False))


def in_parquet(values: Any) -> tuple[str, bytes]:
    table = pa.Table.from_pandas(ROWS, preserve_index=False).append_column("x", values)
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return "a.parquet", sink.getvalue()


def in_json(values: Any) -> tuple[str, str]:
    rows = zip(ROWS.to_dict("records"), values, strict=True)
    return "a.jsonl", lines([{**row, "x": value} for row, value in rows])


FORMS = {"csv": (in_csv, IN_CSV), "parquet": (in_parquet, IN_PARQUET), "json": (in_json, IN_JSON)}
CASES = [(form, name) for form, (_, cases) in FORMS.items() for name in cases]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "name"), CASES)
def test_a_column_is_the_same_in_every_command(form: str, name: str, tmp_path: Path) -> None:
    make, cases = FORMS[form]
    case = cases[name]
    file: Any = make(case.values)
    path = written(tmp_path, *file)

    inspected = read_by("inspect", path, *case.options)
    assert inspected.code == 0, inspected
    (column,) = (one for one in inspected.json()["columns"] if one["name"] == "x")
    built = read_by("profile", path, *case.options)
    assert built.code == 0, built
    reported = f"not watched: x: {column['not_watched_because']}" in built.err
    assert reported == bool(case.because)
    if not case.because:
        assert built.json()["features"]["x"]["kind"] == case.kind
    first: Any = next(events(path, *case.options))
    if case.because:
        assert case.because in column["not_watched_because"]
        assert "x" not in first.features
        return
    assert (column["watched"], column["kind"]) == (True, case.kind)
    value = first.features["x"]
    assert type(value) is type(case.first)
    assert value == (pytest.approx(case.first) if case.kind == "numeric" else case.first)


def test_an_identifier_that_no_float_holds_is_none(tmp_path: Path) -> None:
    """Its last digits would be lost, and different identifiers would become equal."""
    frame = pd.DataFrame({"x": SNOWFLAKES, "amount": RNG.normal(size=len(SNOWFLAKES))})
    frame.to_csv(tmp_path / "a.csv", index=False)
    output = json.loads(read_by("inspect", tmp_path / "a.csv").out)
    assert "above 2^53" in output["columns"][0]["not_watched_because"]


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.jsonl"])
def test_large_floats_are_numbers_and_identifiers_with_gaps_are_none(
    name: str, tmp_path: Path
) -> None:
    gaps = [None if i % 9 == 0 else x for i, x in enumerate(SNOWFLAKES.tolist())]
    values = RNG.normal(1e17, 1e15, len(gaps))
    frame = pd.DataFrame({"id": pd.array(gaps, dtype="Int64"), "value": values})
    path = tmp_path / name
    if name == "a.csv":
        frame.to_csv(path, index=False)
    elif name == "a.parquet":
        frame.to_parquet(path)
    else:
        rows = zip(gaps, values.tolist(), strict=True)
        path.write_text(lines([{"id": one, "value": value} for one, value in rows]))
    identifier, value = json.loads(read_by("inspect", path, "--json").out)["columns"]
    assert "above 2^53" in identifier["not_watched_because"]
    assert (value["kind"], value["watched"]) == ("numeric", True)
    assert read_by("profile", path).json()["features"]["value"]["mean"] == pytest.approx(
        values.mean(), rel=0.01
    )


@pytest.mark.parametrize("many", [10, 1_500])
def test_numbers_among_words_are_named_with_the_option_that_watches_them(
    many: int, tmp_path: Path
) -> None:
    values = some(4, "?", texts([i * 7919 % many for i in range(2_000)]))
    pd.DataFrame({"x": values, "y": RNG.normal(size=2_000)}).to_csv(tmp_path / "a.csv", index=False)
    output = json.loads(read_by("inspect", tmp_path / "a.csv", "--json").out)["columns"][0]
    assert "75% of the values are numbers: --numeric" in output["why"]
    built = read_by("profile", tmp_path / "a.csv", "--numeric", "x").json()
    assert built["features"]["x"]["kind"] == "numeric"


def test_a_column_of_text_that_is_mostly_numbers_is_named_where_it_is_watched(
    tmp_path: Path,
) -> None:
    file = tmp_path / "dashes.csv"
    rows = {"x": some(3, "-", texts(np.round(NUMBERS))), "word": WORDS}
    pd.DataFrame(rows).to_csv(file, index=False)
    note = "read as text, although most values are numbers: x; to watch the numbers: --numeric x"

    assert note in run("replay", file, "--reference", "first:300").out
    build = ("profile", "build", file, "--model", "m", "--version", "1")
    assert note in run(*build).err
    assert note not in run(*build, "--numeric", "x").err


def test_codes_with_a_decimal_point_are_the_same_codes(tmp_path: Path) -> None:
    """Pandas writes 101 as 101.0 once a value of the column is missing."""
    plain, pointed = tmp_path / "plain.csv", tmp_path / "pointed.csv"
    pd.DataFrame({"x": CODES, "word": WORDS}).to_csv(plain, index=False)
    pd.DataFrame({"x": [f"{code}.0" for code in CODES], "word": WORDS}).to_csv(pointed, index=False)

    for files in ((plain, pointed), (pointed, plain)):
        done = run("check", *files, "--categorical", "x")
        assert done.code == 0, done.out


def test_periods_are_the_times_at_which_they_begin(tmp_path: Path) -> None:
    """They are stored as counts of days, and were read as seconds since 1970."""
    file = tmp_path / "periods.parquet"
    periods = pd.period_range("2021-03-01", periods=N, freq="h")
    pd.DataFrame({"at": periods, "x": NUMBERS}).to_parquet(file)

    out = run("replay", file, "--reference", "first:300", "--time", "at").out

    assert f"at, {periods[300].to_timestamp():%-d %b %Y %H:%M} UTC to" in out


def test_an_ambiguous_comma_is_an_error_that_asks_for_the_option(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": THOUSANDS, "shop": WORDS})
    frame.to_csv(tmp_path / "a.csv", index=False, sep=";")
    output = read_by("profile", tmp_path / "a.csv")
    assert (
        "not watched: x: numbers like '1,234', which is 1234 or 1.234: give --decimal" in output.err
    )
    for mark, mean in ((".", 1_000), (",", 1)):
        built = read_by("profile", tmp_path / "a.csv", "--decimal", mark).json()
        assert built["features"]["x"]["mean"] // mean in range(1, 10)


@pytest.mark.parametrize(
    ("unit", "jitter_s"), [(1, 0), (1_000, 3), (1_000_000, 30), (1_000_000_000, 3)]
)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_numbers_since_1970_are_a_time_in_any_unit_and_order(
    unit: int, jitter_s: int, form: str, tmp_path: Path
) -> None:
    """Their passing is no drift.  Events arrive out of order, and a file may be short."""
    rng = np.random.default_rng(jitter_s)
    late_s = rng.integers(-jitter_s, jitter_s + 1, 700)
    at = (1_711_800_000 + 10 * np.arange(700) + late_s) * unit
    rows = pd.DataFrame({"created": at, "x": rng.normal(size=700)})
    file = tmp_path / f"rows.{form}"
    {
        "csv": lambda: rows.to_csv(file, index=False),
        "jsonl": lambda: rows.to_json(file, orient="records", lines=True),
        "parquet": lambda: rows.to_parquet(file),
    }[form]()

    [created, _] = run("inspect", file, "--json").json()["columns"]

    assert (created["watched"], "a time (use --time)" in created["not_watched_because"]) == (
        False,
        True,
    )


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(1).permutation(np.arange(1_700_000_000, 1_700_000_700)),
        np.random.default_rng(2).normal(1.5e9, 1e8, 700).round(),
        np.linspace(5e13, 9e13, 700) + np.random.default_rng(3).normal(0, 1e12, 700),
    ],
    ids=["in no order", "amounts", "large amounts that rise"],
)
def test_large_numbers_are_no_time_unless_they_rise_from_2001_on(
    values: np.ndarray, tmp_path: Path
) -> None:
    pd.DataFrame({"amount": values}).to_csv(tmp_path / "rows.csv", index=False)

    [amount] = run("inspect", tmp_path / "rows.csv", "--json").json()["columns"]

    assert (amount["kind"], amount["watched"]) == ("numeric", True)


@pytest.mark.parametrize("by", ["amount", "other"])
def test_a_sorted_reference_that_hides_a_difference_is_named(by: str, tmp_path: Path) -> None:
    """Its rows depend on each other over hundreds: without a word it looked like no difference."""
    rng = np.random.default_rng(5)

    def rows(mean: float) -> pd.DataFrame:
        amount = rng.normal(mean, 10, 4_000)
        return pd.DataFrame({"amount": amount, "other": amount + rng.normal(0, 5, 4_000)})

    reference, same, shifted = (tmp_path / f"{name}.csv" for name in ("ref", "same", "shifted"))
    rows(50).sort_values(by, ascending=False).to_csv(reference, index=False)
    rows(50).to_csv(same, index=False)
    rows(60).to_csv(shifted, index=False)

    assert "sorted" not in run("check", reference, same).out
    shown = run("check", reference, shifted).out
    assert shown.count("not significant (rows depend on each other over") == 2
    assert shown.count("if the reference is sorted, shuffle its rows") == 2
