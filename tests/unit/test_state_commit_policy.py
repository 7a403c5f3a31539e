from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stream_monitor.runtime.committer import MAX_DELAY_S, commit_delay_s, is_commit_due
from stream_monitor.settings import CommitSettings

SETTINGS = CommitSettings()
SECONDS = st.floats(0, 1e6)


@given(SECONDS, SECONDS, st.booleans())
def test_nothing_uncommitted_is_never_committed(now: float, took: float, urgent: bool) -> None:  # noqa: FBT001
    assert not is_commit_due(
        SETTINGS, uncommitted_since_s=None, now_s=now, last_commits_s=took, urgent=urgent
    )


@given(SECONDS, SECONDS)
def test_an_episode_that_changed_is_committed_at_once(now: float, took: float) -> None:
    assert is_commit_due(
        SETTINGS, uncommitted_since_s=now, now_s=now, last_commits_s=took, urgent=True
    )


def test_a_record_waits_a_quarter_of_a_second() -> None:
    waits = {"uncommitted_since_s": 10.0, "last_commits_s": 0.0, "urgent": False}
    assert not is_commit_due(SETTINGS, now_s=10.2, **waits)  # type: ignore[arg-type]
    assert is_commit_due(SETTINGS, now_s=10.25, **waits)  # type: ignore[arg-type]


@given(st.floats(0, MAX_DELAY_S / SETTINGS.min_interval_factor))
def test_committing_takes_a_tenth_of_the_time_at_most(took: float) -> None:
    assert took <= commit_delay_s(SETTINGS, took) / 10 + 1e-9


@given(SECONDS)
def test_one_commit_that_took_long_does_not_put_the_next_off_for_long(took: float) -> None:
    assert commit_delay_s(SETTINGS, took) <= MAX_DELAY_S
