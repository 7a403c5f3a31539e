"""Shadow predictions change no other result, and results do not depend on batches with them."""

from __future__ import annotations

import functools

import msgspec
import pytest
from hypothesis import given, settings

from stream_monitor.ingest.records import ConsumerRecord
from tests.hypothesis_profiles import examples
from tests.properties.partition_logs import (
    Results,
    log_of,
    run,
    seeds,
    some_cuts,
    with_shadows,
    without_shadows,
)

law = settings(max_examples=examples(8))


@functools.lru_cache(maxsize=16)
def shadowed(seed: int, n: int = 2600) -> list[ConsumerRecord]:
    """A log with shadow predictions."""
    return with_shadows(seed, log_of(seed, n))


@functools.lru_cache(maxsize=16)
def whole(seed: int, n: int = 2600) -> Results:
    """The results of that log, processed as one batch."""
    return run(shadowed(seed, n), [])


@pytest.mark.slow
@law
@given(seed=seeds, cuts=some_cuts)
def test_results_with_shadows_do_not_depend_on_batch_boundaries(seed: int, cuts: list[int]) -> None:
    records = shadowed(seed)

    assert run(records, [c % len(records) for c in cuts]) == whole(seed)


@pytest.mark.slow
@law
@given(seed=seeds, cuts=some_cuts)
def test_a_restart_with_shadows_continues_identically(seed: int, cuts: list[int]) -> None:
    records = shadowed(seed)

    assert run(records, [c % len(records) for c in cuts], restart=True) == whole(seed)


@settings(max_examples=examples(2))
@given(seed=seeds)
def test_one_record_at_a_time_equals_one_batch_with_shadows(seed: int) -> None:
    records = shadowed(seed, 900)

    assert run(records, list(range(len(records)))) == whole(seed, 900)


@law
@given(seed=seeds)
def test_a_shadow_prediction_changes_nothing_that_a_tick_would_not(seed: int) -> None:
    """Alerts, dead letters and the windows of served versions are those without shadows."""
    records = shadowed(seed)
    alerts, dead, windows, state = whole(seed)
    alerts_before, dead_before, windows_before, state_before = run(without_shadows(records), [])
    parts, before = msgspec.json.decode(state), msgspec.json.decode(state_before)
    own = ("counters", "seen|", "model|churn|shadow|", "model|churn|coverage|")

    assert alerts == alerts_before
    assert dead == dead_before
    assert [window for window in windows if not window.shadow] == windows_before
    assert {n: p for n, p in parts.items() if not n.startswith(own)} == {
        n: p for n, p in before.items() if not n.startswith(own)
    }
    assert parts["counters"]["shadow"] > 100
    assert parts["counters"]["valid"] == before["counters"]["valid"]


@pytest.mark.slow
def test_the_logs_of_these_laws_hold_windows_and_joined_labels_of_shadows() -> None:
    """A law about empty results could not fail."""
    windows = joined = 0
    for seed in range(4):
        _, _, closed, state = whole(seed)
        windows += sum(window.shadow for window in closed)
        parts = msgspec.json.decode(state)
        metas = [parts[name] for name in parts if "|shadow|" in name and "labels|meta" in name]
        joined += sum(meta[2][0] for meta in metas)

    assert windows > 4
    assert joined > 200
