"""Upper bounds on events, against faulty or hostile producers."""

from __future__ import annotations

from typing import Final

import msgspec

from producer.events import MAX_EVENT_BYTES

LATEST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999.  A later time is a broken clock."""


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of the monitor on events; writers use the defaults.

    Sizes are bytes of the record's value; ``max_update_bytes`` is for a `ModelUpdate`, which
    contains a profile.  A record with a batch of events has at most ``max_batch_rows`` rows, and
    rows times columns are at most ``max_batch_cells``.  Event time may be at most ``max_skew_ms``
    ahead of the record's timestamp and at most ``max_event_age_ms`` behind it (``None``: any age).
    Both times are in the record, so a replay decides the same.  A snooze may end at most
    ``max_snooze_ms`` after its record's timestamp.
    """

    max_value_bytes: int = 64 * 1024
    max_update_bytes: int = MAX_EVENT_BYTES
    max_batch_bytes: int = 1 << 20
    max_batch_rows: int = 8_192
    max_batch_cells: int = 1 << 20
    max_features: int = 512
    max_string_bytes: int = 256
    max_skew_ms: int = 300_000
    max_event_age_ms: int | None = None
    max_payload_bytes: int = 16 * 1024
    max_snooze_ms: int = 7 * 24 * 3_600_000
