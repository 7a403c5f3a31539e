"""Archives, packed and foreign files, long fields: read, or named for what they are."""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.cases.command_runner import run

VALUES = np.random.default_rng(6).normal(100, 10, 1_000).round(3)
CSV = "x\n" + "".join(f"{value}\n" for value in VALUES)


def archive(*members: tuple[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as target:
        for name, content in members:
            target.writestr(name, content)
    return made.getvalue()


def tar_of(content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as target:
        member = tarfile.TarInfo("rows.csv")
        member.size = len(content)
        target.addfile(member, io.BytesIO(content))
    return made.getvalue()


def read(folder: Path, name: str, content: bytes) -> tuple[int, str, str]:
    file = folder / name
    file.write_bytes(content)
    return run("replay", file, "--reference", "first:500")


def test_what_the_archiver_of_macos_adds_is_no_second_file(tmp_path: Path) -> None:
    packed = archive(("rows.csv", CSV.encode()), ("__MACOSX/._rows.csv", b"\x00\x05\x16\x07"))

    code, out, err = read(tmp_path, "rows.zip", packed)

    assert code == 0, err
    assert "500 events of 1 feature" in out


@pytest.mark.parametrize("row", [0, 400])
def test_a_field_longer_than_the_sample_does_not_hide_the_header(row: int, tmp_path: Path) -> None:
    lines = [f"{value},{'a' * 300_000 if n == row else 'b'}" for n, value in enumerate(VALUES)]

    code, out, err = read(tmp_path, "rows.csv", "\n".join(["x,text", *lines]).encode())

    assert code == 0, err
    assert "500 events of 2 features" in out


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("rows.zip", archive(), "the archive contains 0 files"),
        ("rows.zip", archive(("rows.parquet", b"PAR1....PAR1")), "a compressed Parquet file"),
        ("rows.tar.gz", tar_of(CSV.encode()), "files of this format are not supported"),
        ("rows.feather", b"FEA1" + bytes(60) + b"FEA1", "a Feather file of version 1"),
        (
            "rows.json",
            json.dumps({"data": [{"x": 1.0}] * 9}).encode(),
            "the file is one object, and its rows are inside data",
        ),
        (
            "rows.jsonl",
            b'{"x": 1, "c": "\\ud800"}\n' * 9,
            "rows.jsonl: line 1: a text has the lone surrogate U+D800",
        ),
    ],
)
def test_what_is_not_read_is_named(name: str, content: bytes, named: str, tmp_path: Path) -> None:
    code, _, err = read(tmp_path, name, content)

    assert code == 2
    assert named in err
    assert err.count(name) == 1
