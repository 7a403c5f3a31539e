"""Count the retrains of the demo by their outcome.  Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from trainer.contracts import RetrainEvent

_ENDS = ("promoted", "rejected", "proposed", "failed", "declined", "rolled_back")


def unique_events(events: Iterable[RetrainEvent]) -> list[RetrainEvent]:
    """Each event once, by its id; a trainer that was killed may publish an event twice."""
    return list({event.id: event for event in events}.values())


def counts(events: Sequence[RetrainEvent]) -> dict[str, int]:
    """The numbers of retrain jobs by outcome.  ``events`` are `unique_events`.

    Each requested job is promoted, rejected, failed, cancelled or unfinished.
    """
    requested = {event.job_id for event in events if event.step == "requested"}
    ends = {e.job_id: e.step for e in events if e.job_id in requested and e.step in _ENDS}
    steps = [ends.get(job, "unfinished") for job in requested]
    return {
        "requested": len(requested),
        "promoted": steps.count("promoted"),
        "rejected": steps.count("rejected"),
        "failed": steps.count("failed"),
        "cancelled": steps.count("declined"),
        "unfinished": steps.count("unfinished"),
        "refused_data_quality": sum(
            event.step == "declined" and event.rule == "data_quality" for event in events
        ),
    }


def unfinished_jobs(events: Iterable[RetrainEvent]) -> set[str]:
    """Jobs that have started and not ended; a job that waits for labels has not started."""
    started: set[str] = set()
    ended: set[str] = set()
    for event in events:
        if event.step in ("started", "succeeded"):
            started.add(event.job_id)
        elif event.step in _ENDS:
            ended.add(event.job_id)
    return started - ended
