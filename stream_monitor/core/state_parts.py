"""Names of state parts: the parts of a component are stored under its prefix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_prefix(prefix: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a component, named as its owner stores them.

    >>> with_prefix("labels|", {"meta": 1})
    {'labels|meta': 1}
    """
    return {f"{prefix}{name}": part for name, part in parts.items()}


def without_prefix(prefix: str, parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts whose names begin with ``prefix``, as the component names them.

    >>> without_prefix("labels|", {"labels|meta": 1, "model": 2})
    {'meta': 1}
    """
    return {name[len(prefix) :]: part for name, part in parts.items() if name.startswith(prefix)}
