"""Driftline: watches machine-learning models in production, live, on Kafka.

The public names are loaded when they are first used, so that a model server that only publishes
needs nothing of the monitor.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from driftline import report
    from driftline.offline.frame_init import init
    from driftline.topics.drift_alerts import DriftAlerts
    from producer.events import InferenceEvent, Label, ModelUpdate
    from producer.logger import InferenceLogger
    from stream_monitor.contracts import DriftAlert
    from stream_monitor.reference.frame import profile_from_frame
    from trainer.service.announce import announce

__all__ = [
    "DriftAlert",
    "DriftAlerts",
    "InferenceEvent",
    "InferenceLogger",
    "Label",
    "ModelUpdate",
    "__version__",
    "announce",
    "init",
    "profile_from_frame",
    "report",
]

_MODULE_OF: Final = {
    "InferenceLogger": "producer.logger",
    "InferenceEvent": "producer.events",
    "Label": "producer.events",
    "ModelUpdate": "producer.events",
    "DriftAlert": "stream_monitor.contracts",
    "DriftAlerts": "driftline.topics.drift_alerts",
    "announce": "trainer.service.announce",
    "init": "driftline.offline.frame_init",
    "profile_from_frame": "stream_monitor.reference.frame",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "report":
        return import_module("driftline.report")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """The version of the installed distribution; in a bare source tree there is none."""
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 - rarely asked

    try:
        return version("driftline")
    except PackageNotFoundError:
        return "0+source"
