"""Errors of this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ReferenceTooShort(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """Too few valid values to say what is normal."""


class NoPositiveLabel(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """Nobody can tell which label is the positive class.  ``seen`` are the labels.

    None of them is ``positive``, and each would count as negative; or, with ``None``, nobody said
    which one is, and they are not 0 and 1.
    """

    def __init__(self, column: str, positive: Any, seen: Sequence[str]) -> None:
        named = ", ".join(map(repr, seen[:8])) + (", ..." if len(seen) > 8 else "")
        none = "" if positive is None else f", and none of them is the positive class {positive!r}"
        super().__init__(f"labels in {column!r} are {named}{none}: say which one is (positive=)")
        self.positive, self.seen, self.named = positive, tuple(seen), named
