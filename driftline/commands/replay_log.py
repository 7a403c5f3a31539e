"""The log itself replayed as it is, for `driftline replay`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from driftline.commands.replay_output import show
from driftline.commands.replay_trial import trial

if TYPE_CHECKING:
    from driftline.replay.log import LogRange

_BEGINS: Final = (
    "  what the monitor had learnt before --from is not there: usual volume, open episodes, "
    "references of versions without a profile"
)


def replay_log(log: LogRange, config: Path | None, *, from_within: bool, as_json: bool) -> None:
    """Fold the records and show what came of it; ``from_within``: the range has a beginning."""
    from driftline.replay import fold, log_report, report  # noqa: PLC0415 - light imports
    from driftline.replay.comparison import comparison_lines  # noqa: PLC0415

    chosen, spec, incidents, against = trial(config, lambda spec: fold.replay_log(log, spec))
    data = report.summary(chosen, [], against, incidents)
    data["versions"] = log_report.version_data(chosen, spec.budget)
    data["coverage"] = chosen.uncovered
    head = [
        "Log", *log_report.log_lines(chosen, log), *([_BEGINS] if from_within else []), "",
        "Reference", *log_report.version_lines(chosen, log.model, spec.budget),
        *log_report.uncovered_lines(chosen),
    ]  # fmt: skip
    middle = comparison_lines(against) if against else []
    show(head, middle, chosen, data, of="records", as_json=as_json)
