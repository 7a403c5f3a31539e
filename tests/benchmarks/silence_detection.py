"""Silence and volume on traffic with days, weeks and moods: false alarms and delays.

``.venv/bin/python -m tests.benchmarks.silence_detection [--weeks 26] [--streams 4]``

Counts of a minute: ten times as many by day as by night, half as many on weekends; each day, and
each few hours, has a level of its own (10 % sd each), and each minute varies more than Poisson's.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from stream_monitor.checks.event_volume import EventVolumeCheck
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.finding import AlertSource, EventPosition
from stream_monitor.ingest.batch import Floats, Ints

DAY = 1_440
WEEK = 7 * DAY
SPEC = TrafficSpec()
SOURCE = AlertSource("log", 0, "model", "1")
WITHIN = 2 * DAY
CHANGES = (0.0, 0.1, 0.5, 2.0)
ARL0_EVENTS = 50 * 1_000_000.0  # one alert a million events, 50 detectors


@dataclass(frozen=True)
class Traffic:
    """``per_minute`` on average; the rest are standard deviations, as shares of the level."""

    per_minute: float
    of_day: float = 0.1
    of_hours: float = 0.1
    of_minute: float = 0.3
    night: float = 0.1
    weekend: float = 0.5
    open_from: int = 0
    open_to: int = 24
    growth_a_week: float = 0.01

    def counts(self, rng: np.random.Generator, weeks: int) -> Ints:
        """Events of each minute, shape (weeks * 10,080,)."""
        minutes = np.arange(weeks * WEEK)
        by_day = 0.5 - 0.5 * np.cos(2 * np.pi * (minutes % DAY) / DAY)
        level = self.night + (1 - self.night) * by_day**1.5
        level *= np.where(minutes // DAY % 7 >= 5, self.weekend, 1.0)
        hour = minutes % DAY // 60
        level *= (hour >= self.open_from) & (hour < self.open_to)
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
    "20 a minute, moody": Traffic(20.0, of_day=0.2, of_hours=0.2),
    "20 a minute, calm": Traffic(20.0, of_day=0.03, of_hours=0.03, of_minute=0.1),
    "20 a minute, working hours": Traffic(20.0, weekend=0.0, open_from=7, open_to=19),
    "1,000 a minute": Traffic(1_000.0),
}


def alerts_of(
    counts: Ints, flow: EventVolumeCheck | None = None, first: int = 0
) -> Iterator[DriftAlert]:
    """The alert after these minutes, if any; an alert's offset is the minute."""
    flow = EventVolumeCheck(SPEC) if flow is None else flow
    last = first
    for i, n in enumerate(counts.tolist(), start=first):
        last = i if n else last
        yield from map(alert_of, flow.observe(bucket(i, n, last)))


def bucket(i: int, n_events: int, last: int) -> TrafficBucket:
    """Minute ``i`` is over."""
    ms = SPEC.bucket_ms
    return TrafficBucket(
        SOURCE,
        i,
        True,  # noqa: FBT003
        n_events,
        0,
        0,
        0,
        EventPosition(i, i * ms),
        EventPosition(i + 1, (i + 1) * ms),
        (i + 1) * ms,
        EventPosition(last, last * ms),
        last * ms,
        EventPosition(0, 0),
        0,
        ARL0_EVENTS,
    )


def false_alarms(traffic: Traffic, seed: int, weeks: int) -> list[DriftAlert]:
    """Episodes where nothing changes but what the calendar and chance change."""
    counts = traffic.counts(np.random.default_rng(seed), weeks)
    return [alert for alert in alerts_of(counts) if alert.phase == "started"]


def delays(traffic: Traffic, seed: int, at: int, factors: Sequence[float]) -> list[int | None]:
    """Minutes from a change of the level in minute ``at`` to its alert, by factor."""
    counts = traffic.counts(np.random.default_rng(seed), at // WEEK + 1)
    flow = EventVolumeCheck(SPEC)
    open_before = {a.episode_id: a.phase for a in alerts_of(counts[:at], flow)}
    if "started" in open_before.values():
        return [None for _ in factors]  # a false alarm is open: no other alert would be sent
    state = flow.snapshot()
    found: list[int | None] = []
    for factor in factors:
        rng = np.random.default_rng(seed)
        usual = counts[at : at + WITHIN]
        changed = rng.binomial(usual, factor) if factor <= 1 else rng.poisson(usual * factor)
        flow = EventVolumeCheck(SPEC)
        flow.restore(copy.deepcopy(state))
        reported = (a for a in alerts_of(changed, flow, at) if a.phase == "started")
        first = next(reported, None)
        found.append(None if first is None else first.decided_offset - at)
    return found


def delay_text(found: Sequence[int | None]) -> str:
    """Median and longest of delays, and how many changes raised no alert."""
    known = sorted(each for each in found if each is not None)
    text = f"{median(known):.0f}, {known[-1]}" if known else "-"
    missed = len(found) - len(known)
    return f"{text}; {missed} of {len(found)} not in 2 days" if missed else text


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--streams", type=int, default=1)
    args = parser.parse_args()
    print(f"false alarms in {args.streams} x {args.weeks} weeks")
    for name, traffic in STREAMS.items():
        reported = [a for s in range(args.streams) for a in false_alarms(traffic, s, args.weeks)]
        print(f"  {name:<30} {len(reported)}", flush=True)
        for a in reported:
            print(f"      day {a.decided_offset / DAY:6.2f}  {a.channel:<8} {a.explanation}")
    print("minutes until the alert: median, longest")
    for when, at in (("noon", 3 * WEEK + DAY + 720), ("1 a.m.", 3 * WEEK + DAY + 60)):
        for name, traffic in STREAMS.items():
            by_seed = [delays(traffic, 100 + s, at, CHANGES) for s in range(2 * args.streams)]
            for factor, found in zip(CHANGES, zip(*by_seed, strict=True), strict=True):
                print(f"  {name:<30} {when:<7} x {factor:<4} {delay_text(found)}", flush=True)


if __name__ == "__main__":
    main()
