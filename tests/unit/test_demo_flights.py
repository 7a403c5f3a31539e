from __future__ import annotations

import pandas as pd
import pytest

from driftline.demo import flights
from driftline.demo.scenario import BROKEN_FEATURE, FEATURES, INCIDENT_MS, is_in_incident


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    return flights.load()


def test_the_slice_is_the_one_its_source_note_describes(year: pd.DataFrame) -> None:
    assert len(year) == 39_043
    assert year["id"].is_unique
    assert year["time_ms"].is_monotonic_increasing
    assert pd.to_datetime(year["time_ms"], unit="ms")[0].isoformat() == "2013-01-01T10:15:00"


def test_missing_weather_stays_missing(year: pd.DataFrame) -> None:
    assert int(year["temp"].isna().sum()) == 215
    assert not year[["carrier", "distance", "hour", "late"]].isna().any().any()


def test_a_quarter_of_the_flights_is_late(year: pd.DataFrame) -> None:
    assert set(year["late"].unique()) == {0, 1}
    assert 0.24 < year["late"].mean() < 0.27


def test_the_training_part_is_the_first_tenth_and_ends_before_the_incident(
    year: pd.DataFrame,
) -> None:
    training, rest = flights.split(year)
    assert (len(training), len(rest)) == (3_904, 35_139)
    assert training["time_ms"].max() < INCIDENT_MS[0]
    assert rest.index[0] == 0


def test_the_incident_turns_degrees_and_touches_nothing_else(year: pd.DataFrame) -> None:
    broken = flights.with_incident(year)
    inside = flights.in_incident(year["time_ms"].to_numpy())
    assert inside.tolist() == [is_in_incident(int(t)) for t in year["time_ms"]]
    assert 900 < inside.sum() < 1_300
    pd.testing.assert_frame_equal(broken[~inside], year[~inside])
    others = [name for name in FEATURES if name != BROKEN_FEATURE]
    pd.testing.assert_frame_equal(broken[others], year[others])
    assert broken.loc[inside, "temp"].max() < 15
    assert year.loc[inside, "temp"].min() > 20
