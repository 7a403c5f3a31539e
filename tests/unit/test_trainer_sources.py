"""One of several producers can neither cause a retrain alone nor train a model alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.trainer_alerts import a_job
from trainer.dataset.collector import CollectedEvents
from trainer.dataset.frame import ColumnRoles, Dataset, build_dataset
from trainer.dataset.source_exclusion import exclude_sources
from trainer.evaluation.deviating_sources import deviating_sources
from trainer.jobs.job import JobData
from trainer.service.context import StepInputs, context_from_settings
from trainer.service.source_check import check_sources
from trainer.settings import Settings

N, ONSET = 4_000, 2_000
PODS = ["/pod-0", "/pod-1", "/pod-2", "/pod-3", "/pod-4"]


def stream(
    seed: int, error_of: dict[str, tuple[float, float]], shares: list[float] | None = None
) -> tuple[Any, Any, list[str]]:
    """0/1 losses; ``error_of`` has the error rate of each source before and after the onset."""
    draw = np.random.default_rng(seed)
    names = draw.choice(list(error_of), size=N, p=shares)
    is_new = np.arange(N) >= ONSET
    rate = np.array([error_of[name][int(new)] for name, new in zip(names, is_new, strict=True)])
    return (draw.random(N) < rate).astype(float), is_new, names.tolist()


def found(seed: int, error_of: dict[str, tuple[float, float]], **options: Any) -> list[str]:
    losses, is_new, names = stream(seed, error_of, **options)
    return [one.name for one in deviating_sources(losses, is_new, names, 0.5)]


@given(st.integers(0, 2**32))
def test_a_change_of_all_producers_excludes_none(seed: int) -> None:
    assert found(seed, dict.fromkeys(PODS, (0.2, 0.2))) == []
    assert found(seed, dict.fromkeys(PODS, (0.2, 0.45))) == []


@given(st.integers(0, 2**32))
def test_the_producer_that_changes_alone_is_found(seed: int) -> None:
    assert found(seed, dict.fromkeys(PODS, (0.2, 0.2)) | {"/pod-3": (0.2, 0.8)}) == ["/pod-3"]


def test_the_rest_may_change_too() -> None:
    rest = dict.fromkeys(PODS, (0.2, 0.35))

    assert found(1, rest | {"/pod-3": (0.2, 0.9)}) == ["/pod-3"]
    assert found(1, rest | {"/pod-1": (0.1, 0.9), "/pod-3": (0.2, 0.9)}) == ["/pod-1", "/pod-3"]


def test_a_producer_with_another_level_is_compared_with_its_own_past() -> None:
    assert found(2, dict.fromkeys(PODS, (0.1, 0.1)) | {"/pod-3": (0.4, 0.4)}) == []
    assert found(2, dict.fromkeys(PODS, (0.1, 0.3)) | {"/pod-3": (0.4, 0.6)}) == []


def test_a_new_producer_is_compared_with_the_others() -> None:
    losses, is_new, names = stream(3, dict.fromkeys(PODS, (0.2, 0.2)) | {"/new": (0.2, 0.8)})
    seen = is_new | (np.array(names) != "/new")

    alone = deviating_sources(losses[seen], is_new[seen], np.array(names)[seen].tolist(), 0.5)

    assert [one.name for one in alone] == ["/new"]
    calm, is_new, names = stream(3, dict.fromkeys([*PODS, "/new"], (0.2, 0.2)))
    assert deviating_sources(calm[seen], is_new[seen], np.array(names)[seen].tolist(), 0.5) == []


def test_a_majority_defines_what_is_normal() -> None:
    both: dict[str, tuple[float, float]] = {"/big": (0.2, 0.8), "/small": (0.2, 0.2)}

    assert found(4, both, shares=[0.8, 0.2]) == []
    assert found(4, both, shares=[0.2, 0.8]) == ["/big"]
    assert found(4, {"": (0.2, 0.8)}) == []


def test_without_earlier_rows_nothing_is_compared() -> None:
    losses, _, names = stream(5, dict.fromkeys(PODS, (0.2, 0.2)) | {"/pod-3": (0.2, 0.9)})

    assert deviating_sources(losses, np.ones(N, dtype=np.bool_), names, 0.5) == []


def dataset_of(losses: Any, sources: list[str], label_sources: list[str] | None = None) -> Dataset:
    """A model that predicts 0: its 0/1 loss is the label."""
    empty = build_dataset(CollectedEvents([], 0, 0, 0, 1.0), ColumnRoles("binary"))
    frame = pd.DataFrame(
        {
            "id": [f"e{i}" for i in range(N)],
            "time_ms": np.arange(N),
            "version": "1",
            "ce_source": sources,
            "label_ce_source": label_sources or ["/jobs"] * N,
            "prediction": 0.0,
            "label": losses.astype(int),
        }
    )
    return empty._replace(frame=frame)


def test_rows_before_the_change_stay_and_the_rest_is_counted_by_name() -> None:
    losses, is_new, names = stream(6, dict.fromkeys(PODS, (0.2, 0.2)) | {"/pod-3": (0.2, 0.8)})

    checked = exclude_sources(
        dataset_of(losses, names),
        since_ms=ONSET,
        task="binary",
        positive=1,
        threshold=0.5,
        max_share=0.5,
    )

    left = checked.dataset.frame
    of_pod = np.array(names) == "/pod-3"
    assert set(left["ce_source"]) == set(PODS)
    assert len(left) == N - int((of_pod & is_new).sum())
    assert checked.dataset.record.excluded_sources == {
        "ce_source /pod-3": int((of_pod & is_new).sum())
    }
    assert checked.dataset.record.rows == len(left)
    assert checked.is_without_drift


def test_the_producer_of_a_label_counts_too() -> None:
    losses, _, names = stream(7, {"/labels-a": (0.2, 0.2), "/labels-b": (0.2, 0.9)}, [0.8, 0.2])

    checked = exclude_sources(
        dataset_of(losses, ["/pod"] * N, names),
        since_ms=ONSET,
        task="binary",
        positive=1,
        threshold=0.5,
        max_share=0.5,
    )

    assert list(checked.dataset.record.excluded_sources) == ["label_ce_source /labels-b"]


@pytest.mark.parametrize("onset", [ONSET, 3_000])
def test_a_producer_that_was_left_out_is_not_its_own_measure_of_normal(
    onset: int, tmp_path: Path
) -> None:
    """A later episode begins when the producer has been hostile for long."""
    losses, _, names = stream(8, dict.fromkeys(PODS, (0.2, 0.2)) | {"/pod-3": (0.2, 0.8)})
    settings: dict[str, Any] = {"trainer": {"data_dir": tmp_path, "factories": {"m": "f:f"}}}
    context = context_from_settings(Settings(**settings))
    job = a_job(state="reading", asked_ms=N, work=JobData(onset_ms=ONSET))
    inputs, roles = StepInputs([], []), ColumnRoles("binary")

    first = check_sources(job, context, dataset_of(losses, names), roles, inputs)
    later = job.to("reading", onset_ms=onset)
    known = inputs._replace(excluded_sources=first.job.work.excluded_sources)
    second = check_sources(later, context, dataset_of(losses, names), roles, known)

    for checked in (first, second):
        assert checked.declined is not None
        assert checked.declined.rule == "single_source"
        assert "events from /pod-3: loss 0.152 → 0.808, elsewhere 0.1" in checked.declined.reason
    assert second.dataset.record.excluded_sources == first.dataset.record.excluded_sources
