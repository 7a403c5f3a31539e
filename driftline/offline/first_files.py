"""The files that ``driftline init`` writes: settings, a reference, and a program that logs."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from pprint import pformat
from typing import TYPE_CHECKING, Any, Final

import msgspec

from driftline.offline.tables.convert import plain_of, values_of
from driftline.offline.tables.read_options import DEFAULT_READ_OPTIONS, ReadOptions
from producer.names import file_name
from stream_monitor.episodes.formatting import format_count
from stream_monitor.reference.profile import ReferenceProfile, profile_to_data

if TYPE_CHECKING:
    import pandas as pd

    from driftline.offline.tables.layout import Layout

_EXAMPLE_PREDICTION: Final = 0.5


def settings_file(profile: ReferenceProfile) -> str:
    """The text of ``driftline.toml``, with the settings that people change first."""
    budget = (
        "per_weeks = 4          # at most one false alert of this model in so many weeks"
        if profile.events_per_week is not None
        else "per_events = 1_000_000  # at most one false alert of this model in so many events"
    )
    name = json.dumps(profile.model, ensure_ascii=False)  # a string of TOML too
    return f"""\
# Settings of driftline.

# The servers come from KAFKA_BOOTSTRAP_SERVERS and REDIS_URL, which `driftline up` prints; else
# from here:
# [kafka]
# bootstrap_servers = "kafka:9092"
# [redis]
# url = "redis://redis:6379/0"

[budget]
{budget}

# To retrain {name} where its world changed, name a function that returns an
# unfitted scikit-learn estimator:
# [trainer.factories]
# {name} = "my_package.my_module:build"
"""


def snippet(profile: ReferenceProfile, frame: pd.DataFrame, layout: Layout) -> str:
    """The text of a program that logs one prediction, with the values of the first row."""
    first = frame.iloc[:1]
    features: dict[str, Any] = {
        feature.name: values_of(first[feature.column], feature.kind)[0]
        for feature in layout.features
    }
    prediction: Any = _EXAMPLE_PREDICTION
    if layout.prediction is not None:
        prediction = plain_of(first[layout.prediction])[0]
    label = None if layout.label is None else plain_of(first[layout.label])[0]
    lines = [
        '"""Log one prediction for driftline.  Copy the lines to your model server."""',
        "",
        "import os",
        "",
        "from driftline import InferenceLogger",
        "",
        'servers = os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")',
        f"log = InferenceLogger(servers, model={profile.model!r}, version={profile.version!r})",
        "",
        "# For each request: `log` neither blocks nor raises.",
        f"features = {pformat(features, sort_dicts=False)}",
        f"event_id = log.log(features=features, prediction={prediction!r})",
    ]
    if label is not None:
        lines += ["", "# When the outcome is known:", f"log.label(id=event_id, label={label!r})"]
    lines += ["", "log.close()", 'print("logged", event_id)', ""]
    return "\n".join(lines)


def columns_as_options(
    *,
    prediction: str | None,
    label: str | None,
    time: str | None,
    time_format: str | None = None,
    read: ReadOptions = DEFAULT_READ_OPTIONS,
) -> list[str]:
    """The options with which `driftline publish` reads a file of the same columns."""
    found: list[str] = []
    for name, value in (
        ("--prediction", prediction),
        ("--label", label),
        ("--time", time),
        ("--time-format", time_format),
        *(("--ignore", column) for column in read.ignore),
        *(("--numeric", column) for column in read.numeric),
        *(("--categorical", column) for column in read.categorical),
        ("--separator", read.separator),
        ("--decimal", read.decimal),
        ("--encoding", read.encoding),
    ):
        found += [] if value is None else [name, value]
    return found


class FirstFiles:
    """The files of a model that is to be watched, and what to do with them; ``contents`` by name.

    Args:
        profile: the reference of the model.
        frame: the training rows.
        layout: the role of each of their columns.
        options: the options of `driftline publish` for a file of the same columns.
    """

    SETTINGS: Final = "driftline.toml"
    PROGRAM: Final = "log_predictions.py"

    def __init__(
        self, profile: ReferenceProfile, frame: pd.DataFrame, layout: Layout, options: Sequence[str]
    ) -> None:
        self.profile, self._n_rows, self._options = profile, len(frame), options
        self.reference = f"{file_name(f'{profile.model}-{profile.version}')}.profile.json"
        self.contents = {
            self.SETTINGS: settings_file(profile).encode(),
            self.reference: msgspec.json.encode(profile_to_data(profile)),
            self.PROGRAM: snippet(profile, frame, layout).encode(),
        }

    def write(self, folder: Path, *, force: bool) -> None:
        """Write all files, or none of them.

        Raises:
            FileExistsError: a file exists already, and ``force`` is false; the text names it.
            NotADirectoryError: the folder, or one that it is in, is a file.
        """
        for part in (folder, *folder.parents):
            if part.exists() and not part.is_dir():
                raise NotADirectoryError(f"{part} is a file, not a folder")
        present = [name for name in self.contents if (folder / name).exists()]
        if present and not force:
            raise FileExistsError(f"files of an earlier run exist: {', '.join(present)}")
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.contents.items():
            (folder / name).write_bytes(content)

    def described(self, folder: Path) -> list[str]:
        """What was written, and the next commands, as lines of text."""
        named = ["--model", self.profile.model, "--version", self.profile.version, *self._options]
        features = format_count(len(self.profile.features), "feature")
        return [
            f"{folder / self.SETTINGS}: settings of driftline on this machine",
            f"{folder / self.reference}: what is normal, from {self._n_rows:,} rows: {features}",
            f"{folder / self.PROGRAM}: a program that logs one prediction",
            "",
            "Next, in that folder:",
            "  driftline up                                # Kafka, Redis, monitor, dashboard",
            "and in a second terminal, after the `export` lines that it prints:",
            f"  driftline profile send {shlex.quote(self.reference)}",
            f"  python {self.PROGRAM}",
            f"  driftline publish DATA {shlex.join(named)}   # or a file of events",
        ]
