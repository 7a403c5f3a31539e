"""Reports as one self-contained HTML file; a notebook shows them in place.

import driftline

found = driftline.report.check(last_month, today)  # two pandas frames
found                                              # in a notebook: the report itself
found.save("check.html")
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import pandas as pd

    from driftline.offline.check.column_check import ColumnCheck
    from driftline.offline.replay.replay_episodes import ReplayEpisode

__all__ = ["CheckReport", "ReplayReport", "Report", "check", "model", "replay"]

_FRAME_HEIGHT = "640px"
_WEEK: Final = timedelta(days=7)


class Report:
    """A report as HTML; ``html`` is the whole file.  It loads nothing and runs no script."""

    def __init__(self, html: str) -> None:
        self.html = html

    def save(self, path: str | Path) -> Path:
        """Write the file, and return its path.

        Raises:
            OSError: the file cannot be written.
        """
        path = Path(path)
        path.write_text(self.html, "utf-8")
        return path

    def _repr_html_(self) -> str:
        """The report in a frame of its own, so that its style and the notebook's stay apart."""
        from markupsafe import escape  # noqa: PLC0415 - light imports

        return (
            f'<iframe sandbox title="driftline report" srcdoc="{escape(self.html)}" '
            f'style="width:100%;height:{_FRAME_HEIGHT};border:0"></iframe>'
        )


class CheckReport(Report):
    """The report of a check; ``failed`` is true if a column differs, ``columns`` has all results.

    ``not_watched`` has the reason of each column that is not compared.
    """

    def __init__(
        self, html: str, columns: list[ColumnCheck], not_watched: dict[str, str], *, failed: bool
    ) -> None:
        super().__init__(html)
        self.columns, self.not_watched, self.failed = columns, not_watched, failed


class ReplayReport(Report):
    """The report of a replay; ``episodes`` has all of them.

    ``not_watched`` has the reason of each column that is not watched.
    """

    def __init__(
        self, html: str, episodes: list[ReplayEpisode], not_watched: dict[str, str]
    ) -> None:
        super().__init__(html)
        self.episodes, self.not_watched = episodes, not_watched


def check(
    reference: pd.DataFrame,
    current: pd.DataFrame,
    *,
    time: str | None = None,
    names: tuple[str, str] = ("reference", "current"),
) -> CheckReport:
    """Compare two frames column by column, as ``driftline check`` compares two files.

    Args:
        reference: the normal data, one event a row.
        current: the data to compare with it.
        time: the column of the event time; it is not compared.
        names: the names of both in the report.

    Raises:
        SourceError: a column is missing, or no column can be compared.
    """
    from driftline.report.check_document import check_frames  # noqa: PLC0415 - light imports

    return check_frames(reference, current, time=time, names=names)


def replay(
    frame: pd.DataFrame,
    *,
    reference: pd.DataFrame | None = None,
    time: str | None = None,
    prediction: str | None = None,
    label: str | None = None,
    positive: str | None = None,
    config: str | Path | None = None,
) -> ReplayReport:
    """Replay recorded rows through the monitor, as ``driftline replay`` does with a file.

    Args:
        frame: the recorded traffic, one event a row, in the order of arrival.
        reference: the normal rows; by default the first tenth of ``frame``, which is not replayed.
        time: the column of the event time.
        prediction: the column of the predictions.
        label: the column of the labels.
        positive: the label whose probability is predicted; by default 1 or True.
        config: a settings file, in the place of ``driftline.toml``.

    Raises:
        SourceError: a column is missing, or the reference cannot be used.
    """
    from driftline.report.replay_document import replay_frame  # noqa: PLC0415 - light imports
    from stream_monitor.settings import Settings  # noqa: PLC0415

    settings = Settings.load(None if config is None else Path(config))
    roles = (time, prediction, label)
    return replay_frame(frame, reference, roles, positive, settings)


def model(name: str, *, since: timedelta = _WEEK, config: str | Path | None = None) -> Report:
    """Report a live model, as ``driftline report`` does.  Needs ``driftline[dashboard]``.

    The servers come from the environment and ``driftline.toml``, as in the commands.

    Args:
        name: the model.
        since: how far back from the newest event of the model, in event time.
        config: a settings file, in the place of ``driftline.toml``.

    Raises:
        LookupError: neither Redis nor the alerts have the model.
        ConnectionError: Kafka or Redis does not answer.
    """
    import time  # noqa: PLC0415 - light imports

    from driftline.report.document import render  # noqa: PLC0415
    from driftline.report.model_document import live_document  # noqa: PLC0415
    from stream_monitor.settings import Settings  # noqa: PLC0415

    settings = Settings.load(None if config is None else Path(config))
    since_ms = round(since.total_seconds() * 1000)
    document = live_document(settings, name, since_ms, round(time.time() * 1000))
    if document is None:
        raise LookupError(f"no model is named {name!r}; driftline status lists the models")
    return Report(render(document))
