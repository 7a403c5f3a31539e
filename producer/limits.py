"""What an event may be at most: the bounds that keep a hostile or broken producer harmless."""

from __future__ import annotations

from typing import Final

import msgspec

from producer.events import MAX_EVENT_BYTES

LATEST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999: later clocks are broken clocks."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the monitor takes; writers keep to the defaults.

    Sizes are in bytes of the record's value, ``max_update_bytes`` is for a `ModelUpdate`, which
    carries a profile.  Event time may be ahead of the record's timestamp by ``max_skew_ms``; with
    ``max_event_age_ms`` it may not be further behind.  Both clocks come from the log, so a replay
    judges alike.  A snooze may end ``max_snooze_ms`` after its record was appended, no later.
    """

    max_value_bytes: int = 64 * 1024
    max_update_bytes: int = MAX_EVENT_BYTES
    max_features: int = 512
    max_string_bytes: int = 256
    max_skew_ms: int = 300_000
    max_event_age_ms: int | None = None
    max_payload_bytes: int = 16 * 1024
    max_snooze_ms: int = 7 * 24 * 3_600_000
