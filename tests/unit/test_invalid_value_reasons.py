"""A feature that is invalid in all events explanation why."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from producer.events import Value
from tests.builders import table_of
from tests.unit.test_feature_correlation import batch_of, profile, version_of


@pytest.mark.parametrize(
    ("sent", "explanation"),
    [
        (None, "`temp`: all values are missing since 1 Jan 1970 00:"),
        ("71.6", "`temp`: all values are sent as text since 1 Jan 1970 00:"),
        (1e300, "`temp`: all values are out of range since 1 Jan 1970 00:"),
    ],
)
def test_an_alert_gives_the_reason_why_all_values_are_invalid(
    sent: Value, explanation: str
) -> None:
    rng = np.random.default_rng(1)
    batch = batch_of({"temp": rng.standard_normal(4_000)})
    column: Sequence[Value] = [*batch.features.column("temp")[:2_000], *[sent] * 2_000]
    batch = dataclasses.replace(batch, features=table_of({"temp": column}))

    alerts = version_of(profile({"temp": rng.standard_normal(5_000)})).observe(batch)[1]

    assert [(alert.kind, alert.phase) for alert in alerts] == [("quality", "started")]
    assert alerts[0].explanation.startswith(explanation)


def test_a_feature_that_is_gone_is_missing() -> None:
    rng = np.random.default_rng(2)
    names = {name: rng.standard_normal(5_000) for name in ("temp", "wind")}
    watched = version_of(profile(names))
    batch = batch_of({"wind": names["wind"]})

    (alert,) = watched.observe(batch)[1]

    assert alert.explanation.startswith("`temp`: all values are missing since")
    assert msgspec.json.encode(alert)


def test_some_missing_values_are_reported_with_their_share() -> None:
    rng = np.random.default_rng(3)
    temp = np.where(rng.random(5_000) < 0.3, np.nan, rng.standard_normal(5_000))

    (alert, *_) = version_of(profile({"temp": rng.standard_normal(5_000)})).observe(
        batch_of({"temp": temp})
    )[1]

    assert alert.explanation.startswith(
        "`temp`: 31.2 % of values are missing or invalid (reference 0 %)"
    )
