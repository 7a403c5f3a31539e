"""The table of all checks of a version.  A new check is one line here, and one file."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, TypeAlias

from stream_monitor.checks.check import Check, CheckContext
from stream_monitor.checks.correlation import correlation_checks
from stream_monitor.checks.feature import feature_checks
from stream_monitor.checks.prediction import prediction_checks
from stream_monitor.checks.schema import schema_checks
from stream_monitor.checks.segment import segment_checks
from stream_monitor.checks.version_events import VersionEvents

MakeChecks: TypeAlias = Callable[[CheckContext], Iterable[Check[VersionEvents]]]
"""Makes the checks of one kind for one version; none where its reference does not have them."""

CHECKS: Final[tuple[MakeChecks, ...]] = (
    feature_checks,
    prediction_checks,
    segment_checks,
    correlation_checks,
    schema_checks,
)
"""The checks of the events of a version, in the order in which they observe a batch."""


def checks_of(
    context: CheckContext, table: Iterable[MakeChecks] = CHECKS
) -> dict[str, Check[VersionEvents]]:
    """All checks of a version, by series."""
    return {check.series: check for make in table for check in make(context)}
