"""The demo's story: the model, the truth that comes a day late, the incident."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

MODEL: Final = "flights-late"
VERSION: Final = "1"
FACTORY: Final = "driftline.demo.model:build"
"""What the trainer calls for an untrained model."""
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
"""The model is trained on the first one in so many flights."""
LABEL_DELAY_MS: Final = 24 * 3_600_000

BROKEN_FEATURE: Final = "temp"
INCIDENT: Final = (datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 3, 11, tzinfo=UTC))
"""In this span, first moment included and last not, somebody sends degrees Celsius."""
INCIDENT_MS: Final = (round(INCIDENT[0].timestamp() * 1000), round(INCIDENT[1].timestamp() * 1000))


def is_in_incident(time_ms: int) -> bool:
    """Whether a moment lies in the incident.

    >>> is_in_incident(1362128040000), is_in_incident(1377000000000)
    (True, False)
    """
    return INCIDENT_MS[0] <= time_ms < INCIDENT_MS[1]


RETRAIN_DECISION: Final = {
    "min_labelled_events": 1_500,
    "cooldown_ms": 7 * 24 * 3_600_000,
    "lookback_records": 80_000,
}
"""The trainer's settings: three hundred flights' weather a day is little; look back over all."""
RETRAIN_GATE: Final = {"metric": "brier"}
"""By how much a probability errs tells two models apart with fewer flights than its side of 0.5."""
