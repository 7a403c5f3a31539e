"""Event times are read in the declared unit or format, and never guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from driftline.cli.app import app
from driftline.cli.command_error import EXIT_USAGE
from driftline.offline.tables.event_times import times_ms, with_times
from driftline.offline.tables.source_error import SourceError
from stream_monitor.reference.frame import _times_ms

NOON_MS = 1_359_633_600_000  # 2013-01-31T12:00:00Z


def written(value: Any, form: str) -> int:
    frame = pd.DataFrame({"at": [value]})
    return times_ms(with_times(frame, "at", form)["at"])[0]


@pytest.mark.parametrize(
    "column",
    [
        pd.Series(["2013-01-31T12:00:00Z", "2013-01-31T13:00:01+01:00"]),
        pd.Series(["2013-01-31 12:00:00", "2013-01-31 12:00:01"]),
        pd.to_datetime(pd.Series(["2013-01-31 12:00:00", "2013-01-31 12:00:01"])),
        pd.Series([1359633600, 1359633601]),
        pd.Series([1359633600000, 1359633601000]),
        pd.Series([1359633600000000, 1359633601000000]),
        pd.Series([1359633600000000000, 1359633601000000000]),
    ],
)
def test_a_time_may_have_any_unit(column: pd.Series[Any]) -> None:
    assert times_ms(column) == [1_359_633_600_000, 1_359_633_601_000]
    assert _times_ms(column).tolist() == times_ms(column)  # of `profile_from_frame`


@pytest.mark.parametrize(
    "odd",
    [253_402_300_799_000, -62_135_596_800_000, 1_359_633_600_000_000, 1_359_633_600, 1_359_633],
)
def test_a_row_that_counts_in_another_unit_is_an_error(odd: int) -> None:
    column = pd.Series([1359633600000] * 9 + [odd], name="at")
    if 10**13 < abs(odd) < 10**14:  # year 1 is not a time since 1970
        with pytest.raises(SourceError, match="row 9"):
            times_ms(column)
        return
    with pytest.raises(SourceError, match=f"row 9: {odd} is not in the unit of 1359633600000"):
        times_ms(column)
    with pytest.raises(ValueError, match="column 'at' contains a value that is no time"):
        _times_ms(column)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("31.01.2013 12:00", "%d.%m.%Y %H:%M"),
        ("01/31/2013 12", "%m/%d/%Y %H"),
        ("Jan 31 2013 12:00 PM", "%b %d %Y %I:%M %p"),
        ("31.01.2013 13:00 +0100", "%d.%m.%Y %H:%M %z"),
        (2013013112, "%Y%m%d%H"),
        (2013013112.0, "%Y%m%d%H"),
        (pd.Timestamp("2013-01-31T12:00"), "%d.%m.%Y"),  # it is a time already
    ],
)
def test_a_time_is_read_in_the_given_format(value: Any, form: str) -> None:
    """Without a zone it is UTC."""
    assert written(value, form) == NOON_MS


def test_the_format_decides_on_day_and_month() -> None:
    day_ms = 24 * 3_600_000
    assert written("01.02.2013", "%d.%m.%Y") - written("01.02.2013", "%m.%d.%Y") == 30 * day_ms


@pytest.mark.parametrize("value", ["01/02/2013", "31.01.2013 12:00", "Jan 31 2013", "soon"])
def test_an_ambiguous_time_is_rejected_with_its_place_and_the_option(value: str) -> None:
    rows = pd.Series(["2013-01-31", value], index=[40, 41], name="when")
    with pytest.raises(
        SourceError, match=f"--time when: row 41: '{value}' is not a time"
    ) as raised:
        times_ms(rows)
    assert '--time-format "%d.%m.%Y %H:%M"' in raised.value.fix


@pytest.mark.parametrize("value", [-1, "1969-12-31", "1969-12-31T00:00:00Z", "0001-01-01"])
def test_no_format_is_recommended_for_a_time_that_is_out_of_range(value: object) -> None:
    with pytest.raises(SourceError, match="row 1: ") as raised:
        times_ms(pd.Series([0 if value == -1 else "2024-01-31", value], name="at"))

    assert "is not a time since 1970" in str(raised.value) or "before 1970" in str(raised.value)
    assert "--time-format" not in raised.value.fix
    assert "remove such rows" in raised.value.fix


def test_numbers_that_are_days_are_no_seconds_of_1970() -> None:
    days = pd.Series([20240131, 20240201], name="day")
    with pytest.raises(SourceError, match="--time day: row 0: 20240131 looks like a calendar date"):
        times_ms(days)
    with pytest.raises(
        ValueError, match=r"column 'day' contains a value that is no time .*20240131 is a day"
    ):
        _times_ms(days)
    assert times_ms(pd.Series([20240131, 20240132])) == [20_240_131_000, 20_240_132_000]


@pytest.mark.parametrize(
    ("value", "form", "why"),
    [
        ("2013-01-31", "%d.%m.%Y", "row 0: '2013-01-31' does not have the --time-format"),
        (
            "31.01.2013 12:00",
            "%d.%m.%Y",
            "row 0: '31.01.2013 12:00' does not have the --time-format",
        ),
        (None, "%d.%m.%Y", "row 0 has no time"),
        ("31.01.2013", "%Q", "'Q' is a bad directive"),
        ("31.01.2013", "mixed", "has no part of a time"),
        ("12:00", "%H:%M", "is before 1970"),
    ],
)
def test_a_time_format_that_does_not_match_is_rejected(
    value: str | None, form: str, why: str
) -> None:
    with pytest.raises(SourceError, match=why):
        written(value, form)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else " ".join(done.output.split())


def test_commands_read_times_as_they_are_written(tmp_path: Path) -> None:
    """In a file that is replayed, in its reference, and in what a profile is made of."""
    n = 24 * 40
    at = pd.date_range("2024-01-01", periods=n, freq="h")
    rng = np.random.default_rng(1)
    daily = 3 * np.sin(2 * np.pi * at.hour.to_numpy() / 24) + rng.normal(size=n) / 10
    frame = pd.DataFrame({"at": at.strftime("%d.%m.%Y %H:%M"), "x": daily})
    rows, normal = str(tmp_path / "rows.csv"), str(tmp_path / "normal.csv")
    frame.to_csv(rows, index=False)
    frame.to_csv(normal, index=False)
    named = ("--time", "at", "--time-format", "%d.%m.%Y %H:%M")
    model = ("--model", "m", "--version", "1")

    summary = json.loads(run("replay", rows, "--reference", normal, *named, "--json"))
    built = json.loads(run("profile", "build", rows, *model, *named))
    power = json.loads(run("explain", "power", rows, *named, "--json"))

    assert (summary["events"], summary["features"], summary["episodes"]) == (n, 1, 0)
    assert "alerts_per_week" in summary
    assert list(built["features"]) == ["x"]
    assert built["features"]["x"]["calendar"] is not None
    assert power["events_per_hour"] == pytest.approx(1.0, rel=0.01)
    for command in (("replay", rows), ("profile", "build", rows, *model)):
        reported = run(*command, "--time", "at", code=EXIT_USAGE)
        assert "--time at: row 0: '01.01.2024 00:00' is not a time" in reported
        assert "--time-format" in reported
        assert "needs --time" in run(*command, "--time-format", "%d.%m.%Y", code=EXIT_USAGE)
