"""The records that the baseline programs read, its expected result, and their scores.

An alert of the undisturbed run counts as kept if the program has an alert of that series before
the undisturbed run's next one. That is generous: a program that lost its detectors seldom alerts
at the same event.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from river.drift import ADWIN, PageHinkley

FEATURES: Final = ("amount", "age")
LEVEL_EVENTS: Final = 400
"""How long a feature keeps its level."""
Alert = dict[str, str]


def events_of(prefix: str) -> str:
    """The topic the programs read."""
    return f"{prefix}.events"


def alerts_of(prefix: str) -> str:
    """The topic of their drift records."""
    return f"{prefix}.alerts"


def counts_of(prefix: str) -> str:
    """The Redis hash they count in: how often each event was processed."""
    return f"{prefix}:counts"


class Watch:
    """One ADWIN and one Page-Hinkley for every feature of every model."""

    def __init__(self) -> None:
        self._detectors: dict[str, tuple[ADWIN, PageHinkley]] = {}

    def of(self, event_id: str, model: str, features: Mapping[str, float]) -> Iterator[Alert]:
        """Alerts that an event leads to."""
        for name, value in features.items():
            series = f"{model}/{name}"
            if series not in self._detectors:
                self._detectors[series] = (ADWIN(), PageHinkley())  # type: ignore[no-untyped-call]
            drifts = 0
            for detector in self._detectors[series]:
                detector.update(value)  # type: ignore[no-untyped-call]
                drifts += detector.drift_detected
            if drifts:
                yield {"series": series, "event": event_id}


def lives(n_models: int, seed: int) -> Iterator[dict[str, Any]]:
    """Events of each model in turn; the number in the id is their place in its partition."""
    chance = random.Random(seed)  # noqa: S311
    number = 0
    while True:
        level = 3.0 * (number // LEVEL_EVENTS % 2)
        for model in range(n_models):
            yield {
                "id": f"{model}-{number}",
                "model": f"model-{model}",
                "features": {name: chance.gauss(level, 1.0) for name in FEATURES},
            }
        number += 1


class BaselineScore(NamedTuple):
    """What became of the events of one program, and of the alerts it should have raised."""

    kills: int
    events: int
    events_lost: int
    double_counted: int
    alerts: int
    alerts_lost: int


def score(
    kills: int,
    written: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    alerts: Iterable[Alert],
) -> BaselineScore:
    """Compare with one who reads the same events from the first to the last.

    >>> event = {"id": "0-0", "model": "m", "features": {}}
    >>> score(1, [event, {**event, "id": "0-1"}], {"0-0": 3}, [])
    BaselineScore(kills=1, events=2, events_lost=1, double_counted=2, alerts=0, alerts_lost=0)
    """
    watch = Watch()
    due: dict[str, list[int]] = defaultdict(list)
    for event in written:
        for alert in watch.of(event["id"], event["model"], event["features"]):
            due[alert["series"]].append(_place(alert["event"]))
    came: dict[str, list[int]] = defaultdict(list)
    for alert in alerts:
        came[alert["series"]].append(_place(alert["event"]))
    return BaselineScore(
        kills=kills,
        events=len(written),
        events_lost=sum(event["id"] not in counts for event in written),
        double_counted=sum(count - 1 for count in counts.values()),
        alerts=sum(map(len, due.values())),
        alerts_lost=sum(missed(places, came[series]) for series, places in due.items()),
    )


def missed(due: Sequence[int], came: Sequence[int]) -> int:
    """How many of ``due`` nothing came for before the next one was due.

    >>> missed([10, 20, 30], [9, 12, 15, 31])
    1
    """
    ends = [*due[1:], float("inf")]
    return sum(
        not any(start <= place < end for place in came)
        for start, end in zip(due, ends, strict=True)
    )


def _place(event_id: str) -> int:
    return int(event_id.rsplit("-", 1)[1])
