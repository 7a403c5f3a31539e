"""Labels that stop, or come later, by how they usually come: false alarms, and how soon it is told.

``.venv/bin/python -m tests.benchmarks.late_labels [--weeks 26] [--seeds 2]``

Predictions come 20 a minute on average, by day and night and weekend as in
`tests.benchmarks.silence_detection`; every fifth gets a label.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Literal

import numpy as np

from stream_monitor.checks.delay_history import log_delay
from stream_monitor.checks.label_delay import LabelDelayCheck
from stream_monitor.checks.traffic_bucket import TrafficBucket
from stream_monitor.contracts import DriftAlert
from stream_monitor.episodes.alert import alert_of
from stream_monitor.episodes.finding import EventPosition
from stream_monitor.ingest.batch import Floats, Ints
from tests.benchmarks.silence_detection import ARL0_EVENTS, DAY, SOURCE, SPEC, WEEK, Traffic

Way = Literal["one by one", "hourly job", "nightly job", "job on working days"]
WAYS: tuple[Way, ...] = ("one by one", "hourly job", "nightly job", "job on working days")
SHARE = 0.2
BEFORE = 5 * WEEK + DAY + 720


def known_at(way: Way, rng: np.random.Generator, born: Ints) -> Floats:
    """The minute in which the label of a prediction of the minute ``born`` (n,) is known."""
    if way == "one by one":
        soon: Floats = born + rng.lognormal(np.log(120), 1.0, len(born))
        return soon
    every = 60 if way == "hourly job" else DAY
    runs = np.arange(born.max() // every + 9) * every + (120 if every == DAY else 0)
    if way == "job on working days":
        runs = runs[runs // DAY % 7 < 5]
    starts = runs + rng.gamma(2.0, 10.0 if every == DAY else 2.0, len(runs))
    which = np.searchsorted(runs, born + 30)
    return np.asarray(starts[which] + rng.uniform(0, 20 if every == DAY else 5, len(born)))


def alerts_of(
    way: Way, seed: int, weeks: int, *, stops: int | None = None, late_by: int = 0
) -> Iterator[DriftAlert]:
    """What is said; labels stop in minute ``stops``, or come ``late_by`` later from `BEFORE` on."""
    rng = np.random.default_rng(seed)
    events = Traffic(20.0).counts(rng, weeks)
    born = np.repeat(np.arange(len(events)), rng.binomial(events, SHARE))
    known = known_at(way, rng, born)
    known = np.where(known >= BEFORE, known + late_by, known) if late_by else known
    kept = known < (len(events) if stops is None else stops)
    minutes = known[kept].astype(np.int64)
    waited = (known[kept] - born[kept]).tolist()
    logs = np.array([log_delay(round(minute * 60_000)) for minute in waited], dtype=np.int64)
    labels = np.bincount(minutes, minlength=len(events)).tolist()
    sums = np.zeros(len(events), dtype=np.int64)
    np.add.at(sums, minutes, logs)
    flow, last, ms = LabelDelayCheck(SPEC), 0, SPEC.bucket_ms
    for i, (n, m, total) in enumerate(zip(events.tolist(), labels, sums.tolist(), strict=True)):
        last = i if m else last
        bucket = TrafficBucket(
            SOURCE,
            i,
            True,  # noqa: FBT003
            n,
            m,
            total,
            m,
            EventPosition(i, i * ms),
            EventPosition(i + 1, (i + 1) * ms),
            (i + 1) * ms,
            EventPosition(i, i * ms),
            i * ms,
            EventPosition(last, last * ms),
            last * ms,
            ARL0_EVENTS,
        )
        yield from map(alert_of, flow.observe(bucket))


def told(alerts: Iterator[DriftAlert], channel: str, after: int) -> str:
    """The first alert of a channel after a minute: how long after, and what it says."""
    for alert in alerts:
        if alert.phase == "started" and alert.channel == channel and alert.decided_offset > after:
            return f"{(alert.decided_offset - after) / 60:5.1f} h  {alert.explanation}"
    return "not in 9 days"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=26)
    parser.add_argument("--seeds", type=int, default=1)
    args = parser.parse_args()
    print(f"false alarms in {args.seeds} x {args.weeks} weeks")
    for way in WAYS:
        alerts = [a for s in range(args.seeds) for a in alerts_of(way, s, args.weeks)]
        started = [a for a in alerts if a.phase == "started"]
        print(f"  {way:<20} {len(started)}", *(f"\n      {a.explanation}" for a in started))
    for way in WAYS:
        print(f"  {way}")
        print(f"    stops        {told(alerts_of(way, 7, 7, stops=BEFORE), 'outage', BEFORE)}")
        late = alerts_of(way, 7, 7, late_by=DAY)
        print(f"    a day late   {told(late, 'delay', BEFORE)}", flush=True)


if __name__ == "__main__":
    main()
