"""Which label a score is the probability of, where that goes without saying for nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from stream_monitor.reference.loss import classes_of

if TYPE_CHECKING:
    import pandas as pd

    from stream_monitor.reference.fit_errors import NoPositiveLabel
    from stream_monitor.reference.profile import ClassLabel

_WORDS: Final = {"true": True, "false": False}


def positive_of(text: str | None, labels: pd.Series[Any] | None) -> ClassLabel | None:
    """The class that ``--positive`` means, among these labels; ``None`` where it says nothing.

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
    """What is wrong with the labels, why that matters, and the options that mend it."""
    options = " or ".join(f"--positive {name!r}" for name in error.seen[:8])
    if error.positive is None:
        return (
            f"the labels are {error.named}: nobody can tell which one is positive",
            "0 and 1 need no word, nor True and False; of others the error may be the opposite's",
            f"say which one the prediction is the probability of: {options}; or --task regression",
        )
    return (
        f"no label is the positive class {error.positive!r}",
        f"the labels are {error.named}: each of them would count as negative",
        f"say which one the prediction is the probability of: {options}",
    )
