"""Selects the targets of a subject.  Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

import msgspec

from driftline.notify.schedule import at_least
from driftline.notify.subjects import Subject
from stream_monitor.contracts import Severity


def is_like(name: str, pattern: str) -> bool:
    """Whether a name matches a pattern, in which ``*`` stands for any characters.

    >>> is_like("churn-eu", "churn-*"), is_like("churn", "churn-*"), is_like("a[1]", "a[1]")
    (True, False, True)
    """
    parts = (re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that match all conditions go to all targets; no ``kinds`` means every kind.

    ``models`` are names, with ``*`` for any characters.  A subject that concerns no model matches
    ``*`` only.
    """

    targets: Sequence[str]
    models: Sequence[str] = ("*",)
    kinds: Collection[str] = ()
    min_severity: Severity = "low"

    def matches(self, subject: Subject) -> bool:
        """Whether the subject matches all conditions."""
        return (
            any(is_like(subject.model, pattern) for pattern in self.models)
            and (not self.kinds or not set(self.kinds).isdisjoint(subject.kinds))
            and at_least(subject.severity, self.min_severity)
        )


def targets_of(subject: Subject, routes: Iterable[Route]) -> set[str]:
    """The targets of every route that the subject matches."""
    return {target for route in routes if route.matches(subject) for target in route.targets}
