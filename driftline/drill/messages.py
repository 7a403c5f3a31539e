"""The report of a drill in words: what was found, or why nothing was and what to do.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from driftline.drill.measurement import DrillReport


class FinalState(NamedTuple):
    """How it stood at the end: ``unread`` records are in the log and not folded in yet.

    ``known`` says whether the monitor watches the shadow.
    """

    elapsed_s: float
    unread: int
    known: bool


class NotFoundReason(NamedTuple):
    """Why nothing was found, and what to do."""

    why: str
    fix: str


def found_lines(report: DrillReport) -> list[str]:
    """The report of a drill that found its change."""
    before = f"{report.unchanged_events:,} unchanged events before: {_alerts(report)}"
    lines = [
        (
            f"found in {report.alert_events:,} events, {report.alert_s:.1f} s; "
            f"{_expectation(report)}"
        ),
        f"  {report.explanation}",
        (
            f"  suspected after {report.signal_events:,} events by {report.detector}, "
            f"reported {report.latency_s:.2f} s after the event that confirmed it"
        ),
        f"  {before}",
    ]
    return lines + [f"  also reported: {text}" for text in report.other_alerts]


def _expectation(report: DrillReport) -> str:
    if report.expected_low_events is None:
        return "by the settings it should not have been"
    return f"{report.expected_low_events:,} to {report.expected_high_events:,} were expected"


def _alerts(report: DrillReport) -> str:
    alerts = report.false_alerts
    return f"{len(alerts)} alerts" + "".join(f"; {text}" for text in alerts)


def reason_not_found(report: DrillReport, at_end: FinalState) -> NotFoundReason:
    """Why nothing was found: the first reason that holds, in the order of the way of an event."""
    return _stream(report, at_end) or _monitor(at_end) or _change(report, at_end)


def _stream(report: DrillReport, at_end: FinalState) -> NotFoundReason | None:
    copied = report.unchanged_events + report.changed_events
    name = f"{report.model}@{report.version}"
    waited = f"within {at_end.elapsed_s:.0f} s"
    if not copied:
        return NotFoundReason(
            f"no event of {name} arrived {waited}",
            "see that the model serves: driftline status; or wait longer: --timeout 30m",
        )
    if not report.changed_events:
        return NotFoundReason(
            f"{copied:,} events of {name} arrived {waited}, and the change was to come after them",
            "fewer unchanged ones: --after 20; or wait longer: --timeout 30m",
        )
    return None


def _monitor(at_end: FinalState) -> NotFoundReason | None:
    if at_end.unread:
        return NotFoundReason(
            f"the monitor has not read {at_end.unread:,} records yet",
            "driftline status shows the lag, driftline doctor what is wrong",
        )
    if not at_end.known:
        return NotFoundReason(
            "the monitor does not watch the shadow: a partition takes no more models",
            "raise max_models in [monitor]",
        )
    return None


def _change(report: DrillReport, at_end: FinalState) -> NotFoundReason:
    if report.already_drifting:
        return NotFoundReason(
            f"{report.feature} drifted before the change: {report.false_alerts[0]}",
            "drill another feature, or again when that is over",
        )
    if report.expected_low_events is None:
        return NotFoundReason(
            "by the settings such a change is no alert",
            "driftline explain power says what is; inject a larger one",
        )
    if report.changed_events < (report.expected_high_events or 0):
        return NotFoundReason(
            f"{report.changed_events:,} changed events came within "
            f"{at_end.elapsed_s:.0f} s; {_expectation(report)}",
            "wait longer: --timeout 30m",
        )
    return NotFoundReason(
        f"{report.changed_events:,} changed events passed; {_expectation(report)}",
        f"driftline replay topic:... --model {report.model} --inject ... shows what the core makes "
        "of it",
    )
