"""False swaps of stored versions whose losses depend on each other, none being better.

    python -m tests.benchmarks.false_swaps [--events 1000000]

Four versions are compared with the champion by the default `SwapTest`.  The table has the swaps in
a million labelled events, by the correlation of neighbouring events, for three kinds of losses:
differences that are autoregressive; absolute errors of numbers, with autoregressive errors of each
model and of the labels; and Brier losses of models whose log odds have autoregressive errors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from scipy.signal import lfilter

from trainer.evaluation.losses import Floats
from trainer.evaluation.version_swap import SwapPolicy, SwapState, SwapTest

N_VERSIONS: Final = 5
RUN_EVENTS: Final = 50_000
CORRELATIONS: Final = (0.0, 0.5, 0.9, 0.98, 0.995)


def autoregressive(n: int, columns: int, correlation: float, rng: np.random.Generator) -> Floats:
    """Return n values of a stationary AR(1) with variance 1, in columns."""
    noise = rng.standard_normal((n, columns)) * np.sqrt(1 - correlation**2)
    noise[0] = rng.standard_normal(columns)
    found: Floats = lfilter([1.0], [1.0, -correlation], noise, axis=0)
    return found


def differences(correlation: float, rng: np.random.Generator) -> Floats:
    """Losses (n, versions) whose differences from the champion's are autoregressive."""
    found = 0.1 * autoregressive(RUN_EVENTS, N_VERSIONS, correlation, rng)
    found[:, 0] = 0.0
    return found


def absolute_errors(correlation: float, rng: np.random.Generator) -> Floats:
    """Absolute errors in units that count in full: four mean errors."""
    label = autoregressive(RUN_EVENTS, 1, correlation, rng)
    errors = np.abs(label + 0.5 * autoregressive(RUN_EVENTS, N_VERSIONS, correlation, rng))
    return errors / (4 * float(errors.mean()))


def brier_losses(correlation: float, rng: np.random.Generator) -> Floats:
    """Brier losses of models of the same quality, on labels whose own log odds vary."""
    odds = 1.5 * autoregressive(RUN_EVENTS, 1, 0.9, rng)
    label = rng.random((RUN_EVENTS, 1)) < 1 / (1 + np.exp(-odds))
    error = 0.6 * autoregressive(RUN_EVENTS, N_VERSIONS, correlation, rng)
    found: Floats = np.square(1 / (1 + np.exp(-odds - error)) - label)
    return found


KINDS: Final[dict[str, Callable[[float, np.random.Generator], Floats]]] = {
    "differences": differences,
    "absolute errors": absolute_errors,
    "Brier losses": brier_losses,
}


def swaps_in(losses: Floats) -> int:
    """Count the swaps from version 0, which stays the champion."""
    policy = SwapPolicy()
    test, found = SwapTest(policy, SwapState(champion="0")), 0
    for start in range(0, len(losses), policy.block_events):
        block = losses[start : start + policy.block_events]
        if test.observe({str(v): block[:, v] for v in range(N_VERSIONS)}) is not None:
            found += 1
            test.restart("0")
    return found


def main() -> None:
    """Print a line for each kind and correlation, and a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=1_000_000)
    n_runs = max(1, parser.parse_args().events // RUN_EVENTS)
    results: dict[str, Any] = {}
    for kind, losses in KINDS.items():
        for correlation in CORRELATIONS:
            rngs = (np.random.default_rng((run, 7)) for run in range(n_runs))
            found = sum(swaps_in(losses(correlation, rng)) for rng in rngs)
            rate = found * 1e6 / (n_runs * RUN_EVENTS)
            results[f"{kind} {correlation:g}"] = rate
            print(f"{kind:16} correlation {correlation:5}: {rate:6.1f} swaps in 1,000,000 events")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
