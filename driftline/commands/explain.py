"""``driftline explain``: what the budget became, and what it can show."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import msgspec
import typer

from driftline.commands.connection import load_settings
from driftline.commands.failure import USAGE, Failure
from driftline.commands.options import Config, Json
from driftline.commands.output import write_json

if TYPE_CHECKING:
    from stream_monitor.reference.profile import ReferenceProfile

app = typer.Typer(no_args_is_help=True, help="Explain thresholds, and what they can show.")

File: TypeAlias = Annotated[
    Path, typer.Argument(help="A profile (driftline profile build), or a file of traffic.")
]


@app.command()
def calibration(file: File, config: Config = None, *, as_json: Json = False) -> None:
    """How the false-alarm budget became the thresholds of every channel."""
    from driftline.explain.calibration import calibration_of  # noqa: PLC0415 - light imports

    profile = _profile(file)
    budget = load_settings(config).monitor_spec().budget
    channels = calibration_of(profile, budget)
    if as_json:
        write_json({
            "false_alerts": budget.false_alerts, "per_events": budget.per_events,
            "channels": channels,
        })  # fmt: skip
        return
    _say(
        f"  {budget.false_alerts:g} false alerts in {budget.per_events:,} events of the model, "
        f"over {2 * len(channels)} detectors: each one in {channels[0].arl0_events:,.0f} events"
    )
    _say("")
    width = max(len(one.series) for one in channels)
    _say(f"  {'series':<{width}}  channel   block    tau  Page-Hinkley  ADWIN's delta")
    for one in channels:
        adwin = "moved in the reference" if one.adwin_delta is None else f"{one.adwin_delta:.1e}"
        note = "   short reference: wider" if one.short else ""
        _say(
            f"  {one.series:<{width}}  {one.channel:<8} {one.block:>6} {one.tau:>6.1f}"
            f"  {one.page_hinkley:>9.2f} sd  {adwin}{note}"
        )


@app.command()
def power(
    file: File,
    rate: Annotated[float, typer.Option(min=0.001, help="Events an hour.")] = 1_000.0,
    config: Config = None,
    *,
    as_json: Json = False,
) -> None:
    """The smallest shift each feature can show within an hour and a day."""
    from driftline.explain.power import power_of  # noqa: PLC0415 - light imports

    features = power_of(_profile(file), load_settings(config).monitor_spec().budget, rate)
    if as_json:
        write_json({"events_per_hour": rate, "features": features})
        return
    width = max(len(one.series) for one in features)
    _say(f"  {'series':<{width}}      mean    within an hour      within a day")
    for one in features:
        mean = "" if one.mean is None else f"{one.mean:.4g}"
        hour, day = (
            "none would show" if None in (units, shift) else f"{units:.3g} ({shift:.2g} sd)"
            for units, shift in (
                (one.within_hour, one.within_hour_sd), (one.within_day, one.within_day_sd),
            )
        )  # fmt: skip
        _say(f"  {one.series:<{width}}  {mean:>8}  {hour:>16}  {day:>16}")


def _profile(file: Path) -> ReferenceProfile:
    """A profile as it was built, or what a file of traffic would give."""
    from driftline.replay.columns import layout_of  # noqa: PLC0415 - light imports
    from driftline.replay.refusal import BadSource  # noqa: PLC0415
    from driftline.replay.run import profile_of  # noqa: PLC0415
    from driftline.replay.source import read_frame  # noqa: PLC0415
    from stream_monitor.reference.profile import profile_from_data  # noqa: PLC0415

    if file.suffix == ".json":
        try:
            return profile_from_data(msgspec.json.decode(file.read_bytes()))
        except (ValueError, msgspec.MsgspecError) as error:
            raise Failure(
                "that is no profile", where=str(file), why=str(error),
                fix="driftline profile build", code=USAGE,
            ) from error  # fmt: skip
    try:
        frame = read_frame(file)
        return profile_of(frame, layout_of(frame, time=None, prediction=None, label=None))
    except BadSource as bad:
        raise Failure(str(bad), fix=bad.fix, code=USAGE) from bad


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
