"""Incidents: which episodes belong together, what they may come from, and that order is nothing."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from driftline.topics.incident_digest import digests, lines_of
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.incidents import Incident, IncidentPolicy, incidents_of
from tests.builders import alert

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
START_MS = 1_700_000_000_000


def episode(name: str, began_h: float, **changes: Any) -> DriftAlert:
    """The first alert of an episode that began ``began_h`` hours after the start, an hour later."""
    onset_ms = START_MS + round(began_h * HOUR_MS)
    fields: dict[str, Any] = {
        "alert_id": f"{name}-started-{began_h}",
        "episode_id": f"{name}-{began_h}",
        "series": f"feature/{name}",
        "feature": name,
        "onset_ms": onset_ms,
        "decided_ms": onset_ms + HOUR_MS,
        "decided_offset": round(began_h * 100),
    }
    return alert(**(fields | changes))


def later(first: DriftAlert, phase: str, hours: float, **changes: Any) -> DriftAlert:
    """A later phase of the same episode."""
    fields: dict[str, Any] = {
        "alert_id": f"{first.episode_id}-{phase}",
        "episode_id": first.episode_id,
        "series": first.series,
        "feature": first.feature,
        "phase": phase,
        "kind": first.kind,
        "onset_ms": first.onset_ms,
        "model": first.model,
        "version": first.version,
        "decided_ms": first.decided_ms + round(hours * HOUR_MS),
        "decided_offset": first.decided_offset + round(hours * 100) + 1,
    }
    return alert(**(fields | changes))


def top(incident: Incident) -> str:
    return incident.causes[0].name


def test_episodes_that_began_together_are_one_incident() -> None:
    alerts = [episode("a", 0), episode("b", 20), episode("c", 43), episode("d", 80)]

    first, second = incidents_of(alerts)

    assert [m.name for m in first.members] == ["a", "b", "c"]
    assert [m.name for m in second.members] == ["d"]
    assert first.incident_id != second.incident_id


def test_one_change_found_after_very_different_delays_is_one_incident() -> None:
    slow = episode("b", 1, decided_ms=START_MS + 20 * DAY_MS)

    (incident,) = incidents_of([episode("a", 0), slow])

    assert len(incident.members) == 2


def test_models_have_incidents_of_their_own() -> None:
    assert len(incidents_of([episode("a", 0), episode("b", 0, model="n")])) == 2


def test_an_incident_ends_with_its_last_episode_and_reopens_with_its_series() -> None:
    a, b = episode("a", 0), episode("b", 1)
    over = [later(a, "recovered", 100), later(b, "superseded", 200)]

    (halfway,) = incidents_of([a, b, over[0]])
    (closed,) = incidents_of([a, b, *over])
    (back,) = incidents_of([a, b, *over, episode("b", 210)])

    assert halfway.closed_ms is None
    assert closed.closed_ms == b.decided_ms + 200 * HOUR_MS
    assert back.closed_ms is None
    assert back.incident_id == closed.incident_id
    assert len(incidents_of([a, b, *over, episode("c", 210)])) == 2


def test_broken_data_and_a_population_shift_are_different_causes() -> None:
    broken = [episode("a", 0, kind="quality", severity="high"), episode("b", 0)]
    moved = [episode(name, 0) for name in "abc"] + [
        episode("p", 1, kind="prediction", feature=None, series="prediction")
    ]

    (one,) = incidents_of(broken)
    (other,) = incidents_of(moved)

    assert [cause.name for cause in one.causes] == ["data_break", "feature_change"]
    assert one.causes[0].score == 0.6
    assert top(other) == "population_shift"
    assert other.causes[0].score == 1.0
    assert other.causes[0].why == "3 features moved, and so did the predictions: a, b, c and 1 more"


def correlation_alert(first: str, second: str, began_h: float, **changes: Any) -> DriftAlert:
    """An episode of how two features depend on each other."""
    series = f"relation/{first}~{second}"
    return episode(f"{first}~{second}", began_h, series=series, feature=None, **changes)


def test_one_feature_that_moves_with_all_that_follows_from_it_is_no_shift_of_the_population() -> (
    None
):
    moved = [
        correlation_alert("a", "b", 0),
        correlation_alert("a", "c", 0),
        episode("a", 0),
        episode("a of x", 0, series="segment/s=x/feature/a", feature="a", segment="s=x"),
        episode("p", 1, kind="prediction", feature=None, series="prediction"),
    ]

    (one,) = incidents_of(moved)

    assert [cause.name for cause in one.causes] == ["feature_change"]
    assert one.explanation.startswith("a, a of s=x moved, and so did the predictions. Began ")


def test_two_features_that_only_stopped_following_each_other_are_no_shift_of_the_population() -> (
    None
):
    (broken,) = incidents_of([correlation_alert("a", "b", 0)])
    (both,) = incidents_of([correlation_alert("a", "b", 0), episode("a", 0), episode("b", 0)])
    (apart,) = incidents_of([correlation_alert("a", "c", 0), episode("a", 0), episode("b", 0)])
    (with_quality,) = incidents_of(
        [correlation_alert("a", "b", 0), episode("a", 0, kind="quality")]
    )

    assert [top(one) for one in (broken, both, apart)] == [
        "relation_change",
        "feature_change",
        "population_shift",
    ]
    assert broken.causes[0].why == "the correlation of a and b changed"
    assert apart.causes[0].why == "2 features moved: a, b"
    assert top(with_quality) == "data_break"


def test_a_prediction_that_moves_alone_is_a_prediction_change() -> None:
    (one,) = incidents_of([episode("p", 0, kind="prediction", feature=None, series="prediction")])

    assert top(one) == "prediction_change"


def test_an_incident_after_a_deployment_is_attributed_to_it() -> None:
    deploys = {"m": {"1": START_MS - HOUR_MS}}

    (soon,) = incidents_of([episode("a", 0)], deploys=deploys)
    (late,) = incidents_of([episode("a", 200)], deploys=deploys)

    assert top(soon) == "new_deploy"
    assert all(cause.name != "new_deploy" for cause in late.causes)


def test_the_same_hour_of_other_days_is_a_season() -> None:
    alerts: list[DriftAlert] = []
    for day in (0, 3, 7):
        began = episode("a", 24 * day)
        alerts += [began, later(began, "recovered", 4)]

    *_, last = incidents_of(alerts)

    assert top(last) == "season"
    assert last.causes[0].why == "a drifted 2 times before at this hour of the day"


def test_contradicting_labels_are_concept_drift() -> None:
    (incident,) = incidents_of([episode("loss", 0, kind="concept", series="loss", feature=None)])

    assert [(cause.name, cause.score) for cause in incident.causes] == [("concept_change", 1.0)]


def test_events_that_do_not_come_are_a_change_of_the_traffic() -> None:
    explanation = "no events for 42 min; usually one every 3 s at this hour"
    [incident] = incidents_of(
        [
            alert(
                kind="volume",
                series="events",
                feature=None,
                channel="silence",
                explanation=explanation,
            )
        ]
    )

    assert [(c.name, c.why) for c in incident.causes] == [("traffic_change", explanation)]


def test_people_are_remembered_and_the_worst_counts() -> None:
    a, b = episode("a", 0, severity="low"), episode("b", 0, severity="low")
    worse = later(a, "ongoing", 5, severity="high")
    known = [later(one, "acknowledged", 6, actor="ana") for one in (a, b)]

    (half,) = incidents_of([a, b, worse, known[0]])
    (incident,) = incidents_of([a, b, worse, *known])

    assert not half.acknowledged
    assert incident.acknowledged
    assert incident.severity == "high"


def test_a_digest_counts_what_was_open_in_its_span() -> None:
    old, new = episode("a", 0), episode("b", 1_000, kind="quality")
    alerts = [old, later(old, "recovered", 10), new]

    (day,) = digests(incidents_of(alerts), DAY_MS)
    (all_of_it,) = digests(incidents_of(alerts), 10_000 * HOUR_MS)

    assert (day.opened, day.closed, day.still_open) == (1, 0, 1)
    assert day.episodes_by_kind == {"quality": 1}
    assert (all_of_it.opened, all_of_it.closed, all_of_it.still_open) == (2, 1, 1)
    assert "1 opened, 0 resolved, 1 open (0 acknowledged)" in "\n".join(lines_of(day))


@st.composite
def stories(draw: st.DrawFn) -> list[DriftAlert]:
    alerts: list[DriftAlert] = []
    for number in range(draw(st.integers(1, 8))):
        name = draw(st.sampled_from("abc"))
        kind = draw(st.sampled_from(["data", "quality", "concept"]))
        hours = draw(st.integers(0, 300)) + number / 1000
        began = episode(name, hours, kind=kind, model=draw(st.sampled_from("mn")))
        alerts.append(began)
        if draw(st.booleans()):
            alerts.append(later(began, "recovered", draw(st.integers(1, 100))))
    return alerts


@given(stories(), st.randoms(use_true_random=False))
def test_order_and_repeats_change_nothing(alerts: list[DriftAlert], chance: Any) -> None:
    shuffled = alerts + chance.sample(alerts, len(alerts) // 2)
    chance.shuffle(shuffled)

    assert incidents_of(shuffled) == incidents_of(alerts)


@given(stories(), st.integers(0, 100))
def test_every_episode_is_in_one_incident_and_wider_windows_make_fewer(
    alerts: list[DriftAlert], window_h: int
) -> None:
    policy = IncidentPolicy(window_ms=window_h * HOUR_MS, cooldown_ms=0)
    incidents = incidents_of(alerts, policy)

    inside = sorted(m.episode_id for incident in incidents for m in incident.members)
    assert inside == sorted({a.episode_id for a in alerts})
    for incident in incidents:
        ends = [member.ended_ms for member in incident.members]
        assert (incident.closed_ms is None) == (None in ends)
        assert all(0 < cause.score <= 1 for cause in incident.causes)
        scores = [cause.score for cause in incident.causes]
        assert scores == sorted(scores, reverse=True)
    everything = IncidentPolicy(window_ms=10_000 * HOUR_MS, max_span_ms=10_000 * HOUR_MS)
    assert len(incidents_of(alerts, everything)) == len({a.model for a in alerts})


@given(stories(), st.integers(1, 4))
def test_an_incident_needs_the_minimum_number_of_series(
    alerts: list[DriftAlert], least: int
) -> None:
    asked = {i.incident_id for i in incidents_of(alerts, IncidentPolicy(min_series=least))}

    for incident in incidents_of(alerts):
        bad = any(member.broken or member.severity == "high" for member in incident.members)
        enough = len({member.series for member in incident.members}) >= least
        assert (incident.incident_id in asked) == (bad or enough)


@given(stories(), st.integers(1, 200))
def test_no_incident_spans_more_than_the_longest_span(
    alerts: list[DriftAlert], span_h: int
) -> None:
    for incident in incidents_of(alerts, IncidentPolicy(max_span_ms=span_h * HOUR_MS)):
        onsets = [member.onset_ms for member in incident.members]
        assert max(onsets) - min(onsets) <= span_h * HOUR_MS


def test_a_series_that_drifts_every_day_is_an_incident_every_other_week() -> None:
    alerts = []
    for day in range(40):
        began = episode("temp", 24 * day, episode_id=f"e{day}")
        alerts += [began, later(began, "recovered", 24 * day + 6)]

    assert [len(incident.members) for incident in incidents_of(alerts)] == [15, 15, 10]
