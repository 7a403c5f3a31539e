"""Which test files a marker expression (``-m``) can select tests of; the others are not imported.

An import of all test files takes each process of pytest-xdist about 15 s, and `.ci/run` has four
parts with two processes each.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

MARKERS: Final = ("kafka", "smoke", "slow", "long")
_OF_ALL_TESTS: Final = re.compile(r"^pytestmark = (\[[^\]]*\]|.*)$", re.MULTILINE)


def _named(text: str) -> set[str]:
    return {name for name in MARKERS if re.search(rf"\bpytest\.mark\.{name}\b", text)}


def can_hold_selected(text: str, expression: str) -> bool:
    """Whether a test of a file can be selected, given the markers that the file names.

    Args:
        text: the file.
        expression: of the markers of this project; any other selects all files.
    """
    if not expression or not set(re.findall(r"\w+", expression)) <= {*MARKERS, "and", "or", "not"}:
        return True
    always = {name for found in _OF_ALL_TESTS.findall(text) for name in _named(found)}
    sometimes = sorted(_named(text) - always)
    return any(
        eval(expression, {}, {name: name in always or name in some for name in MARKERS})  # noqa: S307
        for n in range(len(sometimes) + 1)
        for some in itertools.combinations(sometimes, n)
    )
