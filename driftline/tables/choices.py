"""Options about a file and its columns: they come before what its values suggest."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Decimal: TypeAlias = Literal[".", ","]


class Choices(msgspec.Struct, frozen=True, kw_only=True):
    """Options of the commands that read files.

    A text may name several columns with commas between them, unless it is the name of one itself.
    ``lenient``: a column that is not there is none, as in a file that lost one.
    """

    ignore: tuple[str, ...] = ()
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    separator: str | None = None
    decimal: Decimal | None = None
    encoding: str | None = None
    lenient: bool = False


NO_CHOICES: Final = Choices()
