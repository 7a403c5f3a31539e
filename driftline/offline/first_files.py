"""The files that ``driftline init`` writes: settings, and a program that logs.  Pure."""

from __future__ import annotations

import json
from pprint import pformat
from typing import TYPE_CHECKING, Any, Final

from driftline.offline.tables.convert import plain_of, values_of
from stream_monitor.reference.profile import ReferenceProfile

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
