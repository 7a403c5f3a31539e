"""Shadow models: the name under which a drill copies the events of a model into the log.

The name is the mark.  Whoever reads the log, or alerts, knows by it that nothing of this happened.
"""

from __future__ import annotations

import re
from typing import Final

from producer.names import MAX_NAME_BYTES, escape, truncated_with_hash

_MARK: Final = ":drill-"
_ID_CHARS: Final = 12
_FORM: Final = re.compile(rf"(.+){_MARK}[0-9a-f]{{{_ID_CHARS}}}", re.DOTALL)
_MAX_MODEL: Final = MAX_NAME_BYTES - len(_MARK) - _ID_CHARS - 16  # ids of copies have a number


def synthetic_name(model: str, drill_id: str) -> str:
    """The shadow of a model in one drill; ``drill_id`` is twelve hexadecimal digits.

    Raises:
        ValueError: the id has another form.

    >>> synthetic_name("churn", "0123456789ab")
    'churn:drill-0123456789ab'
    """
    name = f"{_stem(model)}{_MARK}{drill_id}"
    if not is_synthetic(name):
        raise ValueError(f"{drill_id!r}: the id of a drill is {_ID_CHARS} hexadecimal digits")
    return name


def is_synthetic(model: str) -> bool:
    """Whether a model is the shadow of a drill.

    >>> is_synthetic("churn:drill-0123456789ab"), is_synthetic("churn"), is_synthetic("churn:drill-bit")
    (True, False, False)
    """
    return _FORM.fullmatch(model) is not None


def is_synthetic_copy_of(name: str, model: str) -> bool:
    """Whether it is the shadow of this very model.

    >>> is_synthetic_copy_of("churn:drill-0123456789ab", "churn")
    True
    """
    found = _FORM.fullmatch(name)
    return found is not None and found[1] == _stem(model)


def _stem(model: str) -> str:
    """The model's name, where it leaves room for the mark; else what stands for it."""
    if len(model.encode()) <= _MAX_MODEL:
        return model
    return truncated_with_hash(escape(model), model, _MAX_MODEL)
