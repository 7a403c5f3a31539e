"""The law of names: what is different stays different, wherever a name becomes part of a key."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producer.drill import is_shadow, is_shadow_of, shadow_of
from producer.names import (
    MAX_NAME_BYTES,
    BadName,
    Reference,
    escape,
    file_name,
    read_reference,
    reference_of,
    require_name,
    unescape,
    why_no_name,
)
from producer.routing import key_of, keys_of, model_of_key
from stream_monitor.ingest.columns import series_salt
from stream_monitor.reference.relation import relation_name
from stream_monitor.reference.segment import declared_part, segment_name
from stream_monitor.watched.relations import relation_key
from stream_monitor.watched.segments import segment_key
from stream_monitor.watched.series import feature_key
from stream_monitor.windows.closed import window_key
from tests.properties.names import NAMES
from trainer.contracts import ModelVersion
from trainer.decision.naming import next_version

OF_TODAY = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=128)
SAFE = re.compile(r"[A-Za-z0-9_.:%-]+")
VALUES = NAMES | st.text(max_size=6)


@given(NAMES)
def test_every_name_is_allowed_and_reads_back_from_its_escape(name: str) -> None:
    assert why_no_name(name) is None
    assert unescape(escape(name)) == name
    assert SAFE.fullmatch(escape(name))
    assert model_of_key(key_of(name, "id", 7).encode()) == name


@given(OF_TODAY, OF_TODAY)
def test_names_that_were_allowed_before_stay_as_they_are(model: str, version: str) -> None:
    assert escape(model) == model
    assert reference_of(model, version) == f"{model}@{version}"
    assert keys_of(model, 2) == [f"{model}/0", f"{model}/1"]
    assert relation_key(relation_name(model, version)) == f"relation/{model}~{version}"
    segment = segment_key(segment_name(model, "50% N/A"), version)
    assert segment == f"segment/{model}=50% N/A/feature/{version}"


@pytest.mark.parametrize(
    "text",
    ["", "a\nb", "\x00", "a\x7f", "\x85", "\ud800", "x" * 257, "é" * 129, None, 3],
)
def test_what_is_no_name_is_said_to_be_none_and_why(text: object) -> None:
    with pytest.raises(BadName, match=r"^model: .* is no name: it ") as raised:
        require_name("model", text)
    str(raised.value).encode("ascii")


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_no_two_model_versions_share_a_key(pairs: list[tuple[str, str]]) -> None:
    one, other = pairs
    assert reference_of(*one) != reference_of(*other)
    assert read_reference(reference_of(*one)) == Reference(*one)
    assert window_key("p", *one, 0) != window_key("p", *other, 0)
    assert series_salt(*one) != series_salt(*other)
    assert _version_key(*one) != _version_key(*other)
    files = [(file_name(model), file_name(version)) for model, version in pairs]
    assert files[0] != files[1]


def _version_key(model: str, version: str) -> str:
    return ModelVersion(
        model=model, version=version, artifact_sha256="", time_ms=0, caused_by=""
    ).version_key


@given(NAMES, NAMES, NAMES)
def test_no_champion_has_the_key_of_a_version(champion: str, model: str, version: str) -> None:
    assert escape(champion) != _version_key(model, version)


@given(st.lists(st.tuples(NAMES, st.integers(1, 4)), min_size=2, max_size=2))
def test_no_two_models_share_a_routing_key(models: list[tuple[str, int]]) -> None:
    (one, of_one), (other, of_other) = models
    assume(one != other)
    assert not set(keys_of(one, of_one)) & set(keys_of(other, of_other))


@given(NAMES)
def test_a_name_is_a_file_that_no_system_refuses(name: str) -> None:
    file = file_name(name)
    assert len(file) <= 200
    assert "/" not in file
    assert not file.startswith(".")
    file.encode("ascii")


SERIES = st.one_of(
    st.tuples(st.just("feature"), NAMES),
    st.tuples(st.just("relation"), NAMES, NAMES),
    st.tuples(st.just("in segment"), NAMES, VALUES, NAMES | st.just("prediction")),
    st.tuples(st.just("of segment"), NAMES, VALUES),
)


def _series(what: tuple[str, ...]) -> str:
    match what:
        case ("feature", name):
            return feature_key(name)
        case ("relation", first, second):
            return relation_key(relation_name(first, second))
        case ("in segment", attribute, value, name):
            return segment_key(segment_name(attribute, value), name)
        case (_, attribute, value):
            return segment_key(segment_name(attribute, value), None)
    raise AssertionError(what)


@given(st.lists(SERIES, min_size=2, max_size=2, unique=True))
def test_no_two_series_of_a_version_are_called_alike(pair: list[tuple[str, ...]]) -> None:
    one, other = map(_series, pair)
    assert one != other


@given(NAMES, VALUES)
def test_a_declared_segment_is_found_whatever_its_name_holds(attribute: str, value: str) -> None:
    assert declared_part(attribute, [attribute]) == (attribute, None)
    assert declared_part(f"{attribute}={value}", [attribute]) == (attribute, value)


@given(NAMES, NAMES)
def test_a_shadow_is_that_of_one_model(model: str, other: str) -> None:
    assume(model != other)
    shadow = shadow_of(model, "0123456789ab")
    assert is_shadow(shadow)
    assert is_shadow_of(shadow, model)
    assert not is_shadow_of(shadow, other)


@given(NAMES)
def test_the_next_version_of_any_version_has_a_name(version: str) -> None:
    following = next_version(version, [version])
    assert why_no_name(following) is None
    assert following != version
    assert len(following.encode()) <= MAX_NAME_BYTES
