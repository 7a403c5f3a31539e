"""The state of a partition reaches a plateau, however many names, classes and ids there are.

``DRIFTLINE_NAMES=1000000`` makes up that many of each.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import pytest

from producer.events import Event, Label, ModelUpdate
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.labels.join import LabelSpec
from stream_monitor.reference.fit import MIN_EVENTS, fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.state.partition_state import PartitionStateFactory
from tests.builders import inference_event
from tests.chaos.test_corrupt_state import batch

N_NAMES: Final = int(os.environ.get("DRIFTLINE_NAMES", "32000"))
STEP: Final = 1_000
GROWTH: Final = 1.25
"""Of the later half over the former.  What waits for labels is bounded in number, and lies in more
and thinner chunks the more records there are: at a million events that was 1.11."""
START_MS: Final = 1_700_000_000_000
STEP_MS: Final = 50
"""From one record to the next, so that half of the records fill many buckets."""
SPEC: Final = MonitorSpec(
    warm_up_events=500,
    dedup_window_chunks=4,
    micro_batch_chunks=4,
    labels=LabelSpec(max_pending=4_096),
    max_models=16,
)
"""Small rings and small caps, so that they are full soon.  The window of ids has up to
``dedup_window_chunks + micro_batch_chunks - 1`` chunks."""


def event(
    number: int,
    model: str = "m",
    version: str = "1",
    prediction: str | float = 0.5,
    extra: dict[str, str | float] | None = None,
) -> Event:
    return inference_event(
        f"e{number}",
        {"x": float(number % 7), **(extra or {})},
        prediction,
        model=model,
        version=version,
        time_ms=START_MS + STEP_MS * number,
    )


def label(number: int, model: str = "m", value: str | int = 1) -> Event:
    return Label(id=f"e{number}", model=model, label=value, time_ms=START_MS + STEP_MS * number)


@cache
def profile() -> dict[str, Any]:
    ages = [float(i % 40) for i in range(MIN_EVENTS)]
    return profile_to_data(fit_profile("m", "?", {"x": ages}, task="binary", origin="training"))


def update(number: int, version: str, *, bare: bool = False) -> Event:
    data = None if bare else {**profile(), "version": version}
    return ModelUpdate(id=f"u{number}", model="m", version=version, time_ms=0, profile=data)


def announced(number: int, every: int, *, bare: bool = False) -> Event:
    """Events of a version, until another one is announced."""
    version = f"v{number // every}"
    return event(number, version=version) if number % every else update(number, version, bare=bare)


MADE_UP: Final[dict[str, Callable[[int], Event]]] = {
    "models": lambda i: event(i, model=f"m{i}"),
    "versions": lambda i: event(i, version=f"v{i}"),
    "announced versions": lambda i: announced(i, 125),
    "versions announced without a profile": lambda i: announced(i, 25, bare=True),
    "versions announced without an event": lambda i: (
        label(i) if i % 10 else update(i, f"v{i}", bare=True)
    ),
    "features": lambda i: event(i, extra={f"f{i}-{k}": 1.0 for k in range(20)}),
    "categories": lambda i: event(i, extra={"c": f"c{i}"}),
    "numbers": lambda i: event(i, extra={"y": float(i) * 1e6}),
    "classes": lambda i: event(i, prediction=f"class-{i}"),
    "ids": event,
    "labels of nothing": label,
    "labels of made-up models": lambda i: label(i, model=f"m{i}"),
    "labels of made-up classes": lambda i: label(i, value=f"label-{i}"),
}


def mixed(number: int) -> Event:
    """Models and versions come with events and with labels, more than there are places for."""
    name = f"m{number * 7 % 60:02}"
    return label(number, model=name) if number % 3 else event(number, name, f"v{number % 50}")


def stored_after(events: list[Event], n_records: int) -> dict[str, bytes]:
    fold = PartitionStateFactory(SPEC, "bounds").new("log", 0)
    stored: dict[str, bytes] = {}
    for start in range(0, len(events), n_records):
        fold.observe(batch([*events[start : start + n_records]], start, step_ms=STEP_MS))
        stored |= fold.take_changes()
    return {name: value for name, value in stored.items() if value}


@pytest.mark.parametrize("make", [mixed, *MADE_UP.values()])
def test_version_retention_does_not_depend_on_batch_boundaries(
    make: Callable[[int], Event],
) -> None:
    events = [make(number) for number in range(400)]
    assert stored_after(events, 37) == stored_after(events, 400)


@pytest.mark.slow
@pytest.mark.parametrize("kind", MADE_UP)
def test_state_reaches_a_plateau(kind: str) -> None:
    make = MADE_UP[kind]
    fold = PartitionStateFactory(SPEC, "bounds").new("log", 0)
    stored: dict[str, bytes] = {}
    sizes: list[int] = []
    for start in range(0, N_NAMES, STEP):
        made: list[Event | bytes] = [make(number) for number in range(start, start + STEP)]
        fold.observe(batch(made, start, step_ms=STEP_MS))
        stored |= fold.take_changes()
        stored = {name: value for name, value in stored.items() if value}
        sizes.append(sum(map(len, stored)) + sum(map(len, stored.values())))
    half = len(sizes) // 2
    assert max(sizes[half:]) <= GROWTH * max(sizes[:half])
    assert sum(fold.outcomes().values()) == N_NAMES
