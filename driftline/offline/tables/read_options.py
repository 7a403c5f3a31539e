"""Options about a file and its columns: they come before what its values suggest."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

DecimalSeparator: TypeAlias = Literal[".", ","]


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the commands that read files.

    A text may name several columns with commas between them, unless it is the name of one itself.
    ``allow_missing_columns``: a column that is not there is none, as in a file that lost one.
    """

    ignore: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    separator: str | None = None
    decimal: DecimalSeparator | None = None
    encoding: str | None = None
    allow_missing_columns: bool = False


DEFAULT_READ_OPTIONS: Final = ReadOptions()
