"""Read a live model once from Redis and the topics, for its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from driftline.dashboard.observer import Observer
from driftline.dashboard.read_model import ReadModel
from driftline.report.model_document import model_document

if TYPE_CHECKING:
    from driftline.report.document import Document
    from stream_monitor.settings import Settings


class ServerAway(ConnectionError):  # noqa: N818 - names what happened
    """Raised if a server does not answer: ``name`` is the server, ``why`` its error."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name} does not answer: {why}")
        self.name, self.why = name, why


def live_document(settings: Settings, model: str, since_ms: int, made_ms: int) -> Document | None:
    """The report of a model over its last ``since_ms``; ``None`` if the model is unknown.

    Raises:
        ServerAway: Kafka or Redis does not answer.
    """
    observer = Observer(settings)
    try:
        observer.observe()
        for server in observer.current.away():
            raise ServerAway(server.name, server.error)
        return model_document(ReadModel(observer, settings), model, since_ms, made_ms)
    finally:
        observer.close()
