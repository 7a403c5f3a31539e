"""Print the result of ``driftline replay``, of a file or of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftline.cli.output import note, write_json, write_lines

if TYPE_CHECKING:
    from driftline.offline.replay.replay_result import ReplayResult


def show(
    head: list[str],
    middle: list[str],
    result: ReplayResult,
    data: dict[str, Any],
    *,
    of: str,
    as_json: bool,
) -> None:
    """Print ``head``, the episodes, ``middle`` and the summary ``data``; ``of`` names the rows."""
    from driftline.offline.replay import replay_report as report  # noqa: PLC0415 - light imports

    if as_json:
        for episode in result.episodes:
            write_json(episode, indent=0)
        write_json(data, indent=0)
        note(*head)
        return
    lines = [
        *head,
        "",
        "Episodes",
        *report.episode_lines(result.episodes),
        *middle,
        "",
        *report.summary_lines(data, result, of=of),
    ]
    write_lines(lines)
