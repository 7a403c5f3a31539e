"""Features that the reference does not know."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.checks.schema import (
    LEARN_EVENTS,
    SPAN_EVENTS,
    SchemaRule,
    SchemaRuleState,
    SchemaState,
)
from stream_monitor.contracts import DriftAlert
from stream_monitor.core.version import VersionMonitor
from stream_monitor.ingest.batch import Floats
from stream_monitor.ingest.table import Row, Table
from stream_monitor.state_parts import as_type, decode_part, encode_part
from tests.unit.test_feature_correlation import batch_of, profile, version_of

N: Final = 1_000
START: Final = 600
KNOWN: Final = [{"a": 1.0}] * LEARN_EVENTS


def numbers(seed: int, n: int = N) -> Floats:
    return np.random.default_rng(seed).standard_normal(n)


def only_from(start: int, values: Floats, end: int = N) -> Floats:
    """The values of a feature that some events do not have."""
    where = np.arange(len(values))
    return np.where((where >= start) & (where < end), values, np.nan)


def watched() -> VersionMonitor:
    return version_of(profile({"temp": numbers(0, 5_000)}))


def schema_alerts(version: VersionMonitor, **columns: Floats) -> list[DriftAlert]:
    found = version.observe(batch_of({"temp": numbers(1), **columns}))[1]
    return [alert for alert in found if alert.series == "schema"]


def test_a_new_feature_is_reported_once_by_name() -> None:
    version = watched()

    (alert,) = schema_alerts(version, wind=only_from(START, numbers(2)))

    assert (alert.kind, alert.cause, alert.phase) == ("quality", "schema", "started")
    assert alert.explanation == (
        "New feature `wind` since 1 Jan 1970 00:09 UTC, in at least half of the events of version "
        "1. The reference does not have it. Build the profile from data with it, or resolve this "
        "episode to accept it."
    )
    # At most half a span goes to a span it does not fill; then 32 of them decide.
    assert START + 31 <= alert.decided_offset < START + SPAN_EVENTS
    assert abs(alert.onset_offset - START) < SPAN_EVENTS
    assert version.levels()["schema"] == 2
    assert msgspec.json.decode(msgspec.json.encode(alert), type=DriftAlert) == alert


def test_a_feature_sent_from_the_start_of_a_version_is_known() -> None:
    assert schema_alerts(watched(), wind=numbers(2)) == []


def test_a_name_in_few_events_is_no_new_feature() -> None:
    wind = only_from(START, numbers(2))
    assert schema_alerts(watched(), wind=np.where(np.arange(N) % 3 == 0, wind, np.nan)) == []


def test_a_feature_that_is_gone_again_is_over() -> None:
    version = watched()

    first, last = schema_alerts(version, wind=only_from(300, numbers(2), 500))

    assert (first.phase, last.phase) == ("started", "recovered")
    assert first.episode_id == last.episode_id
    assert last.explanation == "Feature `wind` is no longer sent."
    assert 500 + 4 * SPAN_EVENTS <= last.decided_offset + 1 < 500 + 5 * SPAN_EVENTS
    assert version.levels()["schema"] == 0


def test_one_of_two_new_features_that_is_gone_is_not_listed_as_new() -> None:
    first, then, last = schema_alerts(
        watched(), wind=only_from(200, numbers(2), 400), rain=only_from(200, numbers(3), 700)
    )

    assert "New features `rain`, `wind` since" in first.explanation
    assert (then.phase, last.phase) == ("ongoing", "recovered")
    assert "New feature `rain` since 1 Jan 1970 00:03 UTC" in then.explanation
    assert last.explanation == "Feature `rain` is no longer sent."


def test_a_straggler_that_still_sends_it_keeps_nothing_open() -> None:
    wind = only_from(300, numbers(2), 500)
    wind[500::40] = 1.0

    assert [a.phase for a in schema_alerts(watched(), wind=wind)] == ["started", "recovered"]


def test_an_intermittent_feature_is_one_alert() -> None:
    bursts = np.where(np.arange(N) % 300 < 100, numbers(2), np.nan)
    assert len(schema_alerts(watched(), wind=np.where(np.arange(N) < 200, np.nan, bursts))) == 1


def test_made_up_names_do_not_hide_an_unknown_feature() -> None:
    watch = SchemaRule({"a"})
    watch.observe(Table(KNOWN))
    (started,) = watch.observe(Table([{"fare": 1.0}] * SPAN_EVENTS))

    made_up: list[Row] = [{f"{i}-{k}": 1.0 for k in range(20)} for i in range(40)]
    spans = [*made_up, *[{"fare": 1.0}] * 24] * 10

    assert started.names == ("fare",)
    assert watch.observe(Table(spans)) == []


def test_a_new_feature_of_an_ended_version_is_new_again_when_the_version_returns() -> None:
    version = watched()
    schema_alerts(version, wind=only_from(START, numbers(2)))
    version.supersede(N, N * 1000)

    (again,) = schema_alerts(version, wind=numbers(4))

    assert again.phase == "started"


def test_features_that_appear_together_are_reported_together() -> None:
    names = [f"new-{i}" for i in range(8)]

    (alert,) = schema_alerts(watched(), **{name: only_from(START, numbers(2)) for name in names})

    assert (
        "New features `new-0`, `new-1`, `new-2`, `new-3`, `new-4` and 3 more since"
        in alert.explanation
    )
    assert alert.explanation.endswith("or resolve this episode to accept them.")


def test_a_later_feature_raises_the_severity() -> None:
    first, then = schema_alerts(
        watched(), wind=only_from(START, numbers(2)), rain=only_from(800, numbers(3))
    )

    assert (first.phase, then.phase) == ("started", "ongoing")
    assert "New features `rain`, `wind` since 1 Jan 1970 00:09 UTC" in then.explanation


def test_a_resolved_new_feature_is_known() -> None:
    version = watched()
    (alert,) = schema_alerts(version, wind=only_from(START, numbers(2)))

    (resolved,) = version.resolve(alert, N, N * 1000)

    assert (resolved.phase, resolved.episode_id) == ("resolved", alert.episode_id)
    assert schema_alerts(version, wind=numbers(4)) == []
    assert version.resolve(alert, N, N * 1000) == []


def test_another_version_ends_it() -> None:
    version = watched()
    schema_alerts(version, wind=only_from(START, numbers(2)))

    (ended,) = version.supersede(N, N * 1000)

    assert (ended.series, ended.phase) == ("schema", "superseded")
    assert version.levels()["schema"] == 0


def rows_of(plan: Sequence[tuple[int, list[str]]]) -> list[Row]:
    """So many rows with these unknown names, and so on."""
    return [{"a": 1.0, **dict.fromkeys(names, 1.0)} for n, names in plan for _ in range(n)]


PLANS = st.lists(
    st.tuples(st.integers(1, 90), st.lists(st.sampled_from("uvwxyz"), max_size=4, unique=True)),
    max_size=12,
)


@given(PLANS, st.lists(st.integers(0, 1_100), max_size=8))
def test_the_rule_does_not_depend_on_batch_boundaries(
    plan: list[tuple[int, list[str]]], cuts: list[int]
) -> None:
    rows = [*KNOWN, *rows_of(plan)]
    whole = SchemaRule({"a"})
    expected = whole.observe(Table(rows))

    found = []
    watch = SchemaRule({"a"})
    edges = sorted({0, *(cut for cut in cuts if cut < len(rows)), len(rows)})
    for start, end in pairwise(edges):
        watch = SchemaRule({"a"}, decode_part(encode_part(watch.state), SchemaRuleState))
        found += [
            change._replace(position=change.position + start)
            for change in watch.observe(Table(rows[start:end]))
        ]

    assert found == expected
    assert encode_part(watch.state) == encode_part(whole.state)


@given(PLANS)
def test_an_episode_begins_before_it_grows_or_ends(plan: list[tuple[int, list[str]]]) -> None:
    watch = SchemaRule({"a"})
    changes = watch.observe(Table([*KNOWN, *rows_of(plan)]))

    is_open = False
    for change in changes:
        assert is_open == (change.phase != "started")
        assert 0 <= change.back <= change.position
        is_open = change.phase != "recovered"
    assert is_open == bool(watch.new)


def test_made_up_names_are_no_schema_and_use_no_memory() -> None:
    watch = SchemaRule({"a"})
    sizes = []
    for start in range(0, 4_000, 500):
        rows = [{f"{i}-{k}": 1.0 for k in range(20)} for i in range(start, start + 500)]
        assert watch.observe(Table(rows)) == []
        sizes.append(len(encode_part(watch.state)))
    assert max(sizes[1:]) == min(sizes[1:])


def test_made_up_names_that_come_later_are_counted_within_a_bound() -> None:
    watch = SchemaRule({"a"})
    watch.observe(Table(KNOWN))
    rows = [{f"{i}-{k}": 1.0 for k in range(200)} for i in range(SPAN_EVENTS - 1)]

    assert watch.observe(Table(rows)) == []
    assert len(watch.state.counts) == 128


@pytest.mark.parametrize(
    "broken",
    [
        [-1, [], {}, [], {}],
        [200, [], {"x": [65, 0]}, [], {}],
        [200, [], {}, [], {"x": 1}],
        [200, [], {}, ["x"], {"x": 4}],
    ],
)
def test_impossible_state_is_rejected(broken: list[object]) -> None:
    with pytest.raises(ValueError, match="impossible"):
        as_type(broken, SchemaRuleState)


def test_an_episode_without_a_new_feature_is_rejected() -> None:
    version = watched()
    schema_alerts(version, wind=only_from(START, numbers(2)))
    check = version.checks["schema"]
    state = as_type(check.snapshot(), SchemaState)
    with pytest.raises(ValueError, match="do not match"):
        watched().checks["schema"].restore(SchemaState(SchemaRuleState(), state.episode))
    again = watched().checks["schema"]
    again.restore(state)
    assert again.snapshot() == check.snapshot()
