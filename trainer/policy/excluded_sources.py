"""Producers whose new rows train no model of theirs, because only their events show a change."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class ExcludedSource(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """The producer ``name`` (empty: producers without ``ce_source``) since event time ``since_ms``.

    ``column`` of the training frame names it: ``ce_source`` of events or ``label_ce_source``.
    """

    column: str
    name: str
    since_ms: int


def first_exclusions(excluded: Iterable[ExcludedSource]) -> list[ExcludedSource]:
    """Return each producer once, with its first exclusion.

    What it wrote since then is no measure of what is normal, until it agrees with the others.

    >>> early, late = (ExcludedSource(column="ce_source", name="a", since_ms=t) for t in (5, 9))
    >>> first_exclusions([late, early]) == [early]
    True
    """
    first: dict[tuple[str, str], ExcludedSource] = {}
    for one in sorted(excluded, key=lambda one: one.since_ms):
        first.setdefault((one.column, one.name), one)
    return list(first.values())
