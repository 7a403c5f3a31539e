"""The proof of detection in small: the budget holds on the product's core, changes are found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.benchmarks.detection.__main__ import run
from tests.benchmarks.detection.changes import Change, lorden_bound
from tests.benchmarks.detection.dependence import (
    Pairing,
    Turn,
    quiet_pair,
    turn_delays,
    turn_within,
)
from tests.benchmarks.detection.lasting import episodes
from tests.benchmarks.detection.measure import delays, false_alerts
from tests.benchmarks.detection.plan import (
    HIDDEN,
    MISSING,
    MUCH_WIDER,
    SHIFTS,
    SWAP,
    UNSEEN,
    Cell,
    Lasting,
    Model,
    Plan,
)
from tests.benchmarks.detection.plot import draw
from tests.benchmarks.detection.quarter import run_quarter
from tests.benchmarks.detection.report import (
    delay_lines,
    episode_lines,
    false_alert_lines,
    one_episode,
    summary,
    within,
)
from tests.benchmarks.detection.streams import Dependence, Stream


@pytest.mark.parametrize("dependence", ["iid", "AR .5", "AR .9", "season"])
def test_a_stationary_stream_stays_within_the_budget(dependence: Dependence) -> None:
    found = false_alerts(Stream(dependence=dependence), 2, 200_000, 0, seed=1)

    assert found.signals <= found.allowed
    assert found.started == 0


@pytest.mark.parametrize("dependence", ["iid", "AR .9"])
def test_a_stationary_pair_stays_within_the_budget(dependence: Dependence) -> None:
    found = quiet_pair(Pairing(0.6, dependence=dependence), 2, 200_000, seed=1)

    assert found.signals <= found.allowed
    assert found.started == 0


@pytest.mark.parametrize(
    "turn", [Turn(Pairing(0.6), -0.6, 32), Turn(Pairing(0.6), 0.0, 80), Turn(Pairing(0.0), 0.5, 88)]
)
def test_a_changed_dependence_is_found_in_the_time_asked_for(turn: Turn) -> None:
    found = turn_delays(turn, 15, 5_000, seed=2)

    assert found.missed == found.not_started == 0
    assert turn_within(found)


@pytest.mark.parametrize("size", [0.25, 0.5])
@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_a_shift_is_found_near_the_bound_at_any_scale(size: float, scale: float) -> None:
    found = delays(Stream(scale=scale), Change("shift", shift=size), 15, 0, 10_000, seed=2)

    assert found.missed == 0
    assert within(found)


@pytest.mark.parametrize(
    ("stream", "change"),
    [
        (Stream(), SHIFTS[2]),
        (Stream("lognormal"), MUCH_WIDER),
        (Stream("5 categories"), SWAP),
        (Stream("200 categories"), SHIFTS[3]),
        (Stream("Bernoulli .05"), SHIFTS[3]),
        (Stream(dependence="season"), SHIFTS[2]),
        (Stream("5 categories"), UNSEEN),
        (Stream(), MISSING),
        *((stream, gone) for stream in (Stream(), Stream("5 categories")) for gone in HIDDEN),
        (Stream(dependence="season"), HIDDEN[1]),
    ],
)
def test_one_lasting_change_is_one_episode_and_it_ends(stream: Stream, change: Change) -> None:
    assert one_episode(episodes(stream, change, 6, 10_000, seed=4))


def test_a_model_in_which_nothing_changes_stays_within_its_weekly_budget() -> None:
    """30 mixed features, correlated, half of them with a season; the full size is the benchmark."""
    found = run_quarter(30, 14, seed=5)

    assert found.n_seasonal >= 10
    assert found.suspicions <= found.allowed
    assert found.alerts == 0


def test_the_bound_of_a_normal_shift_is_known_in_closed_form() -> None:
    """KL = d^2 / 2, so ln(e^10) / 0.02 = 500 events; dependence multiplies it."""
    shift = Change("0.2 sd", shift=0.2)
    arl0 = 22026.4657948

    assert lorden_bound(Stream(), shift, arl0) == pytest.approx(500, rel=1e-3)
    assert lorden_bound(Stream("lognormal", scale=1e6), shift, arl0) == pytest.approx(500, rel=1e-3)
    assert lorden_bound(Stream(dependence="AR .9"), shift, arl0) == pytest.approx(9500, rel=1e-3)


def test_a_run_repeats_exactly_and_tells_everything(tmp_path: Path) -> None:
    plan = Plan(
        (Stream(),), (Cell(Stream(), SHIFTS[3], 2000),), 1, 20_000, 2000, 3, 1,
        (Lasting(Stream(), SHIFTS[3], 5_000),), 2, Model(3, 1),
    )  # fmt: skip
    findings = run(plan)

    assert run(plan) == findings
    assert len(false_alert_lines(findings.quiet)) == len(delay_lines(findings.found)) == 2
    assert len(episode_lines(findings.lasting)) == 2
    told = json.loads(json.dumps(summary(findings, 1.0)))
    assert told["events"] == 20_000
    assert told["delays"][0]["missed"] == 0
    assert told["lasting"][0]["one_and_recovered"] == 2
    assert told["quarter"]["n_events"] == 1440
    draw(findings.quiet, findings.found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
