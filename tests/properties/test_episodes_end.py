"""Every episode ends once the traffic is as the reference again, whatever its cause was.

Until then each alert reports how far its episode is from its end.
"""

from __future__ import annotations

import random
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from driftline.cli.alerts import with_current_state
from driftline.monitor_state.open_episodes import line_of, open_episode_rows
from producer.events import Command, Event, Label, ModelUpdate
from stream_monitor.contracts import ENDED_PHASES, DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import RecordBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.reference.segment_fit import with_segments
from tests.builders import inference_event, record_of
from tests.hypothesis_profiles import examples

TOPIC: Final = "driftline.events.v1"
N_REFERENCE: Final = 4_000
N_STATIONARY, N_WRONG, N_AFTER = 300, 700, 3_000
TROUBLES: Final = (
    "shift",
    "wider",
    "apart",
    "missing",
    "words",
    "unit",
    "constant",
    "renamed",
    "new",
    "segment",
    "prediction",
    "error",
    "category",
)


def row(rng: random.Random) -> dict[str, Any]:
    temp = rng.gauss(60, 12)
    return {
        "temp": temp,
        "wind": 0.8 * (temp - 60) / 12 + rng.gauss(0, 0.6),
        "fare": rng.expovariate(0.05),
        "carrier": rng.choice(["UA", "UA", "UA", "AA", "AA", "DL"]),
        "origin": rng.choice(["EWR", "JFK"]),
    }


def spoiled(values: dict[str, Any], troubles: set[str], rng: random.Random) -> dict[str, Any]:
    """The same row, as it comes while these troubles last."""
    values = dict(values)
    changes: dict[str, dict[str, Any]] = {
        "shift": {"fare": values["fare"] + 20},
        "wider": {"wind": values["wind"] * 3},
        "apart": {"wind": rng.gauss(0, 1)},
        "missing": {"carrier": None if rng.random() < 0.3 else values["carrier"]},
        "words": {"fare": "n/a" if rng.random() < 0.5 else values["fare"]},
        "unit": {"temp": (values["temp"] - 32) / 1.8},
        "constant": {"temp": 61.5},
        "new": {"age": rng.gauss(40, 10)},
        "segment": {"fare": values["fare"] + 20 * (values["origin"] == "JFK")},
        "category": {"carrier": "XX" if values["carrier"] == "AA" else values["carrier"]},
    }
    for trouble in sorted(troubles & changes.keys()):
        values |= changes[trouble]
    if "renamed" in troubles:
        values["wind_speed"] = values.pop("wind")
    return values


def profile(rng: random.Random) -> dict[str, Any]:
    rows = [row(rng) for _ in range(N_REFERENCE)]
    columns = {name: [one[name] for one in rows] for name in rows[0]}
    predictions = [rng.betavariate(2, 5) for _ in rows]
    losses = [float(rng.random() < 0.2) for _ in rows]
    made = fit_profile(
        "m", "1", columns, predictions=predictions, losses=losses, task="binary", origin="training"
    )
    made = with_segments(
        made, columns, ["origin"], attributes={"origin": columns["origin"]}, predictions=predictions
    )
    return profile_to_data(made)


PROFILE: Final = profile(random.Random(0))  # noqa: S311


class Scene:
    """A monitor, its log so far, and what is open by its alerts."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)  # noqa: S311
        self.monitor = PartitionMonitor(TOPIC, 0, MonitorSpec())
        self.offset = 0
        self.open: dict[str, DriftAlert] = {}
        self.phases: list[str] = []
        self.take([ModelUpdate(id="u", model="m", version="1", time_ms=0, profile=PROFILE)])

    def take(self, events: list[Event]) -> None:
        records = [
            record_of(self.offset + i, event, event.time_ms) for i, event in enumerate(events)
        ]
        first, self.offset = self.offset, self.offset + len(records)
        seen = self.monitor.observe(RecordBatch(TOPIC, 0, "e", first, self.offset, records))
        for alert in seen.alerts:
            self.phases.append(alert.phase)
            self.open[alert.episode_id] = alert
            if alert.phase in ENDED_PHASES:
                del self.open[alert.episode_id]

    def live(self, n: int, troubles: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        events: list[Event] = []
        for _ in range(n):
            time_ms = (self.offset + len(events)) * 500
            id_ = f"e{time_ms}"
            score = self.rng.betavariate(2, 5)
            if "prediction" in troubles:
                score = min(1.0, score + 0.3)
            wrong = self.rng.random() < (0.6 if "error" in troubles else 0.2)
            events.append(
                inference_event(
                    id_, spoiled(row(self.rng), troubles, self.rng), score, time_ms=time_ms
                )
            )
            truth = int((score >= 0.5) != wrong)
            events.append(Label(id=id_, model="m", label=truth, time_ms=time_ms))
        self.take(events)

    def levels(self) -> set[str]:
        """The series with an open episode."""
        found = {name for name, level in self.monitor.levels().items() if level == 2}
        return {series for _, series in found}


@settings(max_examples=examples(4))
@given(st.integers(0, 1_000), st.sets(st.sampled_from(TROUBLES), min_size=1, max_size=3))
def test_after_the_return_to_the_reference_no_episode_is_open(
    seed: int, troubles: set[str]
) -> None:
    """What begins afterwards, by chance, is another matter: the budget allows for it."""
    scene = Scene(seed)
    scene.live(N_STATIONARY)
    scene.live(N_WRONG, troubles)
    back = scene.offset
    scene.live(N_AFTER)

    assert [alert for alert in scene.open.values() if alert.detected_offset < back] == []
    assert scene.levels() == {alert.series for alert in scene.open.values()}
    assert {row.episode_id for row in open_episode_rows([scene.monitor])} == scene.open.keys()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_each_of_these_problems_is_reported_and_ends(trouble: str) -> None:
    """Else the law above would be about nothing."""
    scene = Scene(1)
    scene.live(N_STATIONARY)
    scene.live(N_WRONG, {trouble})
    assert scene.open
    scene.live(N_AFTER)

    assert (scene.levels(), scene.open) == (set(), {})


def test_status_shows_the_recovery_of_an_episode_and_its_user() -> None:
    scene = Scene(2)
    scene.live(N_STATIONARY)
    scene.live(N_WRONG, {"shift"})
    (episode,) = {a.episode_id for a in scene.open.values() if a.series == "feature/fare"}
    scene.take(
        [
            Command(
                id="c",
                model="m",
                action="acknowledge",
                episode=episode,
                actor="ann",
                time_ms=scene.offset * 500,
            )
        ]
    )
    scene.live(200)

    row = next(row for row in open_episode_rows([scene.monitor]) if row.episode_id == episode)
    assert (row.model, row.kind, row.acknowledged_by, row.reported) == ("m@1", "data", "ann", True)
    assert row.recovery_events is not None
    assert 64 <= row.recovery_events <= 200 < (row.recovery_events_needed or 0)
    text = line_of(msgspec.to_builtins(row))
    assert text.startswith(f"{episode[:12]}  high   `fare`: mean 19.7 → ")
    assert (
        f" Recovering: {row.recovery_events} of about {row.recovery_events_needed} events are like "
        "the reference. Acknowledged by ann at" in text
    )
    (listed,) = with_current_state([scene.open[episode]], [row])
    assert listed.explanation in text
    assert listed.recovery_events == row.recovery_events
