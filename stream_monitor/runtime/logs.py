"""Configures logging to stderr: text on a terminal, JSON elsewhere.

Text from events may contain control characters.  JSON escapes them; for a terminal `_escaped` does.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

from producer.printable import printable

_SHARED: list[structlog.typing.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def _escaped(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape line breaks and control characters in each text."""
    return {
        name: printable(value) if isinstance(value, str) and name != "exception" else value
        for name, value in event.items()
    }


REPEAT_S: Final = 10.0
"""While a broker is gone aiokafka logs the same message about fifty times a second."""


class RareRepeats(logging.Filter):
    """A log filter: repeats of an aiokafka message pass once in `REPEAT_S`, all others always.

    >>> of = lambda name, at_s: logging.makeLogRecord({"name": name, "msg": "m", "created": at_s})
    >>> rare = RareRepeats()
    >>> [rare.filter(of("aiokafka.conn", at_s)) for at_s in (0.0, 1.0, 10.0)]
    [True, False, True]
    >>> [rare.filter(of("driftline", at_s)) for at_s in (0.0, 1.0)]
    [True, True]
    """

    def __init__(self) -> None:
        super().__init__()
        self._passed_s: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is logged."""
        if not record.name.startswith("aiokafka"):
            return True
        what = (record.name, record.msg)
        if record.created - self._passed_s.get(what, -REPEAT_S) < REPEAT_S:
            return False
        self._passed_s[what] = record.created
        return True


def configure(level: str = "INFO") -> None:
    """Send log records of driftline and of its libraries to one handler.

    Faust and aiokafka log from WARNING on, because they log every step of a rebalance.
    """
    tty = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if tty else structlog.processors.JSONRenderer()
    )
    traceback: list[structlog.typing.Processor] = (
        [] if tty else [structlog.processors.format_exc_info]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *traceback,
                _escaped,
                renderer,
            ],
        )
    )
    handler.addFilter(RareRepeats())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
