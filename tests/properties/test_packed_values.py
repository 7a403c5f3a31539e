"""Numbers and profiles that are stored in few bytes come back as they were, bit by bit."""

from __future__ import annotations

import contextlib
from typing import Final

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.packed_values import low_size, pack_values, unpack_values
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data
from stream_monitor.reference.stored_profile import (
    PROFILE,
    PackedProfile,
    pack_profile,
    read_profile,
    unpack_profile,
)
from stream_monitor.state_parts import StoredParts, encode_part
from stream_monitor.statistics.fixed_point import Floats

DECIMALS: Final = st.integers(0, 9).flatmap(
    lambda digits: st.integers(-(10**12), 10**12).map(lambda whole: whole / 10.0**digits)
)
FLOAT32: Final = st.floats(width=32, allow_nan=False)
ANY: Final = st.floats(allow_nan=False)
ZEROS: Final = st.sampled_from((0.0, -0.0, 0.5))


def ascending(values: list[float]) -> bytes:
    return np.sort(np.array(values, dtype="<f8")).tobytes()


def packed_and_back(values: bytes) -> bytes:
    packed = pack_values(values)
    assert low_size(packed.high) == len(packed.low)
    return unpack_values(packed.high, packed.low)


@given(
    st.sampled_from((DECIMALS, FLOAT32, ANY, ZEROS)).flatmap(lambda one: st.lists(one, max_size=40))
)
def test_ascending_numbers_come_back(values: list[float]) -> None:
    assert packed_and_back(ascending(values)) == ascending(values)


@given(arrays(np.float64, st.integers(0, 40), elements=st.floats()))
def test_numbers_in_any_order_come_back(values: Floats) -> None:
    assert packed_and_back(values.tobytes()) == values.tobytes()


@given(st.binary(max_size=40))
def test_bytes_that_are_no_numbers_come_back(values: bytes) -> None:
    assert packed_and_back(values) == values


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_other_bytes_are_rejected_or_numbers(high: bytes, low: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(unpack_values(high, low), bytes)


@pytest.mark.parametrize(("decimals", "at_most"), [(1, 500), (6, 2_600), (None, 6_400)])
def test_numbers_take_as_many_bytes_as_they_have_digits(decimals: int | None, at_most: int) -> None:
    values = np.random.default_rng(1).normal(50, 20, 1_000)
    values = np.sort(values if decimals is None else values.round(decimals))
    profile = profile_of(values)

    stored = pack_profile(profile)

    without = msgspec.structs.replace(profile.features["x"], order_statistics=b"")
    rest = pack_profile(msgspec.structs.replace(profile, features={"x": without}))
    assert sum(map(len, stored)) - sum(map(len, rest)) < at_most


def profile_of(values: Floats) -> ReferenceProfile:
    return fit_profile("m", "1", {"x": values}, task="binary", origin="training")


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    rng = np.random.default_rng(2)
    return fit_profile(
        "m",
        "1",
        {
            "real": rng.standard_normal(2_000),
            "tenths": (20 * rng.standard_normal(2_000)).round(1),
            "few": rng.integers(-3, 4, 2_000).astype(float),
            "zeros": np.where(rng.random(2_000) < 0.7, 0.0, rng.exponential(size=2_000)),
            "word": rng.choice(["a", "b", "c"], 2_000),
        },
        predictions=rng.random(2_000).tolist(),
        losses=(rng.random(2_000) < 0.1).astype(float),
        task="binary",
        origin="training",
    )


def test_a_stored_profile_is_the_one_that_was_announced(profile: ReferenceProfile) -> None:
    parts = StoredParts({PROFILE: encode_part(pack_profile(profile))})

    assert profile_to_data(read_profile(parts)) == profile_to_data(profile)


def test_a_profile_that_was_stored_as_it_is_can_be_read(profile: ReferenceProfile) -> None:
    parts = StoredParts({PROFILE: encode_part(profile)})

    assert profile_to_data(read_profile(parts)) == profile_to_data(profile)


@given(st.data())
def test_a_damaged_profile_is_rejected(profile: ReferenceProfile, data: st.DataObject) -> None:
    deflated, low = pack_profile(profile)
    part = st.floats(0, 1, exclude_max=True)
    damaged = data.draw(
        st.one_of(
            part.map(lambda x: PackedProfile(deflated[: int(x * len(deflated))], low)),
            part.map(lambda x: PackedProfile(deflated, low[: int(x * len(low))])),
            st.binary(min_size=1).map(lambda more: PackedProfile(deflated + more, low)),
            st.binary(min_size=1).map(lambda more: PackedProfile(deflated, low + more)),
            st.binary().map(lambda other: PackedProfile(other, low)),
        )
    )
    with pytest.raises(ValueError, match=r"packed numbers|a stored profile"):
        unpack_profile(damaged)
