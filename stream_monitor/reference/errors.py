"""Errors of this room."""

from __future__ import annotations


class ReferenceTooShort(ValueError):  # noqa: N818 - a finding about data, named for what it says
    """Too few valid values to say what is normal."""
