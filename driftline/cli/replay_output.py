"""Print the result of ``driftline replay``, of a file or of a topic."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from driftline.cli.output import note, write_json, write_lines
from driftline.cli.report_file import now_ms, write_report

if TYPE_CHECKING:
    from pathlib import Path

    from driftline.cli.candidate_settings import CandidateRun, ResultT
    from driftline.offline.replay.replay_result import ReplayResult
    from driftline.report.replay_document import ReplayedTraffic


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


def write_replay_report(path: Path, run: CandidateRun[ResultT], traffic: ReplayedTraffic) -> None:
    """Write the report of a replay for ``--html``."""
    from driftline.report.document import render  # noqa: PLC0415 - light imports
    from driftline.report.replay_document import replay_document  # noqa: PLC0415

    document = replay_document(
        run.chosen, traffic, run.spec, run.incidents, run.settings_difference, made_ms=now_ms()
    )
    write_report(render(document), path)
