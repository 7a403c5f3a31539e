"""The option ``--reference`` of replay: leading rows, or a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from driftline.offline.tables.source_error import SourceError

_LEAVE: Final = {"--train": "leave some rows to train on, and some to serve"}
_FIRST: Final = re.compile(r"first:(\d+(?:\.\d+)?)(%?)")


def parse_reference(text: str, n_rows: int, option: str = "--reference") -> int | Path:
    """The number of leading rows that ``text`` selects, or the file that it names.

    ``option`` is the option that has the text, for errors.

    Raises:
        SourceError: it selects all rows, or none.

    >>> parse_reference("first:10%", 5000), parse_reference("first:800", 5000)
    (500, 800)
    >>> parse_reference("january.csv", 5000)
    PosixPath('january.csv')
    """
    found = _FIRST.fullmatch(text)
    if found is None:
        if text.startswith("first:"):
            raise SourceError(
                f"{option} {text!r} is not valid", fix="write first:10%, first:5000, or a file"
            )
        return Path(text)
    n = int(n_rows * float(found[1]) / 100) if found[2] else int(float(found[1]))
    if not 0 < n < n_rows:
        raise SourceError(
            f"{option} {text!r} selects {n:,} of {n_rows:,} rows",
            fix=_LEAVE.get(option, "leave some rows for the reference, and some to replay"),
        )
    return n
