"""Silence and volume on traffic with days, weeks and moods: false alarms, and how soon it is told.

``.venv/bin/python -m tests.benchmarks.silence [--weeks 26] [--streams 4]``

Counts of a minute: ten times as many by day as by night, half as many on weekends; each day, and
each few hours, has a level of its own (15 % sd each), and each minute varies more than Poisson's.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np

from stream_monitor.alerts.traffic import Source
from stream_monitor.contracts import DriftAlert
from stream_monitor.ingest.batch import Floats, Ints
from stream_monitor.traffic.slot import Slot
from stream_monitor.traffic.spec import VolumeSpec
from stream_monitor.watched.event_flow import EventFlow

DAY = 1_440
WEEK = 7 * DAY
SPEC = VolumeSpec()
SOURCE = Source("log", 0, "model", "1")
ARL0_EVENTS = 50 * 1_000_000.0  # one alert a million events, 50 detectors
HOLIDAYS = 0.0


@dataclass(frozen=True)
class Traffic:
    """``per_minute`` on average; the rest are standard deviations, as shares of the level."""

    per_minute: float
    of_day: float = 0.15
    of_hours: float = 0.15
    of_minute: float = 0.3
    night: float = 0.1
    weekend: float = 0.5
    growth_a_week: float = 0.01

    def counts(self, rng: np.random.Generator, weeks: int) -> Ints:
        """Events of each minute, shape (weeks * 10,080,)."""
        minutes = np.arange(weeks * WEEK)
        by_day = 0.5 - 0.5 * np.cos(2 * np.pi * (minutes % DAY) / DAY)
        level = self.night + (1 - self.night) * by_day**1.5
        level *= np.where(minutes // DAY % 7 >= 5, self.weekend, 1.0)
        level *= (1 + self.growth_a_week) ** (minutes / WEEK)
        mean = level[:WEEK].mean()
        level *= np.repeat(np.exp(rng.normal(0, self.of_day, weeks * 7)), DAY)
        level *= np.exp(self.of_hours * self._slow(rng, len(minutes)))
        if self.of_minute:
            shape = 1 / self.of_minute**2
            level *= rng.gamma(shape, 1 / shape, len(minutes))
        counts: Ints = rng.poisson(level * self.per_minute / mean)
        return counts

    @staticmethod
    def _slow(rng: np.random.Generator, n: int, minutes: float = 120.0) -> Floats:
        """A first-order autoregression that forgets within two hours, of unit variance."""
        keep = np.exp(-1 / minutes)
        noise = rng.normal(0, np.sqrt(1 - keep**2), n)
        out = np.empty(n)
        value = rng.normal()
        for i in range(n):
            value = keep * value + noise[i]
            out[i] = value
        return out


STREAMS = {
    "one an hour": Traffic(1 / 60),
    "one in 5 min": Traffic(0.2),
    "2 a minute": Traffic(2.0),
    "20 a minute": Traffic(20.0),
    "20 a minute, calm": Traffic(20.0, of_day=0.03, of_hours=0.03, of_minute=0.1),
    "20 a minute, closed at night": Traffic(20.0, night=0.0),
    "1,000 a minute": Traffic(1_000.0),
}


def alerts_of(counts: Ints, flow: EventFlow | None = None, first: int = 0) -> Iterator[DriftAlert]:
    """What is said of these minutes; an alert's offset is the minute."""
    flow = EventFlow(SPEC) if flow is None else flow
    last = first
    for i, n in enumerate(counts.tolist(), start=first):
        last = i if n else last
        yield from flow.close(slot(i, n, last), SOURCE)


def slot(i: int, n_events: int, last: int) -> Slot:
    """Minute ``i`` is over."""
    ms = SPEC.slot_ms
    return Slot(
        i, True, n_events, 0, 0, 0, (i, i * ms), (i + 1, (i + 1) * ms), (i + 1) * ms,  # noqa: FBT003
        (last, last * ms), last * ms, (0, 0), 0, ARL0_EVENTS,
    )  # fmt: skip


def false_alarms(traffic: Traffic, seed: int, weeks: int) -> list[DriftAlert]:
    """Episodes where nothing changes but what the calendar and chance change."""
    counts = traffic.counts(np.random.default_rng(seed), weeks)
    return [alert for alert in alerts_of(counts) if alert.phase == "started"]


def delay(traffic: Traffic, seed: int, factor: float, at: int, within: int = 2 * DAY) -> int | None:
    """Minutes from a change of the level by ``factor`` in minute ``at`` to its alert."""
    rng = np.random.default_rng(seed)
    counts = traffic.counts(rng, at // WEEK + 2)[: at + within]
    counts[at:] = rng.poisson(counts[at:] * factor) if factor > 1 else rng.binomial(
        counts[at:], factor
    )  # fmt: skip
    for alert in alerts_of(counts):
        if alert.phase == "started" and alert.decided_offset > at:
            return alert.decided_offset - at
    return None


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--streams", type=int, default=3)
    args = parser.parse_args()
    print(f"false alarms in {args.streams} x {args.weeks} weeks")
    for name, traffic in STREAMS.items():
        told = [a for s in range(args.streams) for a in false_alarms(traffic, s, args.weeks)]
        print(f"  {name:<30} {len(told)}", *(f"\n      {a.decided_offset / DAY:7.2f} d {a.channel:<8}{a.explanation}" for a in told[:9]))
    noon, night = 5 * WEEK + DAY + 12 * 60, 5 * WEEK + DAY + 60
    for what, factor in (("silence", 0.0), ("a tenth", 0.1), ("halved", 0.5), ("doubled", 2.0)):
        for when, at in (("noon", noon), ("1 a.m.", night)):
            print(f"minutes until told, {what} at {when}: median, longest")
            for name, traffic in STREAMS.items():
                found = [delay(traffic, 100 + s, factor, at) for s in range(2 * args.streams)]
                known = sorted(f for f in found if f is not None)
                missed = len(found) - len(known)
                text = f"{median(known):.0f}, {known[-1]}" if known else "-"
                print(f"  {name:<30} {text}" + (f", {missed} of {len(found)} missed in 2 days" if missed else ""))


if __name__ == "__main__":
    main()
