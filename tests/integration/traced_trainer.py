"""The command line with a trace: ``python -m tests.integration.traced_trainer train ...``.

At the end it writes the path from an alert to a promotion to the file ``DRIFTLINE_TEST_TRACE``.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from driftline.__main__ import main
from tests.call_path import CallPath

STEPS: Final = {
    "handle_alert": "the alert is read, and the decision recorded",
    "decide": "the policy decides",
    "plan_ranges": "offset ranges are chosen",
    "wait_for_labels": "labels are there",
    "build_training_set": "the training set is built",
    "RangeReader.poll": "from records of the event topic",
    "try_windows": "candidate windows are fitted",
    "best_window": "one of them is chosen",
    "compare": "its challenger is compared with the champion",
    "fit": "and fitted again on all rows",
    "VersionRegistry.store": "its artifact is stored",
    "announce": "the monitor gets its profile",
    "version_records": "model servers get the champion",
    "record_result": "each step is recorded",
}
"""The functions by which an alert leads to a promotion."""

if __name__ == "__main__":
    trace = CallPath({"trainer"}, STEPS)
    trace.start()
    try:
        main()
    finally:
        trace.stop()
        found = {"path": trace.path, "steps": sorted(trace.steps), "all": sorted(trace.all)}
        Path(os.environ["DRIFTLINE_TEST_TRACE"]).write_text(json.dumps(found), "utf-8")
