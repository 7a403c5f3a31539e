"""The demo's scenario: model, features, label delay, incident and trainer settings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

MODEL: Final = "flights-late"
VERSION: Final = "1"
FACTORY: Final = "driftline.demo.model:build"
"""The function that returns an unfitted model, for the trainer."""
FEATURES: Final = [
    "temp",
    "dewp",
    "humid",
    "wind_speed",
    "precip",
    "visib",
    "carrier",
    "distance",
    "hour",
]
LATE_MINUTES: Final = 15
TRAINING_SHARE: Final = 10
"""The model is trained on the first tenth of the flights."""
LABEL_DELAY_MS: Final = 24 * 3_600_000

BROKEN_FEATURE: Final = "temp"
INCIDENT: Final = (datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 3, 11, tzinfo=UTC))
"""Period in which the temperature is in degrees Celsius: start included, end excluded."""
INCIDENT_MS: Final = (round(INCIDENT[0].timestamp() * 1000), round(INCIDENT[1].timestamp() * 1000))


def is_in_incident(time_ms: int) -> bool:
    """Whether an event time is within the incident.

    >>> is_in_incident(1362128040000), is_in_incident(1377000000000)
    (True, False)
    """
    return INCIDENT_MS[0] <= time_ms < INCIDENT_MS[1]


RETRAIN_DECISION: Final = {
    "min_labelled_events": 1_500,
    "cooldown_ms": 7 * 24 * 3_600_000,
    "lookback_records": 80_000,
}
"""The trainer's policy: a day has only three hundred flights, so it reads far back."""
RETRAIN_GATE: Final = {"metric": "brier"}
"""The Brier score needs fewer flights than the error rate to separate two models."""
