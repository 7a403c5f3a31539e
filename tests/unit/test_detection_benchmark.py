"""The detection benchmark at a small size: the budget holds and changes are found in time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.detection import __main__ as benchmark
from tests.benchmarks.detection.__main__ import run
from tests.benchmarks.detection.alerts_per_quarter import Quarter, run_quarter
from tests.benchmarks.detection.changes import Change, lorden_bound
from tests.benchmarks.detection.dependence import (
    Pairing,
    StationaryPair,
    Turn,
    TurnDelays,
    stationary_pair,
    turn_delays,
    turn_within,
)
from tests.benchmarks.detection.lasting_change import Episodes, episodes
from tests.benchmarks.detection.measure import Delays, FalseAlerts, delays, false_alerts
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
from tests.benchmarks.detection.report import (
    Findings,
    delay_lines,
    episode_lines,
    false_alert_lines,
    one_episode,
    recovers,
    summary,
    violations,
    within,
)
from tests.benchmarks.detection.streams import Dependence, Stream


@pytest.mark.parametrize("dependence", ["iid", "AR .5", "AR .9", "season"])
def test_a_stationary_stream_stays_within_the_budget(dependence: Dependence) -> None:
    found = false_alerts(Stream(dependence=dependence), 2, 200_000, 0, seed=1)

    assert found.signals <= found.allowed
    assert found.started == 0


@pytest.mark.slow
@pytest.mark.parametrize("dependence", ["iid", "AR .9"])
def test_a_stationary_pair_stays_within_the_budget(dependence: Dependence) -> None:
    found = stationary_pair(Pairing(0.6, dependence=dependence), 2, 200_000, seed=1)

    assert found.signals <= found.allowed
    assert found.started == 0


@pytest.mark.slow
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


@pytest.mark.slow
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
    found = episodes(stream, change, 6, 10_000, seed=4)

    assert one_episode(found)
    assert recovers(found)


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_repeats_exactly_and_is_complete(tmp_path: Path) -> None:
    plan = Plan(
        (Stream(),),
        (Cell(Stream(), SHIFTS[3], 2000),),
        1,
        20_000,
        2000,
        3,
        1,
        (Lasting(Stream(), SHIFTS[3], 5_000),),
        2,
        Model(3, 1),
    )
    findings = run(plan)

    assert run(plan) == findings
    assert len(false_alert_lines(findings.stationary)) == len(delay_lines(findings.found)) == 2
    assert len(episode_lines(findings.lasting)) == 2
    reported = json.loads(json.dumps(summary(findings, 1.0)))
    assert reported["events"] == 20_000
    assert reported["delays"][0]["missed"] == 0
    assert reported["lasting"][0]["one_and_recovered"] == 2
    assert reported["quarter"]["n_events"] == 1440
    draw(findings.stationary, findings.found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


HELD = Findings(
    stationary=[FalseAlerts(Stream(), 1_000_000, 3, 0, 3, 7.8, {})],
    found=[
        Delays(Stream(), SHIFTS[2], 40, 100.0, 130.0, 200.0, 0, 140.0, 0, {}),
        Delays(Stream("5 categories"), SWAP, 40, None, 114.0, 200.0, 0, 140.0, 0, {}, asked=100),
        Delays(Stream(dependence="AR .9"), SHIFTS[2], 40, 100.0, 9_000.0, None, 9, None, 9, {}),
    ],
    lasting=[Episodes(Stream(), SHIFTS[2], 20, 5_000, 0, 19, 1, 19, 100.0, 800.0, 1, 2)],
    quarter=Quarter(200, 400, 10, 100, 100_000, 13.0, 13, 0, 13),
    pairs=[StationaryPair(Pairing(0.6), 1_000_000, 3, 0, 3, 7.8)],
    turns=[TurnDelays(Turn(Pairing(0.6), 0.0, 80), 40, 60.0, 91.0, 200.0, 0, 100.0, 0)],
)
BROKEN = [
    HELD._replace(stationary=[HELD.stationary[0]._replace(signals=4)]),
    HELD._replace(found=[HELD.found[0]._replace(median=139.0)]),
    HELD._replace(found=[HELD.found[0]._replace(median=None)]),
    HELD._replace(found=[HELD.found[1]._replace(median=116.0)]),
    HELD._replace(lasting=[HELD.lasting[0]._replace(clean=18)]),
    HELD._replace(lasting=[HELD.lasting[0]._replace(recovery_median=801.0)]),
    HELD._replace(lasting=[HELD.lasting[0]._replace(relapsed=4)]),
    HELD._replace(quarter=Quarter(200, 400, 10, 100, 100_000, 13.0, 14, 0, 13)),
    HELD._replace(pairs=[StationaryPair(Pairing(0.6), 1_000_000, 4, 0, 3, 9.2)]),
    HELD._replace(turns=[HELD.turns[0]._replace(median=93.0)]),
]


@pytest.mark.parametrize(("findings", "code"), [(HELD, 0), *((broken, 1) for broken in BROKEN)])
def test_the_benchmark_fails_if_a_bound_does_not_hold(
    findings: Findings, code: int, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(benchmark, "run", lambda _plan: findings)
    monkeypatch.setattr("sys.argv", ["detection"])

    assert benchmark.main() == code
    reported = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(reported["violations"]) == code
    assert reported["violations"] == violations(findings)
