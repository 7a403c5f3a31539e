"""What `driftline replay` shows, whatever it replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftline.commands.output import note, write_json, write_lines

if TYPE_CHECKING:
    from driftline.replay.outcome import Outcome


def show(
    head: list[str], middle: list[str], outcome: Outcome, data: dict[str, Any], *,
    of: str, as_json: bool,
) -> None:  # fmt: skip
    """What was replayed, its episodes with what belongs to them, and the summary ``data``."""
    from driftline.replay import report  # noqa: PLC0415 - light imports

    if as_json:
        for episode in outcome.episodes:
            write_json(episode, indent=0)
        write_json(data, indent=0)
        note(*head)
        return
    lines = [
        *head, "",
        "Episodes", *report.episode_lines(outcome.episodes), *middle,
        "", *report.summary_lines(data, outcome, of=of),
    ]  # fmt: skip
    write_lines(lines)
