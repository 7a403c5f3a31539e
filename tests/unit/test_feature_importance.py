"""The importance of a feature weighs the severity of its drift, and nothing else."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.batch import Floats
from stream_monitor.reference.profile import ReferenceProfile
from tests.unit.test_feature_correlation import batch_of, profile, version_of

N = 6_000
START = 2_000


def columns(seed: int, n: int = N) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(n) for name in ("used", "unused")}


def reference(**importances: float) -> ReferenceProfile:
    return msgspec.structs.replace(profile(columns(0)), importances=importances)


def alerts_of(drifted: dict[str, Floats], **importances: float) -> list[DriftAlert]:
    return version_of(reference(**importances)).observe(batch_of(drifted))[1]


def shifted() -> dict[str, Floats]:
    return {name: values + 1.5 * (np.arange(N) >= START) for name, values in columns(1).items()}


def test_drift_of_a_feature_the_model_hardly_uses_is_not_bad() -> None:
    plain = alerts_of(shifted())
    weighed = alerts_of(shifted(), used=0.5, unused=0.01)

    assert {(a.feature, a.severity, a.importance) for a in plain} == {
        ("used", "high", None),
        ("unused", "high", None),
    }
    assert {(a.feature, a.severity, a.importance) for a in weighed} == {
        ("used", "high", None),
        ("unused", "low", 0.02),
    }
    assert [(a.alert_id, a.effect) for a in weighed] == [(a.alert_id, a.effect) for a in plain]


def test_broken_data_is_as_bad_in_any_feature() -> None:
    gone = columns(1)
    gone["unused"] = np.where(np.arange(N) >= START, np.nan, gone["unused"])

    (alert,) = alerts_of(gone, used=1.0, unused=0.0)

    assert (alert.kind, alert.severity, alert.importance) == ("quality", "high", None)


def test_a_correlation_is_as_important_as_its_more_important_feature() -> None:
    rng = np.random.default_rng(3)
    unused = rng.standard_normal(N)
    follows = np.where(np.arange(N) < START, unused, -unused)
    now = {"used": 0.8 * follows + 0.6 * rng.standard_normal(N), "unused": unused}
    before = columns(0)
    before["used"] = 0.8 * before["unused"] + 0.6 * before["used"]

    def reported(**importances: float) -> list[str]:
        made = msgspec.structs.replace(profile(before), importances=importances)
        found = version_of(made).observe(batch_of(now))[1]
        return [a.severity for a in found if a.phase == "started"]

    assert reported() == reported(used=1.0, unused=0.0) == ["high"]
    before["third"] = now["third"] = rng.standard_normal(N)
    assert reported(used=0.0, unused=0.0, third=1.0) == ["low"]


@pytest.mark.parametrize(
    ("importances", "expected"),
    [
        ({}, 1.0),
        ({"used": 4.0}, 1.0),
        ({"used": 1.0, "unused": 4.0}, 0.25),
        ({"used": -0.1, "unused": 4.0}, 0.0),
        ({"unused": 4.0}, 1.0),
        ({"used": 1.0, "no feature": 4.0}, 1.0),
        ({"used": 0.0}, 1.0),
        ({"used": -1.0}, 1.0),
    ],
)
def test_importance_is_of_the_most_important_one(
    importances: dict[str, float], expected: float
) -> None:
    assert reference(**importances).weights()["used"] == expected
