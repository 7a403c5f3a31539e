"""The law of names: what is different stays different, wherever a name becomes part of a key."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from producer.names import (
    MAX_NAME_BYTES,
    InvalidName,
    VersionKey,
    escape,
    file_name,
    invalid_name_reason,
    parse_version_key,
    require_name,
    unescape,
    version_key,
)
from producer.routing import key_of, keys_of, model_of_key
from producer.synthetic import is_synthetic, is_synthetic_copy_of, synthetic_name
from stream_monitor.checks.correlation import correlation_key
from stream_monitor.checks.feature import feature_key
from stream_monitor.checks.segment import segment_key
from stream_monitor.ingest.columns import version_salt
from stream_monitor.reference.correlation_reference import correlation_name
from stream_monitor.reference.segment_reference import parse_segment, segment_name
from stream_monitor.windows.closed_window import window_key
from tests.properties.name_strategies import NAMES
from trainer.contracts import ModelVersion
from trainer.policy.naming import next_version

OF_TODAY = st.text(string.ascii_letters + string.digits + "_.:-", min_size=1, max_size=128)
SAFE = re.compile(r"[A-Za-z0-9_.:%-]+")
VALUES = NAMES | st.text(max_size=6)


@given(NAMES)
def test_every_name_is_allowed_and_reads_back_from_its_escape(name: str) -> None:
    assert invalid_name_reason(name) is None
    assert unescape(escape(name)) == name
    assert SAFE.fullmatch(escape(name))
    assert model_of_key(key_of(name, "id", 7).encode()) == name


@given(OF_TODAY, OF_TODAY)
def test_names_that_were_allowed_before_stay_as_they_are(model: str, version: str) -> None:
    assert escape(model) == model
    assert version_key(model, version) == f"{model}@{version}"
    assert keys_of(model, 2) == [f"{model}/0", f"{model}/1"]
    assert correlation_key(correlation_name(model, version)) == f"relation/{model}~{version}"
    segment = segment_key(segment_name(model, "50% N/A"), version)
    assert segment == f"segment/{model}=50% N/A/feature/{version}"


@pytest.mark.parametrize(
    "text", ["", "a\nb", "\x00", "a\x7f", "\x85", "\ud800", "x" * 257, "é" * 129, None, 3]
)
def test_an_invalid_name_is_an_error_with_its_reason(text: object) -> None:
    with pytest.raises(InvalidName, match=r"^model: .* is not a valid name: it ") as raised:
        require_name("model", text)
    str(raised.value).encode("ascii")


@given(st.lists(st.tuples(NAMES, NAMES), min_size=2, max_size=2, unique=True))
def test_no_two_model_versions_share_a_key(pairs: list[tuple[str, str]]) -> None:
    one, other = pairs
    assert version_key(*one) != version_key(*other)
    assert parse_version_key(version_key(*one)) == VersionKey(*one)
    assert window_key("p", *one, 0) != window_key("p", *other, 0)
    assert version_salt(*one) != version_salt(*other)
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
def test_an_escaped_name_is_a_valid_file_name_on_every_system(name: str) -> None:
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
            return correlation_key(correlation_name(first, second))
        case ("in segment", attribute, value, name):
            return segment_key(segment_name(attribute, value), name)
        case (_, attribute, value):
            return segment_key(segment_name(attribute, value), None)
    raise AssertionError(what)


@given(st.lists(SERIES, min_size=2, max_size=2, unique=True))
def test_series_names_of_a_version_are_unique(pair: list[tuple[str, ...]]) -> None:
    one, other = map(_series, pair)
    assert one != other


@given(NAMES, VALUES)
def test_a_declared_segment_is_found_whatever_its_name_holds(attribute: str, value: str) -> None:
    assert parse_segment(attribute, [attribute]) == (attribute, None)
    assert parse_segment(f"{attribute}={value}", [attribute]) == (attribute, value)


@given(NAMES, NAMES)
def test_a_shadow_is_that_of_one_model(model: str, other: str) -> None:
    assume(model != other)
    shadow = synthetic_name(model, "0123456789ab")
    assert is_synthetic(shadow)
    assert is_synthetic_copy_of(shadow, model)
    assert not is_synthetic_copy_of(shadow, other)


@given(NAMES)
def test_the_next_version_of_any_version_has_a_name(version: str) -> None:
    following = next_version(version, [version])
    assert invalid_name_reason(following) is None
    assert following != version
    assert len(following.encode()) <= MAX_NAME_BYTES
