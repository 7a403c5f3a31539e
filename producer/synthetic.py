"""Names of synthetic models: a drill copies a model's events under such a name.

The name alone marks the events and their alerts as synthetic.
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
    """Return the synthetic model of ``model`` in one drill.

    Raises:
        ValueError: ``drill_id`` is not twelve hexadecimal digits.

    >>> synthetic_name("churn", "0123456789ab")
    'churn:drill-0123456789ab'
    """
    name = f"{_stem(model)}{_MARK}{drill_id}"
    if not is_synthetic(name):
        raise ValueError(f"{drill_id!r}: the id of a drill is {_ID_CHARS} hexadecimal digits")
    return name


def is_synthetic(model: str) -> bool:
    """Whether the name is that of a synthetic model.

    >>> is_synthetic("churn:drill-0123456789ab"), is_synthetic("churn:drill-bit")
    (True, False)
    """
    return _FORM.fullmatch(model) is not None


def is_synthetic_copy_of(name: str, model: str) -> bool:
    """Whether ``name`` is a synthetic model of ``model``.

    >>> is_synthetic_copy_of("churn:drill-0123456789ab", "churn")
    True
    """
    found = _FORM.fullmatch(name)
    return found is not None and found[1] == _stem(model)


def _stem(model: str) -> str:
    """Return the model's name, truncated if the mark would make it too long."""
    if len(model.encode()) <= _MAX_MODEL:
        return model
    return truncated_with_hash(escape(model), model, _MAX_MODEL)
