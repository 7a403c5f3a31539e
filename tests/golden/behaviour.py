r"""Recorded logs of the event topic with the results of the core, and how both are compared.

`RENAMED_FIELDS` and `RENAMED_VALUES` are the one table of what got another name since;
`ADDED_FIELDS` are those that are new.

    python -m tests.golden.behaviour tests/golden/behaviour-OLD.msgpack.xz \
        tests/golden/behaviour-YYYY-MM-DD.msgpack.xz

folds the recorded logs again, after a change that is meant to change results, and writes a new
recording; it never overwrites one.  Remove the old one with that commit, and name in the commit
message which results changed.
"""

from __future__ import annotations

import lzma
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.state.partition_state import PERFORMANCE, WINDOW, PartitionStateFactory
from tests.builders import batch_of
from tests.properties.partition_logs import SPEC

RENAMED_FIELDS: Final[dict[str, str]] = {
    "withheld": "suppressed",
    "unwatched": "not_watched",
    "reference_mean": "before",
    "current_mean": "after",
    "estimated_now": "estimated_after",
    "clear_events": "recovery_events",
    "clear_needed": "recovery_events_needed",
}
"""Name in the recording -> name today, of any field of a result."""
RENAMED_VALUES: Final[dict[tuple[str, str], str]] = {}
"""Field (its name today) and value in the recording -> value today."""
ADDED_FIELDS: Final[frozenset[str]] = frozenset({"shadow"})
"""Fields of results that did not exist when the recording was made."""
SENTENCES: Final = frozenset({"explanation", "detail"})
"""Fields for people to read.  Their words may change."""

KEY_ONLY: Final = "not recorded"
"""In place of a window whose content was not kept."""
TOPIC: Final = "driftline.events.v1"
SPECS: Final = {"laws": SPEC, "demo": MonitorSpec()}
BATCH_RECORDS: Final = 512
_KEPT_WINDOWS: Final = 8
_RELATIVE: Final = 1e-6  # the last digits of a sum depend on the processor

RawRecord = tuple[int, int, str | None, bytes]


class Results(msgspec.Struct, frozen=True):
    """What a log led to.  Windows and performance are by their Redis key, the last one stays.

    A recording keeps the content of every eighth window; of the others it keeps the key.
    """

    alerts: list[dict[str, Any]]
    dead_letters: list[dict[str, Any]]
    windows: dict[str, Any]
    performance: dict[str, Any]
    counters: dict[str, Any]


class Recording(msgspec.Struct, frozen=True):
    """The records of one partition, and what they led to on the day of the recording."""

    name: str
    spec: str
    partition: int
    records: list[RawRecord]
    results: Results


def fold(spec: MonitorSpec, partition: int, records: list[RawRecord]) -> Results:
    """Fold a partition's records as a worker does, in batches of `BATCH_RECORDS`."""
    monitor = PartitionStateFactory(spec, "driftline").new(TOPIC, partition)
    results = Results([], [], {}, {}, {})
    for start in range(0, len(records), BATCH_RECORDS):
        part = [ConsumerRecord(*record) for record in records[start : start + BATCH_RECORDS]]
        batch = batch_of(part, TOPIC, partition)
        seen = monitor.observe(batch)
        results.alerts.extend(plain(alert) for alert in seen.alerts)
        results.dead_letters.extend(plain(dead_letter) for dead_letter in seen.dead_letters)
        for key, value in seen.outbox.items():
            for kind, published in ((WINDOW, results.windows), (PERFORMANCE, results.performance)):
                if key.startswith(kind):
                    published[key.removeprefix(kind)] = msgspec.json.decode(value)
        monitor.take_changes()
    results.counters.update(plain(monitor.monitor.counters))
    return results


def thinned(results: Results) -> Results:
    """The results in the size of a recording."""
    windows = {
        key: window if i % _KEPT_WINDOWS == 0 else KEY_ONLY
        for i, (key, window) in enumerate(results.windows.items())
    }
    return msgspec.structs.replace(results, windows=windows)


def plain(result: Any) -> dict[str, Any]:
    """A result as plain data of its JSON."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(result))
    return found


def renamed(value: Any) -> Any:
    """A recorded result with the names of today."""
    if isinstance(value, list):
        return [renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    names = ((RENAMED_FIELDS.get(name, name), item) for name, item in value.items())
    return {
        name: RENAMED_VALUES.get((name or "", item), item)
        if isinstance(item, str)
        else renamed(item)
        for name, item in names
    }


def differences(was: Any, now: Any, path: str = "") -> Iterator[str]:
    """Where a result of today differs from the recorded one, without sentences."""
    if isinstance(was, dict) and isinstance(now, dict):
        for name in sorted((was.keys() | now.keys()) - SENTENCES - ADDED_FIELDS):
            yield from differences(was.get(name), now.get(name), f"{path}/{name}")
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield f"{path}: {len(was)} items were recorded, there are {len(now)}"
        for i, (one, other) in enumerate(zip(was, now, strict=False)):
            yield from differences(one, other, f"{path}/{i}")
    elif not _equal(was, now):
        yield f"{path}: {was!r} was recorded, it is {now!r}"


def _equal(was: Any, now: Any) -> bool:
    if isinstance(was, float) and isinstance(now, int | float):
        return math.isclose(was, now, rel_tol=_RELATIVE, abs_tol=1e-9)
    return bool(was == now) or (was == KEY_ONLY and now is not None)


def read(path: Path) -> list[Recording]:
    """The recordings of one day."""
    return msgspec.msgpack.decode(lzma.decompress(path.read_bytes()), type=list[Recording])


def main() -> None:
    old, new = Path(sys.argv[1]), Path(sys.argv[2])
    again = [
        msgspec.structs.replace(
            one, results=thinned(fold(SPECS[one.spec], one.partition, one.records))
        )
        for one in read(old)
    ]
    with new.open("xb") as out:
        out.write(lzma.compress(msgspec.msgpack.encode(again), preset=9 | lzma.PRESET_EXTREME))


if __name__ == "__main__":
    main()
