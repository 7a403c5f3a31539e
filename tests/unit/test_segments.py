"""A segment reports drift of its own, and none that all traffic reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from producer.events import Value
from stream_monitor.checks.segment import rows_of
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.alert_budget import TRAFFIC_DETECTORS
from stream_monitor.core.version import VersionMonitor
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.ingest.columns import to_batch
from stream_monitor.reference.frame import profile_from_frame
from stream_monitor.reference.profile import ReferenceProfile, profile_from_data, profile_to_data
from stream_monitor.reference.segment_fit import MAX_SEGMENT_SERIES, MAX_SEGMENTS
from tests.builders import inference_event, table_of

SHARES = {"EWR": 0.5, "JFK": 0.4, "LGA": 0.1}


def frame(seed: int, n: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    origin = rng.choice(list(SHARES), n, p=list(SHARES.values()))
    temp = rng.normal(50, 10, n) + 5 * (origin == "JFK")
    score = rng.beta(2, 5, n)
    return pd.DataFrame({"origin": origin, "temp": temp, "score": score})


def profile(n: int = 5_000, segments: Sequence[str] = ("origin",)) -> ReferenceProfile:
    return profile_from_frame(
        frame(0, n),
        model="m",
        version="1",
        prediction="score",
        features=["temp"],
        segments=segments,
        task="binary",
    )


def alerts_of(data: pd.DataFrame, reference: ReferenceProfile | None = None) -> list[DriftAlert]:
    version = VersionMonitor("t", 0, reference or profile(), Budget(), EpisodePolicy(), 1000)
    return version.observe(batch_of(data))[1]


def batch_of(data: pd.DataFrame) -> EventBatch:
    n = len(data)
    return EventBatch(
        model="m",
        version="1",
        offsets=np.arange(n),
        times_ms=np.arange(n) * 1000,
        ids=np.arange(n, dtype=np.uint64),
        predictions=data["score"].tolist(),
        features=table_of({"temp": data["temp"].tolist()}),
        segments=table_of({"origin": data["origin"].tolist()}),
    )


def test_drift_of_one_segment_is_reported_with_its_name() -> None:
    data = frame(1, 40_000)
    data.loc[(data["origin"] == "LGA") & (data.index >= 10_000), "temp"] -= 8

    first, *others = sorted(alerts_of(data), key=lambda alert: alert.decided_offset)

    assert (first.segment, first.feature, first.phase) == ("origin=LGA", "temp", "started")
    assert first.series == "segment/origin=LGA/feature/temp"
    assert 10_000 <= first.detected_offset <= 11_500
    assert first.explanation.startswith("`temp`: mean 50")
    # All traffic moves by a tenth as much, and is found later or never.
    assert {alert.segment for alert in others} <= {None}


def test_drift_of_all_segments_is_reported_once() -> None:
    data = frame(2, 30_000)
    data.loc[data.index >= 10_000, "temp"] += 20

    (alert,) = alerts_of(data)

    assert (alert.segment, alert.series, alert.phase) == (None, "feature/temp", "started")


@pytest.mark.parametrize("stays", [0, 4])
def test_drift_that_lasts_in_one_segment_is_reported_after_the_recovery_of_the_whole(
    stays: int,
) -> None:
    """And what ended with the whole is not, though a window still holds some of it."""
    data = frame(4, 80_000)
    data.loc[(data.index >= 10_000) & (data.index < 25_000), "temp"] += 20
    data.loc[(data["origin"] == "LGA") & (data.index >= 25_000), "temp"] += stays

    reported = sorted(alerts_of(data), key=lambda alert: alert.decided_offset)

    phases = [(alert.segment, alert.phase) for alert in reported if alert.phase != "ongoing"]
    whole = [(None, "started"), (None, "recovered")]
    assert phases == [*whole, *([("origin=LGA", "started")] if stays else [])]
    assert {alert.segment for alert in reported if alert.phase == "ongoing"} == {None}


def test_no_change_raises_no_alert() -> None:
    assert alerts_of(frame(3, 60_000)) == []


def test_segments_cost_the_budget_their_share_of_the_events() -> None:
    def arl0(reference: ReferenceProfile) -> float:
        version = VersionMonitor("t", 0, reference, Budget(), EpisodePolicy(), 1000)
        return version.arl0_events

    # Two channels of a location and a spread and one of validity, of feature and prediction: each
    # segment has as many again, for its share, and the shares of all three add up to one.
    without, with_them = profile(segments=()), profile()
    loss = ranges = 1
    channels = sum(
        len(one.channels) for one in (without.features["temp"], without.prediction) if one
    )
    assert arl0(with_them) / arl0(without) == pytest.approx(
        (2 * (2 * channels + loss + ranges) + TRAFFIC_DETECTORS)
        / (2 * (channels + loss + ranges) + TRAFFIC_DETECTORS)
    )


def test_a_segment_is_a_field_of_the_event_or_else_a_feature() -> None:
    parts: list[dict[str, str] | None] = [
        {"origin": "EWR"},
        None,
        {"other": "x"},
        {"origin": "LGA"},
    ]
    features: list[dict[str, Value]] = [{"origin": "LGA"}, {"origin": "EWR"}, {}, {}]
    events = [
        inference_event(str(i), row, time_ms=i, segment=segment)
        for i, (segment, row) in enumerate(zip(parts, features, strict=True))
    ]
    batch = to_batch("m", "1", range(len(events)), events)

    rows = rows_of(profile().segments, batch)
    assert {name: places.tolist() for name, places in rows.items()} == {
        "origin=EWR": [0, 1],
        "origin=JFK": [],
        "origin=LGA": [3],
    }
    assert rows_of(profile().segments, batch[1:])["origin=LGA"].tolist() == [2]


def test_a_profile_has_its_segments_and_what_it_left_out() -> None:
    made = profile(2_500, ["origin", "origin=JFK"])

    assert [(s.name, s.n_events) for s in made.segments] == [
        ("origin=EWR", int((frame(0, 2_500)["origin"] == "EWR").sum())),
        ("origin=JFK", int((frame(0, 2_500)["origin"] == "JFK").sum())),
    ]
    assert made.skipped == {"segment origin": "1 of 3 values have fewer than 300 rows"}
    assert made.segmented_by == ("origin", "origin=JFK")
    assert profile_from_data(profile_to_data(made)) == made


def test_segments_are_bounded() -> None:
    rng = np.random.default_rng(4)
    n = 12_000
    data = pd.DataFrame({f"x{i}": rng.random(n) for i in range(20)})
    data["part"] = [str(i % 12) for i in range(n)]

    few = profile_from_frame(data[["x0", "part"]], model="m", version="1", segments=["part"])
    many = profile_from_frame(data, model="m", version="1", segments=["part"])

    assert len(few.segments) == MAX_SEGMENTS
    assert sum(len(s.references) for s in many.segments) <= MAX_SEGMENT_SERIES
    assert len(many.segments) == 3
    assert "at most 8 segments of 64 series" in many.skipped["segment part=11"]
    assert len(msgspec.json.encode(profile_to_data(many))) < 900_000


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"share": 0.0}, "a share of 0.0"),
        ({"features": {"temp": {"name": "dewp"}}}, "is named 'dewp' inside"),
    ],
)
def test_a_damaged_segment_is_rejected(wrong: dict[str, Any], why: str) -> None:
    data = profile_to_data(profile())
    segment = data["segments"][0]
    for name, value in wrong.items():
        segment[name] = (
            {"temp": segment[name]["temp"] | value["temp"]} if name == "features" else value
        )

    with pytest.raises(ValueError, match=why):
        profile_from_data(data)
    data["segments"] = [profile_to_data(profile())["segments"][0]] * 2
    with pytest.raises(ValueError, match="there twice"):
        profile_from_data(data)
