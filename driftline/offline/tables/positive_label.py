"""The positive label, whose probability is predicted: the option ``--positive``, and its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stream_monitor.reference.loss import classes_of

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.reference.fit import NoPositiveLabel
    from stream_monitor.reference.profile import ClassLabel

_WORDS: Final = {"true": True, "false": False}


def positive_of(text: str | None, labels: pd.Series[Any] | None) -> ClassLabel | None:
    """The class that ``--positive`` names, among these labels; ``None`` without the option.

    >>> import pandas as pd
    >>> positive_of("yes", pd.Series(["yes", "no"])), positive_of("False", pd.Series([True, False]))
    ('yes', False)
    >>> positive_of("true", pd.Series(["true", "false"])), positive_of(None, None)
    ('true', None)
    """
    if text is None:
        return None
    named = [] if labels is None else classes_of(labels.dropna().astype(object).tolist())
    return text if text in named else _WORDS.get(text.lower(), text)


def positive_label_advice(error: NoPositiveLabel) -> tuple[str, str, str]:
    """The error about labels as three texts: what is wrong, why it matters, and the fix."""
    options = " or ".join(f"--positive {name!r}" for name in error.seen[:8])
    if error.positive is None:
        return (
            f"the labels are {error.named}, and it is unknown which one is positive",
            "only 0 and 1, or True and False, are clear; with the wrong one the error is inverted",
            f"name the label whose probability is predicted: {options}; or give --task regression",
        )
    return (
        f"no label is the positive class {error.positive!r}",
        f"the labels are {error.named}, and each would count as negative",
        f"name the label whose probability is predicted: {options}",
    )
