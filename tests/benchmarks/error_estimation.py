"""The accuracy of the error estimated without labels, and the delay of its signals.

    python -m tests.benchmarks.error_estimation [--runs 40]

A model of three inputs, overconfident and not quite right, whose reference are 10,000 rows.  Then
the first input shifts or is scaled, or what it means changes (concept), or both, so that the error
rate stays what it was.  Delays are median events
from the change to a signal, without waiting for labels, of series with one false alarm in a million
events each; in brackets the share of runs in which nothing was signalled within the 8,000 events
after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from stream_monitor.checks.error_estimate import ErrorEstimate
from stream_monitor.checks.monitored_signal import MonitoredSignal
from stream_monitor.detectors.calibration import Budget, arl0_events
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.reference.feature_reference import FeatureReference
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.reference.transform import Transformed
from stream_monitor.statistics.fixed_point import FIXED_POINT, Floats, Ints

N_REFERENCE: Final = 10_000
BUDGET: Final = Budget(false_alerts=1.0, per_events=1_000_000)
_TRUTH: Final = (1.2, 0.8, -0.5)
_LEARNT: Final = (1.54, 1.26, -0.63)
_BEFORE: Final = 5_000
_AFTER: Final = 8_000


class Change(NamedTuple):
    """What happens to the first input, or to what it means."""

    name: str
    shift: float = 0.0
    scale: float = 1.0
    meaning: float = _TRUTH[0]


CHANGES: Final = (
    Change("none"),
    Change("+0.5 sd", shift=0.5),
    Change("+1 sd", shift=1.0),
    Change("-1.5 sd", shift=-1.5),
    Change("x 0.5", scale=0.5),
    Change("x 2", scale=2.0),
    Change("concept", meaning=-0.2),
    Change("both", shift=-1.5, meaning=0.67),
)


class Rows(NamedTuple):
    """Inputs (n, 3), scores (n,) and labels (n,)."""

    inputs: Floats
    scores: Floats
    labels: Ints

    @property
    def errors(self) -> Ints:
        """0 where the score predicts the label, else 1."""
        return np.array((self.scores >= 0.5) != self.labels, dtype=np.int64)


def rows(rng: np.random.Generator, n: int, change: Change) -> Rows:
    """Events of the model in a world that changed so."""
    inputs = rng.standard_normal((n, 3))
    inputs[:, 0] = inputs[:, 0] * change.scale + change.shift
    meaning = np.array([change.meaning, *_TRUTH[1:]])
    labels = (rng.random(n) < _logistic(inputs @ meaning)).astype(np.int64)
    return Rows(inputs, _logistic(inputs @ np.array(_LEARNT) + 0.1), labels)


def profile_of(reference: Rows) -> ReferenceProfile:
    """The profile of the model."""
    frame = pd.DataFrame({"score": reference.scores, "label": reference.labels})
    return profile_from_frame(frame, model="m", version="1", prediction="score", label="label")


def estimated(profile: ReferenceProfile, events: Rows) -> float:
    """The error rate that the scores let expect."""
    estimate = ErrorEstimate(profile)
    losses = estimate.losses_of(estimate.look_up(events.scores.tolist()))
    return float(losses.mean() / FIXED_POINT)


class Contender(NamedTuple):
    """A series that may find the change, and what it is fed of events."""

    name: str
    reference: FeatureReference
    values: Callable[[Rows], Floats | Ints]


def contenders(profile: ReferenceProfile, reference: Rows) -> list[Contender]:
    """The score, the expected loss as a series of its own, the loss, and its residual."""
    if profile.prediction is None or profile.loss is None or profile.expected_loss is None:
        raise ValueError("the profile is not complete")
    estimate = ErrorEstimate(profile)

    def expected(events: Rows) -> Floats:
        losses: Floats = estimate.losses_of(estimate.look_up(events.scores.tolist())) / FIXED_POINT
        return losses

    def outcomes(events: Rows) -> Ints:
        return estimate.table.cells(estimate.look_up(events.scores.tolist()), events.errors)

    outcome = profile.expected_loss.outcome
    residual = tuple(c for c in outcome.channels if c.channel == "residual")
    return [
        Contender("score", profile.prediction, lambda events: events.scores),
        Contender("expected loss", fit_feature("e", expected(reference), kind="numeric"), expected),
        Contender("loss", profile.loss, lambda events: events.errors.astype(np.float64)),
        Contender("residual", msgspec.structs.replace(outcome, channels=residual), outcomes),
        Contender("loss + residual", outcome, outcomes),
    ]


def delay(contender: Contender, before: Rows, after: Rows) -> int | None:
    """Events from the change to the first signal."""
    arl0 = arl0_events(BUDGET, 2 * len(contender.reference.channels))
    series = MonitoredSignal(contender.reference, "prediction", arl0, EpisodePolicy())

    def take(events: Rows) -> list[int]:
        looked_up: Transformed = series.transform.apply(contender.values(events))  # type: ignore[arg-type]
        return [signal.position for signal in series.detectors.observe(looked_up)]

    take(before)
    found = take(after)
    return found[0] + 1 if found else None


def table(runs: int) -> list[str]:
    """The rows of the report."""
    errors: dict[str, list[tuple[float, float]]] = {change.name: [] for change in CHANGES}
    delays: dict[tuple[str, str], list[int | None]] = {}
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        reference = rows(rng, N_REFERENCE, CHANGES[0])
        profile = profile_of(reference)
        before = rows(rng, _BEFORE, CHANGES[0])
        watching = contenders(profile, reference)
        for change in CHANGES:
            after, many = rows(rng, _AFTER, change), rows(rng, 50_000, change)
            errors[change.name].append((estimated(profile, many), float(many.errors.mean())))
            for contender in watching:
                key = change.name, contender.name
                delays.setdefault(key, []).append(delay(contender, before, after))
    lines = []
    for name, pairs in errors.items():
        estimate, true = (float(np.mean(column)) for column in zip(*pairs, strict=True))
        off = max(abs(e - t) for e, t in pairs)
        mine = [(who, each) for (of, who), each in delays.items() if of == name]
        found = "  ".join(f"{who} {_delay(each)}" for who, each in mine)
        lines.append(f"{name:>8}  {estimate:.3f} / {true:.3f} (off {off:.3f} at most)  {found}")
    return lines


def _delay(delays: list[int | None]) -> str:
    known = sorted(each if each is not None else _AFTER for each in delays)
    missed = sum(each is None for each in delays) / len(delays)
    return f"{known[len(known) // 2]} ({missed:.0%})"


def _logistic(logits: Floats) -> Floats:
    shares: Floats = 1 / (1 + np.exp(-logits))
    return shares


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=40)
    for line in table(parser.parse_args().runs):
        print(line, flush=True)
