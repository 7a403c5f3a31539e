"""Numbers that are codes: which columns a person says are categories, and which may well be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from driftline.replay.refusal import BadSource

if TYPE_CHECKING:
    import pandas as pd

_FEWEST: Final = 2
_MOST: Final = 20


def named_columns(given: Sequence[str], features: Sequence[str]) -> set[str]:
    """The features that ``--categorical`` names, each by itself or several with commas between.

    Raises:
        BadSource: there is no such feature.
    """
    named = {
        name for text in given for name in ([text] if text in features else text.split(",")) if name
    }
    unknown = sorted(name for name in named if name not in features)
    if unknown:
        raise BadSource(
            f"--categorical: {unknown[0]!r} is no feature", fix=f"one of {', '.join(features)}"
        )
    return named


def may_be_codes(series: pd.Series[Any]) -> bool:
    """Whether a column of numbers holds few different ones, all of them whole; not 0 and 1 alone.

    >>> import pandas as pd
    >>> [may_be_codes(pd.Series(x)) for x in ([101, 205.0, None], [0, 1, 1], [1.5, 2], [7, 7])]
    [True, False, False, False]
    """
    if series.dtype.kind not in "fiuO":
        return False
    different = {x for x in series.dropna().tolist() if not isinstance(x, float) or np.isfinite(x)}
    return (
        _FEWEST <= len(different) <= _MOST
        and all(type(x) is int or (type(x) is float and x.is_integer()) for x in different)
        and different != {0, 1}
    )


def note_of(columns: Sequence[str]) -> str:
    """What to say of columns that `may_be_codes`."""
    return (
        f"taken as numbers, few different ones: {', '.join(columns)}; "
        f"if they are codes: --categorical {','.join(columns)}"
    )
