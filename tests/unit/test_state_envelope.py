from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.state.codec import decode_state, encode_state
from stream_monitor.state_parts import CorruptState

PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(PLAIN)
def test_encoded_state_decodes_to_the_same(data: Any) -> None:
    assert decode_state("kind", encode_state("kind", data)) == data


@given(PLAIN, st.data())
def test_one_changed_byte_anywhere_is_found(data: Any, draw: st.DataObject) -> None:
    blob = bytearray(encode_state("kind", data))
    place = draw.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= draw.draw(st.integers(1, 255))
    with pytest.raises(CorruptState):
        decode_state("kind", bytes(blob))


@given(PLAIN, st.data())
def test_a_cut_envelope_is_found(data: Any, draw: st.DataObject) -> None:
    blob = encode_state("kind", data)
    with pytest.raises(CorruptState):
        decode_state("kind", blob[: draw.draw(st.integers(0, len(blob) - 1))])


@given(st.binary())
def test_any_other_bytes_are_corrupt_and_nothing_worse(blob: bytes) -> None:
    with pytest.raises(CorruptState):
        decode_state("kind", blob)


def test_an_envelope_of_another_kind_is_rejected() -> None:
    with pytest.raises(CorruptState, match="the envelope holds b'other'"):
        decode_state("kind", encode_state("other", 1))


def test_the_layout_of_version_3_never_changes() -> None:
    assert encode_state("kind", {"a": [1, 2.5]}).hex() == (
        "444c03046b696e6481a1619201cb400400000000000088d3f326"
    )


def test_state_of_an_earlier_version_names_the_command_that_rebuilds_it() -> None:
    earlier = bytes.fromhex("444c02046b696e6481a1619201cb4004000000000000edb4c860")
    with pytest.raises(CorruptState, match=r"version 2.*driftline monitor"):
        decode_state("kind", earlier)


def test_an_integer_beyond_64_bits_is_rejected() -> None:
    with pytest.raises(ValueError, match="store larger integers as text"):
        encode_state("kind", 2**64)


@pytest.mark.parametrize("kind", ["", "x" * 65, "é"])
def test_a_kind_is_short_ascii(kind: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - two messages, one type
        encode_state(kind, 1)
