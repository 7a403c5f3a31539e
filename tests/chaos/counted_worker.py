"""``driftline monitor``, which also says every second how many tasks its loop has.

The count stands in the file named by ``DRIFTLINE_CHAOS_TASKS``, with the process appended.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from driftline.cli import app
from stream_monitor.runtime.app import MonitorApp

VARIABLE: Final = "DRIFTLINE_CHAOS_TASKS"


class CountedApp(MonitorApp):
    """Counts its tasks where it looks at its lag."""

    async def _report_lag(self) -> None:
        await super()._report_lag()
        _tell(len(asyncio.all_tasks()))


def _tell(n_tasks: int) -> None:
    Path(f"{os.environ[VARIABLE]}-{os.getpid()}").write_text(str(n_tasks))


if __name__ == "__main__":
    from stream_monitor.runtime import worker

    vars(worker)["MonitorApp"] = CountedApp
    app()
