"""Errors of fitting a reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ReferenceTooShort(ValueError):  # noqa: N818 - a finding about data
    """Too few valid values for a reference."""


class NoPositiveLabel(ValueError):  # noqa: N818 - a finding about data
    """The positive class is unknown: no label in ``seen`` is ``positive``.

    With ``positive`` ``None`` the user gave no positive class, and the labels are not 0 and 1.
    """

    def __init__(self, column: str, positive: Any, seen: Sequence[str]) -> None:
        named = ", ".join(map(repr, seen[:8])) + (", ..." if len(seen) > 8 else "")
        none = "" if positive is None else f", and none of them is the positive class {positive!r}"
        super().__init__(
            f"labels in {column!r} are {named}{none}: set positive= to the positive class"
        )
        self.positive, self.seen, self.named = positive, tuple(seen), named
