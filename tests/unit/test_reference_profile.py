"""A profile travels as plain data, is small, and is not believed before it is checked."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data


@cache
def small() -> ReferenceProfile:
    rng = np.random.default_rng(1)
    columns: dict[str, Any] = {
        "age": rng.normal(40, 10, 500),
        "plan": rng.choice(["free", "pro", "team"], 500).tolist(),
        "active": (rng.random(500) < 0.3).tolist(),
    }
    losses = (rng.random(500) < 0.2).astype(float)
    return fit_profile(
        "churn",
        "1",
        columns,
        predictions=rng.random(500),
        losses=losses,
        task="binary",
        origin="training",
        importances={"age": 0.7},
    )


def over_the_wire(profile: ReferenceProfile) -> Any:
    return msgspec.json.decode(msgspec.json.encode(profile_to_data(profile)))


def test_a_written_profile_is_read_back_unchanged() -> None:
    assert profile_from_data(over_the_wire(small())) == small()


def test_a_profile_of_ten_features_and_10000_rows_is_below_200_kb() -> None:
    rng = np.random.default_rng(2)
    profile = fit_profile(
        "m",
        "1",
        {f"f{i}": rng.standard_normal(10_000) for i in range(10)},
        predictions=rng.random(10_000),
        task="binary",
        origin="training",
    )

    assert len(msgspec.json.encode(profile_to_data(profile))) < 200_000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("format",), 3, "format 3"),
        (("task",), "ranking", "task"),
        (("n_events",), "many", "n_events"),
        (("threshold",), float("nan"), "finite"),
        (("events_per_week",), 0.0, "events_per_week"),
        (("events_per_week",), float("inf"), "events_per_week"),
        (("features", "age", "name"), "other", "named"),
        (("features", "age", "scale"), 0.0, "scale"),
        (("features", "age", "order_statistics"), "", "order statistics"),
        (("features", "age", "order_statistics"), "AAAA", "order statistics"),
        (("features", "age", "bin_starts"), [0, 0, 1], "bins"),
        (("features", "age", "bin_counts"), [-1] * 10, "bin"),
        (("features", "age", "channels"), [], "no channels"),
        (("features", "age", "channels", 0, "sd"), 0.0, "sd or theta"),
        (("features", "age", "channels", 0, "block"), 7, "block"),
        (("features", "age", "channels", 0, "mean"), float("inf"), "finite"),
        (("features", "age", "channels", 0, "theta"), 2.5, "theta"),
        (("features", "age", "channels", 0, "allowance"), 0.0, "allowance"),
        (("features", "age", "channels", 0, "adwin", 3), 1e6, "total"),
        (("features", "age", "channels", 0, "adwin", 2), True, "stationary"),
        (("features", "plan", "categories"), ["", "a", "a", "b"], "twice"),
        (("features", "plan", "category_counts"), [1], "category counts"),
        (("loss", "n_invalid"), -1, "counts"),
    ],
    ids=str,
)
def test_an_inconsistent_profile_is_rejected_with_a_reason(
    path: tuple[str | int, ...], value: Any, message: str
) -> None:
    data = copy.deepcopy(over_the_wire(small()))
    target = data
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value

    with pytest.raises(ValueError, match=message):
        profile_from_data(data)


def frame(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    score = rng.random(n)
    made = pd.DataFrame(
        {
            "temp": rng.normal(60, 10, n),
            "carrier": [["UA", "AA", None][i] for i in rng.choice(3, n, p=[0.5, 0.4, 0.1])],
            "hour": rng.integers(0, 24, n),
            "score": score,
            "late": (rng.random(n) < score).astype(int),
        }
    )
    made.loc[made.index % 10 == 0, "temp"] = np.nan
    return made


def test_a_frame_with_times_has_events_per_week_unless_it_is_stated() -> None:
    """An event a minute; the whole traffic may be more than the frame."""
    table = frame().assign(at=pd.date_range("2024-01-01", periods=600, freq="min"))

    def rate(*, timed: bool = True, reported: float | None = None) -> float | None:
        given = table if timed else table.drop(columns="at")
        return profile_from_frame(
            given, model="m", version="2", time="at" if timed else None, events_per_week=reported
        ).events_per_week

    assert rate() == pytest.approx(7 * 24 * 60)
    assert rate(timed=False) is None
    assert rate(reported=5e6) == rate(timed=False, reported=5e6) == 5e6
    with pytest.raises(ValueError, match="events_per_week"):
        rate(reported=0.0)


def test_a_frame_becomes_a_profile_with_its_losses() -> None:
    table = frame()
    profile = profile_from_frame(table, model="m", version="2", prediction="score", label="late")

    assert set(profile.features) == {"temp", "carrier", "hour"}
    assert profile.task == "binary"
    assert profile.features["temp"].n_invalid == 60
    assert profile.features["carrier"].kind == "categorical"
    assert profile.loss is not None
    errors = (table["score"] >= 0.5).astype(int) != table["late"]
    assert profile.loss.mean == pytest.approx(errors.mean())


def test_chosen_features_and_given_losses_are_used_as_they_are() -> None:
    table = frame()
    table["loss"] = 1.0
    profile = profile_from_frame(
        table,
        model="m",
        version="2",
        prediction="score",
        label="late",
        loss="loss",
        features=["hour"],
        importances={"hour": 1.0},
    )

    assert list(profile.features) == ["hour"]
    assert profile.loss is not None
    assert profile.loss.mean == 1.0
    assert profile.importances == {"hour": 1.0}


def test_a_column_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError):
        profile_from_frame(frame(), model="m", version="2", prediction="nothing")
