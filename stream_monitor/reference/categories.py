"""Categories of a reference: which are known, which are rare, and unbiased counts of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_monitor.reference.bins import MAX_BINS
from stream_monitor.reference.season import DAY_MS
from stream_monitor.reference.transform import frequency_scores
from stream_monitor.statistics.fixed_point import FIXED_POINT, Bools, Floats, Ints

_MIN_COUNT: Final = 10
_MIN_SHARE: Final = 0.0005
_MAX_RARE: Final = 2000  # names; a feature with more is an id, and its tail counts as unseen
_MAX_NAME: Final = 256  # characters
_CHUNKS: Final = 32
_MIN_DAYS: Final = 4.5
_MAX_QUARTERED_DAYS: Final = 16
_MAX_DAYS: Final = 64
_MAX_OWN_BINS: Final = MAX_BINS - 1  # the last one is that of all others


class Vocabulary(NamedTuple):
    """Categories by frequency: ``kept`` ascend; ``rare`` share a bin; ``unseen`` occurred once.

    The share of events in categories that occurred once estimates the share of new categories in
    future (Good, "The population frequencies of species", 1953).  So the reference counts them as
    unseen, though their names are known from now on.
    """

    kept: tuple[str, ...]
    rare: tuple[str, ...]
    unseen: frozenset[str]


def vocabulary(names: Sequence[str]) -> Vocabulary:
    """The categories of the reference's valid values (n,)."""
    counts = Counter(names)
    enough = max(_MIN_COUNT, _MIN_SHARE * len(names))
    ascending = sorted(counts, key=lambda name: (counts[name], name))
    kept = tuple(n for n in ascending if counts[n] >= enough and len(n) <= _MAX_NAME)
    others = [n for n in reversed(ascending) if counts[n] < enough and len(n) <= _MAX_NAME]
    rare = tuple(others[:_MAX_RARE])
    known = {*kept, *rare}
    unseen = frozenset(n for n in counts if counts[n] == 1 or n not in known)
    return Vocabulary(kept, rare, unseen)


class OrderedCategories(NamedTuple):
    """The categories in index order, and the values that the bin counts may use.

    The last ``n_own`` of ``known.kept`` have a distance bin of their own.  ``held_out`` (n,) marks
    the values that were not used in this choice; ``None``: all values may be counted.
    """

    known: Vocabulary
    n_own: int
    held_out: Bools | None


def split_halves(n: int, times_ms: Ints | None = None) -> Bools:
    """Return a mask (n,) that assigns n values in time order, at ``times_ms`` (n,), to halves.

    The values are split in stretches much longer than their dependence, assigned in Thue-Morse
    order so that no hour of the day or the week favours a half: quarters of days, or days, where
    the values cover 5 to 64 of them, else 32 chunks.

    >>> split_halves(32).astype(int)[:8].tolist()
    [0, 1, 1, 0, 1, 0, 0, 1]
    """
    if times_ms is not None and n:
        n_days = (int(times_ms.max()) - int(times_ms.min())) / DAY_MS
        if _MIN_DAYS <= n_days <= _MAX_DAYS:
            stretch = times_ms // DAY_MS
            if n_days <= _MAX_QUARTERED_DAYS:
                stretch = stretch + times_ms // (DAY_MS // 4)
            by_time: Bools = stretch % 2 == 1
            return by_time
    chunks = np.arange(n) * _CHUNKS // max(1, n)
    second: Bools = np.bitwise_count(chunks) % 2 == 1
    return second


def order_categories(names: Sequence[str], known: Vocabulary, second: Bools) -> OrderedCategories:
    """Order the categories of the reference's valid values (n,), and choose those with own bins.

    ``second`` is that of `split_halves`.

    The most frequent of many equally frequent categories are so by chance, and will be less
    frequent in future.  Calibrated on the values that chose them, 200 equal categories gave 30
    times the requested false alarms after a reference of 1,000, and drifted in half of all
    stationary streams.  So one half of the values orders and the other is counted, except where
    both choose the same, or all categories have own bins.
    """
    kept = set(known.kept)
    if len(kept) <= MAX_BINS and kept.issuperset(names):
        return OrderedCategories(known, min(len(kept), _MAX_OWN_BINS), None)
    first, other = (
        [name for name, there in zip(names, half.tolist(), strict=True) if there]
        for half in (~second, second)
    )
    chosen = _frequent(first)
    own = chosen[-_MAX_OWN_BINS:]
    if set(own) == set(_frequent(other)[-_MAX_OWN_BINS:]):
        before = tuple(name for name in known.kept if name not in own)
        rare = tuple(name for name in known.rare if name not in own)
        return OrderedCategories(Vocabulary((*before, *own), rare, known.unseen), len(own), None)
    seen = {*known.kept, *known.rare}
    kept_now = tuple(name for name in chosen if name in seen)
    rare = tuple(name for name in (*known.rare, *known.kept) if name not in kept_now)
    n_own = min(len(kept_now), _MAX_OWN_BINS)
    return OrderedCategories(Vocabulary(kept_now, rare, known.unseen), n_own, second)


def _frequent(names: Sequence[str]) -> list[str]:
    """The categories kept from one half of a reference, ascending in frequency."""
    counts = Counter(names)
    enough = max(_MIN_COUNT / 2, _MIN_SHARE * len(names))
    kept = [name for name in counts if counts[name] >= enough and len(name) <= _MAX_NAME]
    return sorted(kept, key=lambda name: (counts[name], name))


def cross_fitted_scores(names: Sequence[str], second: Bools) -> tuple[Floats, Floats]:
    """Location and spread of each value (n,), by a map learned on other values.

    A map learned on the values that it scores would make them look steadier than fresh values.
    Each half is scored by the map of the other; ``second`` is that of `split_halves`.
    """
    location, spread = np.empty(len(names)), np.empty(len(names))
    for scored in (~second, second):
        learned = [name for name, there in zip(names, scored.tolist(), strict=True) if not there]
        known = vocabulary(learned)
        index_of = {name: i for i, name in enumerate(known.kept, 1)}
        counts: Ints = np.zeros(len(known.kept) + 1, dtype=np.int64)
        for name in learned:
            counts[index_of.get(name, 0)] += 1
        table = frequency_scores(counts)[0] / FIXED_POINT
        where = np.flatnonzero(scored)
        u = table[[index_of.get(names[i], 0) for i in where.tolist()]]
        location[where], spread[where] = u, np.abs(2 * u - 1)
    return location, spread
