"""Options for reading a file and its columns; they override what is inferred."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

DecimalSeparator: TypeAlias = Literal[".", ","]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the commands that read files.

    A text may name several columns separated by commas, unless it is the name of a column.
    ``allow_missing_columns``: a named column may be missing in the file.
    """

    ignore: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    separator: str | None = None
    decimal: DecimalSeparator | None = None
    encoding: str | None = None
    allow_missing_columns: bool = False


DEFAULT_READ_OPTIONS: Final = ReadOptions()
