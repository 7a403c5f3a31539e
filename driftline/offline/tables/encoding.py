"""Recognise the compression and the encoding of a file by its bytes, and open it."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import zipfile
from pathlib import Path
from typing import IO, Any, Final, NamedTuple, cast

from driftline.offline.tables.source_error import SourceError

_BLOCK: Final = 1 << 20
_MAGIC: Final = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bz2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
)
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN: Final = "cp1252"
_FOREIGN: Final = re.compile(r"[^\x00-\x7f]{4,}")
_NAME_IT: Final = "name its encoding: --encoding cp1251 (or shift_jis, gb18030, latin-1, ...)"


class TextEncoding(NamedTuple):
    """The compression and the encoding of a file; ``note`` has what was guessed."""

    compression: str
    encoding: str
    note: str = ""


def compression_of(path: Path) -> str:
    """The compression of a file; empty without one."""
    with path.open("rb") as file:
        first = file.read(8)
    return next((name for magic, name in _MAGIC if first.startswith(magic)), "")


def open_bytes(path: Path, compression: str) -> IO[bytes]:
    """The bytes of a file, decompressed.

    Raises:
        SourceError: a zip archive contains several files, or is a workbook.
    """
    if compression == "gzip":
        return cast("IO[bytes]", gzip.open(path, "rb"))
    if compression == "bz2":
        return cast("IO[bytes]", bz2.open(path, "rb"))
    if compression == "xz":
        return cast("IO[bytes]", lzma.open(path, "rb"))
    if compression in ("zstd", "lz4"):
        import pyarrow as pa  # noqa: PLC0415 - for these two alone

        return io.BufferedReader(pa.input_stream(str(path), compression=compression))
    if compression == "zip":
        return _in_archive(path)
    return path.open("rb")


def _in_archive(path: Path) -> IO[bytes]:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if not name.endswith("/")]
    names = [name for name in names if not name.startswith("__MACOSX/")]  # of the macOS archiver
    if "[Content_Types].xml" in names:
        raise SourceError(f"{path}: the file is a workbook", fix="save the sheet as CSV")
    if len(names) != 1:
        raise SourceError(
            f"{path}: the archive contains {len(names)} files", fix="unpack it, and name one file"
        )
    return archive.open(names[0])


def packed_parquet_error(path: Path) -> SourceError:
    """The error for a Parquet file that is compressed as a whole."""
    return SourceError(
        f"{path}: a compressed Parquet file cannot be read", fix="unpack it, as with gunzip"
    )


def text_of(path: Path, encoding: str | None) -> TextEncoding:
    """The compression and the encoding of a text file, after reading all of it once.

    Text that is not UTF-8 is read as Western European (cp1252) if it looks like it.

    Raises:
        SourceError: the file is not text, is damaged, or its encoding must be named.
    """
    compression = compression_of(path)
    try:
        with open_bytes(path, compression) as file:
            start = file.read(_BLOCK)
            if start.startswith(b"PAR1"):
                raise packed_parquet_error(path)
            if encoding is not None:
                _require_encoding(path, file, start, encoding, f"the text is not {encoding}")
                return TextEncoding(compression, encoding)
            found = _by_mark(start) or _by_zeros(start)
            if found is not None:
                complaint = f"the text begins like {found}, but is not {found}"
                _require_encoding(path, file, start, found, complaint)
                return TextEncoding(compression, found)
            bad = _first_bad(file, start, "utf-8")
        if bad is None:
            return TextEncoding(compression, "utf-8")
        with open_bytes(path, compression) as file:
            start = file.read(_BLOCK)
            complaint = f"byte {bad:,} is not UTF-8, and the text is not {_WESTERN} either"
            _require_encoding(path, file, start, _WESTERN, complaint)
        with open_bytes(path, compression) as file:
            _require_western(path, file, bad)
    except (EOFError, OSError, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise SourceError(
            f"{path}: the {compression or 'content'} cannot be read: {error}",
            fix="the file may be truncated: copy it again",
        ) from error
    note = f"read as {_WESTERN}: byte {bad:,} is not UTF-8 (--encoding names another)"
    return TextEncoding(compression, _WESTERN, note)


def open_text(path: Path, text: TextEncoding) -> IO[str]:
    """The text of a file; line ends stay as they are."""
    return io.TextIOWrapper(open_bytes(path, text.compression), encoding=text.encoding, newline="")


def _by_mark(start: bytes) -> str | None:
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


def _by_zeros(start: bytes) -> str | None:
    """UTF-16 without a byte order mark: every other byte of Western text is zero."""
    head = start[:2_000]
    if not head or b"\x00" not in head:
        return None
    even, odd = head[::2].count(0) / len(head), head[1::2].count(0) / len(head)
    return "utf-16-le" if odd > 0.3 > even else "utf-16-be" if even > 0.3 > odd else None


def _first_bad(file: IO[bytes], start: bytes, encoding: str) -> int | None:
    """The position of the first byte that is not valid in the encoding; ``None`` without one."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    at, block = 0, start
    while True:
        try:
            held = len(cast("tuple[bytes, Any]", decoder.getstate())[0])
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            return max(0, at - held + error.start)
        if not block:
            return None
        at += len(block)
        block = file.read(_BLOCK)


def _require_encoding(
    path: Path, file: IO[bytes], start: bytes, encoding: str, complaint: str
) -> None:
    try:
        bad = _first_bad(file, start, encoding)
    except LookupError:
        raise SourceError(f"--encoding {encoding!r} is unknown", fix=_NAME_IT) from None
    if bad is not None:
        raise SourceError(f"{path}: {complaint} (byte {bad:,})", fix=_NAME_IT)


def _require_western(path: Path, file: IO[bytes], bad: int) -> None:
    """Check that characters outside ASCII are rare, as in Western European text.

    Raises:
        SourceError: most of them are in sequences of four or more, as in another alphabet.
    """
    not_ascii = foreign = 0
    while block := file.read(_BLOCK):
        text = block.decode(_WESTERN)
        not_ascii += sum(map(len, re.findall(r"[^\x00-\x7f]+", text)))
        foreign += sum(map(len, _FOREIGN.findall(text)))
    if 2 * foreign > not_ascii:
        raise SourceError(
            f"{path}: byte {bad:,} is not UTF-8, and the text is not Western European either",
            fix=_NAME_IT,
        )
