"""Commands change open episodes, and alerts suppressed by a snooze are counted."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.open_episodes import LogPosition, OpenEpisodes, UnknownEpisode
from tests.builders import alert, command

AT_20 = LogPosition(offset=20, clock_ms=2_000, event_time_ms=20)


def process(register: OpenEpisodes, *alerts: DriftAlert, until: int = 100) -> list[DriftAlert]:
    """Process alerts in a partition with a record at every offset to ``until``, 100 ms apart."""
    offsets = np.arange(until + 1, dtype=np.int64)
    return register.process(alerts, offsets, offsets * 100)


def open_register() -> OpenEpisodes:
    register = OpenEpisodes()
    process(register, alert(), until=19)
    return register


def test_an_acknowledged_episode_has_the_user_and_the_time() -> None:
    register = open_register()
    answer = register.acknowledge(command("acknowledge", time_ms=60_000), AT_20)
    later = process(register, alert(phase="ongoing", alert_id="b", decided_offset=30))

    assert [(a.phase, a.actor) for a in answer] == [("acknowledged", "ann")]
    assert (later[0].acknowledged_by, later[0].acknowledged_ms) == ("ann", 60_000)
    assert later[0].explanation == "temp: moved. Acknowledged by ann at 1 Jan 1970 00:01 UTC."


def test_an_acknowledged_or_snoozed_episode_still_shows_its_drift() -> None:
    register = open_register()
    known = register.acknowledge(command("acknowledge", reason="a new sensor"), AT_20)
    snoozed = register.snooze(command("snooze", until_ms=60_000), AT_20)
    again = register.acknowledge(command("acknowledge", actor="bob"), AT_20)

    assert known[0].explanation == "temp: moved. Acknowledged by ann: a new sensor."
    assert snoozed[0].explanation == "temp: moved. Snoozed by ann until 1 Jan 1970 00:01 UTC."
    assert again[0].explanation == "temp: moved. Acknowledged by bob."
    assert (again[0].acknowledged_by, again[0].severity) == ("bob", "medium")


def test_the_progress_of_recovery_is_shown_with_the_drift() -> None:
    register = open_register()
    over = alert(phase="ongoing", severity="low", explanation="temp: clear", decided_offset=30)
    (reported,) = process(
        register, msgspec.structs.replace(over, recovery_events=310, recovery_events_needed=600)
    )
    answer = register.acknowledge(command("acknowledge"), AT_20)
    (worse,) = process(
        register, alert(phase="ongoing", explanation="temp: worse", decided_offset=40)
    )

    assert (
        reported.explanation
        == "temp: moved. Recovering: 310 of about 600 events are like the reference."
    )
    assert reported.severity == "medium"
    assert answer[0].explanation == (
        "temp: moved. Recovering: 310 of about 600 events are like the reference. "
        "Acknowledged by ann."
    )
    assert worse.explanation.startswith("temp: worse. Acknowledged by ann at")


def test_a_snooze_suppresses_and_counts_and_ends_with_a_report() -> None:
    register = open_register()
    register.snooze(command("snooze", until_ms=5_000), AT_20)
    worse = alert(phase="ongoing", severity="high", decided_offset=30)
    reported = process(register, worse)

    assert register.suppressed == 1
    assert [(a.phase, a.severity, a.decided_offset) for a in reported] == [("ongoing", "high", 50)]
    assert reported[0].suppressed == 1


def test_a_snooze_covers_the_next_episode_of_its_series_and_no_other() -> None:
    register = open_register()
    register.snooze(command("snooze", until_ms=50_000), AT_20)
    reported = process(
        register,
        alert(episode_id="e2", decided_offset=30),
        alert(episode_id="e3", series="feature/hour", decided_offset=31),
    )

    assert [a.episode_id for a in reported] == ["e3"]


def test_the_end_of_a_reported_episode_is_reported_despite_a_snooze() -> None:
    register = open_register()
    register.snooze(command("snooze", until_ms=50_000), AT_20)
    reported = process(register, alert(phase="recovered", decided_offset=30))

    assert [a.phase for a in reported] == ["recovered"]
    assert register.by_id == {}


def test_an_episode_within_a_snooze_is_only_counted() -> None:
    register = open_register()
    register.snooze(command("snooze", until_ms=50_000), AT_20)
    unheard = [alert(episode_id="e2", phase=p, decided_offset=30) for p in ("started", "recovered")]

    assert process(register, *unheard) == []
    assert register.suppressed == 2


def test_a_snooze_that_ends_in_the_past_ends_a_snooze() -> None:
    register = open_register()
    register.snooze(command("snooze", until_ms=50_000), AT_20)
    answer = register.snooze(command("snooze", until_ms=0), AT_20)
    reported = process(register, alert(phase="ongoing", decided_offset=30))

    assert answer[0].explanation == "temp: moved. Snooze ended by ann."
    assert [a.phase for a in reported] == ["ongoing"]


def test_a_resolved_episode_names_who_ended_it_and_why() -> None:
    register = open_register()
    ended = alert(phase="resolved", explanation="temp: resolved", decided_offset=20)
    reported = register.resolve([ended], command("resolve", reason="sensor replaced"))

    assert reported[0].explanation == "temp: resolved by ann: sensor replaced."
    assert register.by_id == {}


def test_a_command_to_an_episode_that_is_not_open_has_a_fix() -> None:
    with pytest.raises(UnknownEpisode, match="driftline alerts list"):
        open_register().acknowledge(command("acknowledge", episode="unknown"), AT_20)


def test_a_snooze_without_an_end_is_rejected_and_changes_nothing() -> None:
    register = open_register()
    register.take_changes()
    with pytest.raises(ValueError, match="until_ms"):
        register.snooze(command("snooze"), AT_20)

    assert register.take_changes() is None
