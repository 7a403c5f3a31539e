"""Texts about the result of a drill: the alert that was found, or why there was none.  Pure."""

from __future__ import annotations

from typing import NamedTuple

from driftline.drill.measurement import DrillReport


class FinalState(NamedTuple):
    """The state at the end of a drill.

    ``elapsed_s`` is the time since its start in seconds, ``unread`` the number of records that the
    monitor has not processed yet, and ``known`` whether it watches the synthetic model.
    """

    elapsed_s: float
    unread: int
    known: bool


class NotFoundReason(NamedTuple):
    """The reason why a change was not found, and the fix."""

    why: str
    fix: str


def found_lines(report: DrillReport) -> list[str]:
    """The report of a drill that found its change."""
    n = len(report.false_alerts)
    before = f"{report.unchanged_events:,} unchanged events before: {n} alert{'s' * (n != 1)}"
    lines = [
        (
            f"found after {report.alert_events:,} events, in {report.alert_s:.1f} s; "
            f"{_expectation(report)}"
        ),
        f"  {report.explanation}",
        (
            f"  {report.detector} suspected it after {report.signal_events:,} events; the alert "
            f"came {report.latency_s:.2f} s after the event that confirmed it"
        ),
        "; ".join([f"  {before}", *report.false_alerts]),
    ]
    return lines + [f"  also reported: {text}" for text in report.other_alerts]


def _expectation(report: DrillReport) -> str:
    if report.expected_low_events is None:
        return "no alert was expected with these settings"
    return f"{report.expected_low_events:,} to {report.expected_high_events:,} were expected"


def reason_not_found(report: DrillReport, at_end: FinalState) -> NotFoundReason:
    """Return the first reason that applies, in the order of an event's path."""
    return _stream(report, at_end) or _monitor(at_end) or _change(report, at_end)


def _stream(report: DrillReport, at_end: FinalState) -> NotFoundReason | None:
    copied = report.unchanged_events + report.changed_events
    name = f"{report.model}@{report.version}"
    waited = f"within {at_end.elapsed_s:.0f} s"
    if not copied:
        return NotFoundReason(
            f"no event of {name} arrived {waited}",
            "check with driftline status that the model serves, or wait longer: --timeout 30m",
        )
    if not report.changed_events:
        return NotFoundReason(
            f"only {copied:,} events of {name} arrived {waited}, too few to reach the change",
            "copy fewer events before the change: --after 20; or wait longer: --timeout 30m",
        )
    return None


def _monitor(at_end: FinalState) -> NotFoundReason | None:
    if at_end.unread:
        return NotFoundReason(
            f"the monitor has not read {at_end.unread:,} records yet",
            "driftline status shows the lag, and driftline doctor finds the cause",
        )
    if not at_end.known:
        return NotFoundReason(
            "the monitor does not watch the synthetic model: a partition has max_models models",
            "raise max_models in [monitor]",
        )
    return None


def _change(report: DrillReport, at_end: FinalState) -> NotFoundReason:
    if report.already_drifting:
        return NotFoundReason(
            f"{report.feature} drifted before the change: {report.false_alerts[0]}",
            "choose another feature, or repeat the drill after that episode",
        )
    if report.expected_low_events is None:
        return NotFoundReason(
            "with these settings such a change raises no alert",
            "inject a larger change; driftline explain power shows the smallest ones",
        )
    if report.changed_events < (report.expected_high_events or 0):
        return NotFoundReason(
            f"{report.changed_events:,} changed events arrived within "
            f"{at_end.elapsed_s:.0f} s; {_expectation(report)}",
            "wait longer: --timeout 30m",
        )
    return NotFoundReason(
        f"{report.changed_events:,} changed events were processed; {_expectation(report)}",
        f"replay the same change: driftline replay topic:... --model {report.model} --inject ...",
    )
