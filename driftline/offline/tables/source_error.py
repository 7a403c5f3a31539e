"""The error for a file, or an option about it, that a command cannot use."""

from __future__ import annotations


class SourceError(ValueError):
    """A file or an option about it cannot be used; ``fix`` has the next step."""

    def __init__(self, what: str, *, fix: str = "") -> None:
        super().__init__(what)
        self.fix = fix
