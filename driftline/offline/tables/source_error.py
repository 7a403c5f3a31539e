"""A file, or an option about it, that a command cannot use."""

from __future__ import annotations


class SourceError(ValueError):
    """The file, or what was asked of it, does not do; ``fix`` says what to do."""

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix
