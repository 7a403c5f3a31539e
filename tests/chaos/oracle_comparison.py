"""The result of a run compared with the oracle: numbers of lost, repeated and differing items."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from producer.cloudevents import ce_type_of
from producer.events import CE_TYPE_OF, Tick, Topology
from stream_monitor.core.counters import Counters
from stream_monitor.state.codec import decode_state
from tests.integration.monitor_harness import MonitorHarness, ce_id
from tests.integration.oracle import Found
from tests.integration.read_topic import read_topic

_COUNTERS = "s:counters"
_BY_MONITOR = (CE_TYPE_OF[Tick], CE_TYPE_OF[Topology])
"""Records that no producer was promised to keep: workers append them."""


class OracleComparison(NamedTuple):
    """The numbers of compared records and alerts, and the differences.

    ``repeats`` are alerts that were published again under the same id and with the same bytes,
    which is allowed.  ``differing`` names what state mismatches are about.
    """

    events: int = 0
    alerts: int = 0
    events_lost: int = 0
    alerts_lost: int = 0
    phantom_alerts: int = 0
    duplicate_effects: int = 0
    state_mismatches: int = 0
    repeats: int = 0
    differing: tuple[str, ...] = ()

    @property
    def wrong(self) -> int:
        """How much is wrong in all."""
        return (
            self.events_lost
            + self.alerts_lost
            + self.phantom_alerts
            + self.duplicate_effects
            + self.state_mismatches
        )

    def plus(self, other: OracleComparison) -> OracleComparison:
        """Both together."""
        pairs: Any = zip(self, other, strict=True)
        return OracleComparison(*(mine + theirs for mine, theirs in pairs))


def compare_with_oracle(harness: MonitorHarness, acknowledged: int) -> OracleComparison:
    """Re-read every topic from its beginning and compare.

    ``acknowledged`` is how many records the broker has promised to keep.
    """
    found, expected = harness.found(), harness.oracle()
    written, by_monitor = Counter[int | None](), 0
    for message in harness.log():
        written[message.partition()] += 1
        by_monitor += ce_type_of(message) in _BY_MONITOR
    counted = {p: _counted(fields) for p, fields in found.state.items()}
    alerts = read_topic(harness.broker, harness.topics.alerts)
    bodies: dict[str, set[bytes]] = {}
    for message in alerts:
        bodies.setdefault(ce_id(message), set()).add(message.value() or b"")
    missing = {p: written[p] - n for p, n in counted.items()}
    differing = mismatches(found, expected)
    return OracleComparison(
        events=written.total(),
        alerts=len(expected.alerts),
        events_lost=max(0, acknowledged - (written.total() - by_monitor))
        + sum(max(0, n) for n in missing.values())
        + len(expected.dead_letters - found.dead_letters),
        alerts_lost=len(expected.alerts - found.alerts),
        phantom_alerts=len(found.alerts - expected.alerts),
        duplicate_effects=sum(max(0, -n) for n in missing.values())
        + sum(len(values) - 1 for values in bodies.values()),
        state_mismatches=len(differing),
        repeats=len(alerts) - len(bodies),
        differing=tuple(differing),
    )


def mismatches(found: Found, expected: Found) -> list[str]:
    """Names of what is not as it should be: fields, windows, figures, alerts, dead letters."""
    names = [
        f"{partition}/{field}"
        for partition in expected.state.keys() | found.state.keys()
        for field in _different(found.state.get(partition, {}), expected.state.get(partition, {}))
    ]
    names += sorted(found.windows ^ expected.windows)
    both = found.bodies.keys() & expected.bodies.keys()
    names += sorted(name for name in both if found.bodies[name] != expected.bodies[name])
    names += sorted(
        key for key, figures in expected.figures.items() if found.figures.get(key) != figures
    )
    return names + sorted(found.dead_letters - expected.dead_letters)


def _different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    return [name for name in one.keys() | other.keys() if one.get(name) != other.get(name)]


def _counted(fields: dict[str, bytes]) -> int:
    """Records of a partition that are in its state, each under one heading."""
    if _COUNTERS not in fields:
        return 0
    return decode_state("monitor", fields[_COUNTERS], Counters).records
