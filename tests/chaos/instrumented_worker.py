"""`driftline monitor` that also reports its number of tasks and partitions every second.

It writes both to the file named by ``DRIFTLINE_CHAOS_TASKS`` plus its process id.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from driftline.cli.app import app
from stream_monitor.runtime.app import MonitorApp

ENVIRONMENT_VARIABLE: Final = "DRIFTLINE_CHAOS_TASKS"


class CountedApp(MonitorApp):
    """Writes the numbers whenever it reports its lag."""

    async def _report_lag(self) -> None:
        await super()._report_lag()
        _write(len(asyncio.all_tasks()), len(self.components.partitions))


def _write(n_tasks: int, n_partitions: int) -> None:
    counts = Path(f"{os.environ[ENVIRONMENT_VARIABLE]}-{os.getpid()}")
    whole = counts.with_name(f"{counts.name}.new")  # a reader never sees half of it
    whole.write_text(f"{n_tasks} {n_partitions}")
    whole.replace(counts)


if __name__ == "__main__":
    from stream_monitor.runtime import worker

    vars(worker)["MonitorApp"] = CountedApp
    app()
