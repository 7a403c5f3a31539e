"""Files that cannot be read: the same sentence from every command, exit code 2, no traceback."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.cases.command_runner import READERS, read_by
from tests.cases.test_files import CSV, SAME, encoded, written

REJECTED: dict[str, tuple[str, str | bytes, str]] = {
    "an empty file": ("a.csv", "", "the file is empty"),
    "blank lines": ("a.csv", "\n\n\n", "the file is empty"),
    "an empty archive": ("a.csv.gz", gzip.compress(b""), "the file is empty"),
    "a header alone": ("a.csv", "amount,score\n", "the file has 2 columns and no rows"),
    "no header": (
        "a.csv",
        "\n".join(CSV.split("\n")[1:])
        .replace("Köln", "7")
        .replace("Ulm", "8")
        .replace("Bonn", "9"),
        "the file has no header",
    ),
    "a name twice": ("a.csv", "score,x,score\n1,2,3\n", "2 columns have the name 'score'"),
    "fields without a name": ("a.csv", "score,x\n1,2,3\n1,2,3\n", "row 0 has more fields"),
    "one row too long": ("a.csv", CSV + "1,2,A,0.5,6\n", "row 340 has more fields"),
    "one row much too long": ("a.csv", CSV + "1,2,A,0.5,6,7,8,9\n", "row 340 has more fields"),
    "a quote never closed": ("a.csv", CSV + '1,2,"A,0.5\n', "is not closed"),
    "NUL bytes": ("a.csv", CSV[:2_000] + "\x00" + CSV[2_000:], "is a NUL"),
    "Cyrillic without UTF-8": (
        "a.csv",
        encoded("cp1251", CSV.replace("Köln", "Москва")),
        "name its encoding: --encoding cp1251",
    ),
    "cut off gzip": ("a.csv.gz", gzip.compress(CSV.encode())[:900], "the gzip cannot be read"),
    "a workbook": ("a.xlsx", b"PK\x03\x04", "files of this format are not supported"),
    "no Parquet": ("a.parquet", CSV, "the file cannot be re"),
    "cut off Parquet": ("a.parquet", SAME["Parquet"][1][:3_000], "the file cannot be re"),
    "broken JSON": ("a.jsonl", '{"score": 1}\n{"score": \n', "line 2"),
    "JSON that is no object": ("a.jsonl", '{"score": 1}\n[1]\n', "line 2 is not an object"),
    "a lone surrogate": (
        "a.jsonl",
        '{"score": 1, "x": "a"}\n{"score": 1, "x": "\\ud800"}\n',
        "line 2: a text has the lone surrogate U+D800",
    ),
    "a name with a lone surrogate": (
        "a.json",
        '[{"score": 1, "\\udc80": 2}]',
        "the lone surrogate U+DC80",
    ),
    "a feature and a field of one name": (
        "a.jsonl",
        '{"score": 1, "features": {"score": 2}}',
        "both have the name 'score'",
    ),
}


@pytest.mark.parametrize("case", REJECTED)
def test_an_unreadable_file_is_rejected_the_same_everywhere(case: str, tmp_path: Path) -> None:
    name, content, complaint = REJECTED[case]
    path = written(tmp_path, name, content)
    reported = set()
    for command in READERS:
        output = read_by(command, path)
        assert (output.code, output.out) == (2, "")
        reported.add(output.err)
    (text,) = reported
    assert complaint in text
    assert str(path) in text


def test_no_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path, complaint in (
        (tmp_path / "no.csv", "the file does not exist"),
        (tmp_path, "a folder"),
    ):
        for command in READERS[:5]:  # to `explain` it may be the name of a model
            output = read_by(command, path)
            assert output.code == 2
            assert complaint in output.err


def test_an_invalid_name_is_rejected_the_same_everywhere(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", CSV.replace("qty", "q\x07", 1))
    output = {read_by(command, path).err for command in READERS}
    assert len(output) == 1
    assert "is not a valid name: it has the control character U+0007" in output.pop()
    assert {read_by(command, path).code for command in READERS} == {2}
    assert {read_by(command, path, "--ignore", "q\x07").code for command in READERS} == {0}


@pytest.mark.parametrize("separator", [" ", "^", "~"])
def test_a_file_of_one_column_names_the_option_that_parts_it(
    separator: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "a.csv", CSV.replace(",", separator))
    for command in READERS:
        output = read_by(command, path)
        assert output.code == 2
        assert "if these are several columns, give their --separator" in output.err
        assert read_by(command, path, "--separator", separator).code == 0


@pytest.mark.parametrize(
    ("of_row", "complaint"),
    [
        ("yesterday", "row 0: 'yesterday' is not a time"),
        ("true", "row 0: True is not a time"),
        ("", "row 0 has no time"),
        ("20240131", "looks like a calendar date"),
    ],
)
def test_an_invalid_time_is_rejected_the_same_everywhere(
    of_row: str, complaint: str, tmp_path: Path
) -> None:
    rows = CSV.rstrip().split("\n")
    dated = "\n".join([f"{rows[0]},at", *(f"{row},{of_row}" for row in rows[1:])])
    path = written(tmp_path, "a.csv", dated + "\n")
    for command in READERS:
        output = read_by(command, path, "--time", "at")
        assert (output.code, output.out) == (2, ""), command
        assert complaint in output.err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--ignore", "amout"), "--ignore: there is no column 'amout'"),
        (("--numeric", "shop"), "--numeric: 'shop' does not hold numbers"),
        (("--numeric", "qty", "--categorical", "qty"), "'qty' is also named by another option"),
        (("--separator", "ab"), "--separator 'ab' is not one character"),
        (("--decimal", ";"), "--decimal ';' is neither a point nor a comma"),
        (("--encoding", "utf8000"), "--encoding 'utf8000' is unknown"),
        (("--encoding", "ascii"), "the text is not ascii"),
    ],
)
def test_a_contradictory_option_is_rejected_by_both_commands(
    options: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    path = written(tmp_path, "a.csv", CSV)
    for command in READERS:
        output = read_by(command, path, *options)
        assert output.code == 2
        assert complaint in output.err
