"""Hypothesis profiles: how many examples a property test tries.

`HYPOTHESIS_PROFILE` chooses one.  ``fast``, the default, tries a quarter of the examples, other
ones in each run.  ``ci``, which `make test-all` and `.ci/run` use, tries all, the same in each run.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_ALL = 100
"""Examples of a test in the profile ``ci``, where it states no number."""

settings.register_profile(
    "ci",
    max_examples=_ALL,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile(
    "fast", settings.get_profile("ci"), derandomize=False, max_examples=_ALL // 4
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def examples(n: int) -> int:
    """``n`` in the profile ``ci``, a quarter of it in ``fast``, at least 2.

    >>> examples(400) in (400, 100)
    True
    """
    return max(2, n * settings().max_examples // _ALL)
