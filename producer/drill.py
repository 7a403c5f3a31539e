"""Shadow models: the name under which a drill copies the events of a model into the log.

The name is the mark.  Whoever reads the log, or alerts, knows by it that nothing of this happened.
"""

from __future__ import annotations

import re
from typing import Final

from producer.names import MAX_NAME_BYTES, bounded, escape

_MARK: Final = ":drill-"
_ID_CHARS: Final = 12
_FORM: Final = re.compile(rf"(.+){_MARK}[0-9a-f]{{{_ID_CHARS}}}", re.DOTALL)
_MAX_MODEL: Final = MAX_NAME_BYTES - len(_MARK) - _ID_CHARS - 16  # ids of copies have a number


def shadow_of(model: str, drill_id: str) -> str:
    """The shadow of a model in one drill; ``drill_id`` is twelve hexadecimal digits.

    Raises:
        ValueError: the id has another form.

    >>> shadow_of("churn", "0123456789ab")
    'churn:drill-0123456789ab'
    """
    shadow = f"{_stem(model)}{_MARK}{drill_id}"
    if not is_shadow(shadow):
        raise ValueError(f"{drill_id!r}: the id of a drill is {_ID_CHARS} hexadecimal digits")
    return shadow


def is_shadow(model: str) -> bool:
    """Whether a model is the shadow of a drill.

    >>> is_shadow("churn:drill-0123456789ab"), is_shadow("churn"), is_shadow("churn:drill-bit")
    (True, False, False)
    """
    return _FORM.fullmatch(model) is not None


def is_shadow_of(shadow: str, model: str) -> bool:
    """Whether it is the shadow of this very model.

    >>> is_shadow_of("churn:drill-0123456789ab", "churn")
    True
    """
    found = _FORM.fullmatch(shadow)
    return found is not None and found[1] == _stem(model)


def _stem(model: str) -> str:
    """The model's name, where it leaves room for the mark; else what stands for it."""
    if len(model.encode()) <= _MAX_MODEL:
        return model
    return bounded(escape(model), model, _MAX_MODEL)
