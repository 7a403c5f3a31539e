"""Categories of a reference: which are known, which are rare, and scores without self-flattery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from stream_monitor.reference.fixed_point import FIXED_POINT, Floats, Ints
from stream_monitor.reference.transform import frequency_scores

_MIN_COUNT: Final = 10
_MIN_SHARE: Final = 0.0005
_MAX_RARE: Final = 2000  # names; a feature with more is an id, and its tail counts as unseen
_MAX_NAME: Final = 256  # characters
_CHUNKS: Final = 20


class Vocabulary(NamedTuple):
    """``kept`` ascend in frequency; ``rare`` are lumped; ``unseen`` count as never seen.

    A category seen once is expected once more in as many events only if it is one of many such:
    the share of events of categories seen once estimates that of categories not seen at all
    (Good, "The population frequencies of species", 1953).  So the reference itself counts them as
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


def cross_fitted_scores(names: Sequence[str]) -> tuple[Floats, Floats]:
    """Location and spread of each value (n,), by a map learnt on other values.

    A map ordered by the very values it scores makes them look steadier than fresh ones will.
    Cut into 20 chunks: even ones are scored by the odd ones' map, and the reverse.
    """
    chunk = np.arange(len(names)) * _CHUNKS // max(1, len(names)) % 2
    location, spread = np.empty(len(names)), np.empty(len(names))
    for side in (0, 1):
        learnt = [name for name, c in zip(names, chunk.tolist(), strict=True) if c != side]
        known = vocabulary(learnt)
        index_of = {name: i for i, name in enumerate(known.kept, 1)}
        counts: Ints = np.zeros(len(known.kept) + 1, dtype=np.int64)
        for name in learnt:
            counts[index_of.get(name, 0)] += 1
        table = frequency_scores(counts)[0] / FIXED_POINT
        where = np.flatnonzero(chunk == side)
        u = table[[index_of.get(names[i], 0) for i in where.tolist()]]
        location[where], spread[where] = u, np.abs(2 * u - 1)
    return location, spread
