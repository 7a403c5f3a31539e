"""Errors of this room."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class ReferenceTooShort(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """Too few valid values to say what is normal."""


class NoPositiveLabel(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """No label is the positive class: each would count as negative.  ``seen`` are the labels."""

    def __init__(self, column: str, positive: Any, seen: Sequence[str]) -> None:
        named = ", ".join(map(repr, seen[:8])) + (", ..." if len(seen) > 8 else "")
        super().__init__(
            f"labels in {column!r} are {named}, and none of them is the positive class "
            f"{positive!r}: say which one is (positive=)"
        )
        self.positive, self.seen, self.named = positive, tuple(seen), named
