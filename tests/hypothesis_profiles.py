"""Hypothesis profiles: how many examples a property test tries.

`HYPOTHESIS_PROFILE` chooses one.  ``fast``, the default, tries a quarter of the examples, other
ones in each run.  ``ci``, which `.ci/run` uses, tries half of them, the same in each run; ``all``,
which `make test-all` uses, tries all.
"""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, settings

_ALL = 100
"""Examples of a test in the profile ``all``, where it states no number."""

settings.register_profile(
    "all",
    max_examples=_ALL,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("ci", settings.get_profile("all"), max_examples=_ALL // 2)
settings.register_profile(
    "fast", settings.get_profile("all"), derandomize=False, max_examples=_ALL // 4
)
PROFILE: Final = os.environ.get("HYPOTHESIS_PROFILE", "fast")
settings.load_profile(PROFILE)


def examples(n: int) -> int:
    """``n`` in the profile ``all``, half of it in ``ci``, a quarter in ``fast``, at least 2.

    >>> examples(400) in (400, 200, 100)
    True
    """
    return max(2, n * settings().max_examples // _ALL)
