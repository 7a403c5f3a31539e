"""Finds different names that look the same to a person.  Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from producer.names import quoted
from producer.synthetic import is_synthetic

if TYPE_CHECKING:
    from stream_monitor.core.partition import PartitionMonitor

# Code points that most fonts draw like a Latin character: Cyrillic, Greek, punctuation.
_CONFUSABLE_CODE_POINTS: Final = {
    "a": (0x430, 0x3B1, 0x251),
    "b": (0x432, 0x3B2),
    "c": (0x441, 0x3F2),
    "d": (0x501,),
    "e": (0x435,),
    "g": (0x261,),
    "h": (0x43D, 0x4BB),
    "i": (0x456, 0x3B9, 0x131),
    "j": (0x458,),
    "k": (0x43A, 0x3BA),
    "l": (0x31, 0x7C),
    "m": (0x43C,),
    "n": (0x3B7,),
    "o": (0x30, 0x43E, 0x3BF, 0x585),
    "p": (0x440, 0x3C1),
    "q": (0x51B,),
    "s": (0x455,),
    "t": (0x442, 0x3C4),
    "u": (0x3C5,),
    "v": (0x3BD,),
    "w": (0x51D, 0x3C9),
    "x": (0x445, 0x3C7),
    "y": (0x443, 0x3B3),
    "'": (0x2018, 0x2019, 0x60, 0xB4, 0x2BC),
    '"': (0x201C, 0x201D, 0x201E),
    "-": (0x2010, 0x2011, 0x2012, 0x2013, 0x2014, 0x2212),
    "/": (0x2044, 0x2215),
    ":": (0x2236,),
}
_LATIN_OF: Final = {
    point: sign for sign, points in _CONFUSABLE_CODE_POINTS.items() for point in points
}
_WORD_SEPARATORS: Final = re.compile(r"[\s_-]+")
_MAX_SHOWN: Final = 3


def skeleton(name: str) -> str:
    """Return a name without the differences that people overlook, for comparison.

    Case, width and composition of characters, invisible characters, and the separator of words are
    removed; a character of another script becomes the Latin one that it looks like.

    >>> skeleton("Mean_Radius") == skeleton("mean  radius "), skeleton("a") == skeleton("b")
    (True, False)
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    drawn = "".join(c for c in plain if unicodedata.category(c) not in ("Cf", "Mn", "Me"))
    return _WORD_SEPARATORS.sub("_", drawn.translate(_LATIN_OF).strip())


def confusable_groups(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Return groups of different names that look the same, sorted by name.

    >>> confusable_groups(["age", "Age", "height", "age "])
    [('Age', 'age', 'age ')]
    """
    groups: dict[str, set[str]] = {}
    for name in names:
        groups.setdefault(skeleton(name), set()).add(name)
    return sorted(tuple(sorted(group)) for group in groups.values() if len(group) > 1)


def confusable_names(monitors: Iterable[PartitionMonitor]) -> list[str]:
    """Return a text for each group of model, version or feature names that look the same."""
    versions: dict[str, set[str]] = {}
    features: dict[str, set[str]] = {}
    for monitor in monitors:
        for name, model in monitor.models.items():
            if is_synthetic(name):
                continue
            versions.setdefault(name, set()).update(model.admitted_versions)
            seen = features.setdefault(name, set())
            for version in model.versions.values():
                seen.update(version.profile.features)
    found = [("models", group) for group in confusable_groups(versions)]
    for what, named in (("versions", versions), ("features", features)):
        for model_name in sorted(named):
            of_model = f"{what} of {quoted(model_name)}"
            found += [(of_model, group) for group in confusable_groups(named[model_name])]
    return [f"{what} {_listed(group)}" for what, group in found]


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _MAX_SHOWN} more" if len(names) > _MAX_SHOWN else ""
    return ", ".join(quoted(name) for name in names[:_MAX_SHOWN]) + more
