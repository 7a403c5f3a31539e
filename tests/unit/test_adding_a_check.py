"""docs/adding-a-check.md: its check works, as its own test demands."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from stream_monitor.checks import table
from stream_monitor.core import version
from stream_monitor.core.version import VersionMonitor
from stream_monitor.detectors.calibration import Budget
from stream_monitor.episodes.policy import EpisodePolicy
from stream_monitor.ingest.batch import EventBatch
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import ReferenceProfile
from tests.builders import stored, table_of

DOCUMENT = (Path(__file__).parents[2] / "docs" / "adding-a-check.md").read_text("utf-8")
THE_FILE, THE_LINE, THE_TEST = re.findall(r"```(?:python|text)\n(.*?)```", DOCUMENT, re.DOTALL)
NAME = "integer_values_of_the_document"
RNG = np.random.default_rng(5)
VALUES = RNG.normal(20.0, 5.0, 2_000)


def values(i: int) -> float:
    return float(VALUES[i])


def events(column: list[float], start: int, end: int) -> EventBatch:
    """Events ``start`` to before ``end`` of one feature, ``temp``."""
    offsets = np.arange(start, min(end, len(column)))
    return EventBatch(
        model="m",
        version="1",
        offsets=offsets,
        times_ms=offsets * 1_000,
        ids=offsets.astype(np.uint64),
        predictions=[0.5] * len(offsets),
        features=table_of({"temp": column[start:end]}),
        segments=table_of({}, len(offsets)),
    )


@pytest.fixture(scope="module")
def profile() -> ReferenceProfile:
    columns = {"temp": RNG.normal(20.0, 5.0, 5_000)}
    return fit_profile("m", "1", columns, task="regression", origin="training")


@pytest.fixture
def new_monitor(
    profile: ReferenceProfile, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], VersionMonitor]:
    """Monitors with the check of the document in the table."""
    module = ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    exec(compile(THE_FILE, "docs/adding-a-check.md", "exec"), module.__dict__)  # noqa: S102
    make_checks = module.__dict__[THE_LINE.strip().removesuffix(",")]
    checks = (*table.CHECKS, make_checks)
    monkeypatch.setattr(version, "checks_of", partial(table.checks_of, table=checks))
    return lambda: VersionMonitor("t", 0, profile, Budget(), EpisodePolicy(), 1_000)


@pytest.fixture
def monitor(new_monitor: Callable[[], VersionMonitor]) -> VersionMonitor:
    return new_monitor()


def test_the_test_of_the_document_passes(monitor: VersionMonitor) -> None:
    names = {"values": values, "events": events}
    exec(compile(THE_TEST, "docs/adding-a-check.md", "exec"), names)  # noqa: S102

    names["test_lost_decimals_are_one_episode"](monitor)  # type: ignore[operator]


def test_its_state_is_stored_and_its_episode_resolved(
    new_monitor: Callable[[], VersionMonitor],
) -> None:
    first, again = new_monitor(), new_monitor()
    rounded: list[float] = [round(values(i)) for i in range(200)]

    found = first.observe(events(rounded, 0, 90))[1]
    again.restore(stored(first.take_changes()))
    found += again.observe(events(rounded, 90, 200))[1]
    (started,) = (alert for alert in found if alert.series == "integers/temp")
    assert again.levels()["integers/temp"] == 2

    (resolved,) = again.resolve(started, 200, 200_000)
    assert (started.decided_offset, started.feature) == (99, "temp")
    assert (resolved.phase, resolved.episode_id) == ("resolved", started.episode_id)
    assert again.levels()["integers/temp"] == 0


def test_a_feature_of_integers_has_no_such_check(new_monitor: Callable[[], VersionMonitor]) -> None:
    assert "integers/temp" in new_monitor().checks
    columns = {"n": RNG.integers(0, 90, 5_000).astype(float)}
    whole = fit_profile("m", "1", columns, task="regression", origin="training")

    monitor = VersionMonitor("t", 0, whole, Budget(), EpisodePolicy(), 1_000)

    assert "integers/n" not in monitor.checks
