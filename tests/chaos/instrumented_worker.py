"""``driftline monitor``, which also says every second how many tasks and partitions it has.

Both stand in the file named by ``DRIFTLINE_CHAOS_TASKS``, with the process appended.
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
    """Counts where it looks at its lag."""

    async def _report_lag(self) -> None:
        await super()._report_lag()
        _tell(len(asyncio.all_tasks()), len(self.components.partitions))


def _tell(n_tasks: int, n_partitions: int) -> None:
    counts = Path(f"{os.environ[ENVIRONMENT_VARIABLE]}-{os.getpid()}")
    whole = counts.with_name(f"{counts.name}.new")  # nobody reads half of it
    whole.write_text(f"{n_tasks} {n_partitions}")
    whole.replace(counts)


if __name__ == "__main__":
    from stream_monitor.runtime import worker

    vars(worker)["MonitorApp"] = CountedApp
    app()
