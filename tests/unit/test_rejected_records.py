"""Rejected records of a model are one episode that names it, its producer, a reason, an example."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from producer.codec import encode
from producer.events import CE_TYPE_OF, Command, Event, Label, ModelUpdate, Tick
from stream_monitor.checks.rejected_records import (
    DAY_MS,
    MAX_ROWS,
    MAX_SOURCES,
    MIN_RECORDS,
    SPAN_MS,
)
from stream_monitor.checks.traffic_spec import TrafficSpec
from stream_monitor.contracts import UNKNOWN_MODEL, DeadLetter, DriftAlert
from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.core.spec import MonitorSpec
from stream_monitor.ingest.records import ConsumerRecord, RecordBatch, StaticHeaders
from tests.builders import batch_of, inference_event
from tests.hypothesis_profiles import examples

START_MS = 1_800_000_000_000
SVC = "/svc/scorer"
SPEC = MonitorSpec()


class Log:
    """A partition that is written to; ``at_s`` is the append clock."""

    def __init__(self) -> None:
        self.records: list[ConsumerRecord] = []
        self.at_s = 0.0

    def add(
        self, value: bytes, kind: str | None = None, key: str | None = None, source: str = SVC
    ) -> None:
        headers = [("ce_source", source.encode())] if source else []
        now_ms = START_MS + round(1000 * self.at_s)
        self.records.append(
            ConsumerRecord(
                len(self.records),
                now_ms,
                kind,
                value,
                None if key is None else key.encode(),
                StaticHeaders(headers),
            )
        )

    def event(self, event: Event, **sent: Any) -> None:
        self.add(encode(event), CE_TYPE_OF[type(event)], **sent)

    def good(self, model: str = "fraud", n: int = 1, every_s: float = 0.0) -> None:
        for _ in range(n):
            self.at_s += every_s
            now_ms = START_MS + round(1000 * self.at_s)
            event_id = f"g{len(self.records)}"
            self.event(inference_event(event_id, {"x": 1.0}, model=model, time_ms=now_ms))

    def bad(
        self, key: str | None = "fraud", n: int = 1, every_s: float = 0.0, source: str = SVC
    ) -> None:
        for _ in range(n):
            self.at_s += every_s
            self.add(b'{"id": 1}', key=key, source=source)

    def tick(self, after_s: float) -> None:
        self.at_s += after_s
        self.event(Tick(time_ms=START_MS + round(1000 * self.at_s)))


def fold(
    records: Sequence[ConsumerRecord],
    cuts: Sequence[int] = (),
    *,
    restart: bool = False,
    spec: MonitorSpec = SPEC,
) -> tuple[PartitionMonitor, list[DriftAlert], list[DeadLetter]]:
    monitor = PartitionMonitor("log", 0, spec)
    alerts: list[DriftAlert] = []
    dead_letters: list[DeadLetter] = []
    parts: dict[str, bytes] = {}
    for start, end in itertools.pairwise([0, *sorted(cuts), len(records)]):
        if restart and parts:
            monitor = PartitionMonitor.restore("log", 0, spec, parts)
        seen = monitor.observe(RecordBatch("log", 0, "e", start, end, list(records[start:end])))
        alerts += [alert for alert in seen.alerts if alert.cause == "rejected"]
        dead_letters += seen.dead_letters
        parts |= monitor.take_changes()
        parts = {name: part for name, part in parts.items() if part}
    return monitor, alerts, dead_letters


def phases(alerts: Sequence[DriftAlert]) -> list[tuple[str, int]]:
    return [(alert.phase, alert.decided_offset) for alert in alerts]


def test_a_thousand_rejected_records_are_one_episode_and_other_models_continue() -> None:
    log = Log()
    for _ in range(1_000):
        log.bad(every_s=0.01)
        log.good("churn")
    log.bad("churn", n=3)  # so few are no news
    monitor, alerts, dead_letters = fold(log.records)
    assert (len(dead_letters), monitor.counters.valid) == (1_003, 1_000)
    started = alerts[0]
    assert (started.phase, started.kind, started.model) == ("started", "quality", "fraud")
    assert (started.series, started.version) == ("rejected/invalid_event", "-")
    assert started.severity == "high"
    assert (started.onset_offset, started.decided_offset) == (0, 2 * (MIN_RECORDS - 1))
    for text in ("5 records were rejected (invalid_event)", SVC, "offset 8", "at `$.id`"):
        assert text in started.explanation
    assert phases(alerts[1:]) == [("ongoing", 98), ("ongoing", 998)]  # ten times as many each
    assert "500 records" in alerts[2].explanation
    assert {alert.model for alert in alerts} == {"fraud"}
    assert {dead_letter.model for dead_letter in dead_letters} == {"fraud", "churn"}


@pytest.mark.parametrize(
    ("good", "bad", "severity"),
    [(400, 4, None), (1_000, 6, None), (400, 5, "low"), (40, 5, "medium"), (1, 5, "high")],
)
def test_it_takes_five_and_a_hundredth_of_the_records(
    good: int, bad: int, severity: str | None
) -> None:
    log = Log()
    log.bad()  # the span begins with the first one
    for _ in range(good - 1):
        log.good()
    for _ in range(bad - 1):
        log.good(n=1 if bad > 4 else 0)
        log.bad()
    alerts = fold(log.records)[1]
    assert [alert.severity for alert in alerts] == ([] if severity is None else [severity])


def test_a_slow_model_of_which_each_record_is_rejected() -> None:
    """One record every hour: the fifth in a row, whatever time they took."""
    log = Log()
    for _ in range(6):
        log.bad(every_s=3_600)
        log.tick(60)
    assert phases(fold(log.records)[1]) == [("started", 8)]


def test_it_recovers_when_records_are_accepted_again() -> None:
    log = Log()
    log.bad(n=20, every_s=1)
    log.good(n=4, every_s=1)
    log.tick(SPAN_MS / 1000)  # long enough without rejections, but four records prove nothing
    log.good()
    log.bad()
    log.good(n=5)
    _, alerts, _ = fold(log.records)
    assert phases(alerts) == [("started", 4), ("recovered", 25)]
    assert "20 were, the last one at 15 Jan 2027" in alerts[1].explanation


def test_a_producer_that_is_gone_for_a_day_ends_it() -> None:
    log = Log()
    log.bad(n=5)
    log.tick(DAY_MS / 1000 - 1)
    log.tick(1)
    assert phases(fold(log.records)[1]) == [("started", 4), ("recovered", 6)]


def test_hardly_any_in_a_span_ends_it_too() -> None:
    log = Log()
    log.bad(n=50)
    for _ in range(5):  # one in ten minutes, of a thousand
        log.good(n=1_000, every_s=0.61)
        log.bad()
    ends = [alert.phase for alert in fold(log.records)[1]]
    assert ends == ["started", "ongoing", "recovered"]


@pytest.mark.parametrize(
    ("record", "model", "reason"),
    [
        ({"value": b"\xff", "key": "fraud/3"}, "fraud", "malformed_json"),
        ({"value": b"\xff", "key": "fraud"}, "fraud", "malformed_json"),
        ({"value": b"\xff", "key": None}, UNKNOWN_MODEL, "malformed_json"),
        ({"value": b"\xff", "key": "a\nb"}, UNKNOWN_MODEL, "malformed_json"),
        ({"value": b'{"model": "fraud"}', "key": None}, "fraud", "invalid_event"),
        ({"value": b'{"model": "churn"}', "key": "fraud"}, "fraud", "invalid_event"),
        ({"value": b"{}", "key": "fraud", "kind": "io.else.v1"}, "fraud", "unknown_kind"),
        (
            {"value": b'{"id":"","model":"churn","label":1,"time_ms":0}', "key": "fraud"},
            "churn",
            "empty_id",
        ),
        (
            {"value": b'{"id":"a","model":"\x7f","label":1,"time_ms":0}', "key": "fraud"},
            "fraud",
            "name",
        ),
        (
            {
                "value": b'{"id":"a","model":"churn","label":1,"time_ms":9999999999999}',
                "key": "fraud",
            },
            "churn",
            "future",
        ),
    ],
)
def test_which_model_a_record_counts_for(record: dict[str, Any], model: str, reason: str) -> None:
    log = Log()
    log.add(**record)
    dead_letter = fold(log.records)[2][0]
    assert (dead_letter.model, dead_letter.reason, dead_letter.source) == (model, reason, SVC)


def test_a_control_record_that_cannot_be_applied_counts_as_rejected() -> None:
    log = Log()
    for n in range(MIN_RECORDS):
        log.event(
            Command(
                id=f"c{n}",
                model="fraud",
                action="resolve",
                episode="none",
                actor="ann",
                time_ms=START_MS,
            )
        )
    (alert,) = fold(log.records)[1]
    assert (alert.series, alert.decided_offset) == ("rejected/unknown_episode", 4)


def test_people_acknowledge_snooze_and_resolve_it() -> None:
    log = Log()
    log.bad(n=5)
    episode = fold(log.records)[1][0].episode_id

    def command(action: Any, **more: Any) -> None:
        log.event(
            Command(
                id=action,
                model="fraud",
                action=action,
                episode=episode,
                actor="ann",
                time_ms=START_MS,
                **more,
            )
        )

    command("acknowledge")
    log.bad(n=45)
    command("snooze", until_ms=START_MS + 60_000)
    log.bad(n=450)
    log.tick(61)
    command("resolve")
    log.bad(n=4)
    log.good()
    monitor, alerts, dead_letters = fold(log.records)
    assert [alert.phase for alert in alerts] == [
        "started",
        "acknowledged",
        "ongoing",
        "snoozed",
        "ongoing",
        "resolved",
    ]
    assert alerts[2].acknowledged_by == "ann"
    assert "after the snooze" in alerts[4].explanation
    assert alerts[4].suppressed == 1
    assert monitor.counters.suppressed == 1
    assert len(dead_letters) == 504
    log.bad(n=5)
    assert fold(log.records)[1][-1].phase == "started"


def test_all_is_bounded_whatever_a_producer_makes_up() -> None:
    log = Log()
    for n in range(4 * MAX_ROWS):
        log.bad(f"made-up-{n}", n=1, source=f"/made/up/{n}")
        log.bad("fraud", n=1, source=f"/made/up/{n}")
    monitor, alerts, dead_letters = fold(log.records)
    rows = {(row.model, row.reason): row for row in monitor.rejected.rows()}
    assert len(rows) <= MAX_ROWS + 1
    assert sum(row.total for row in rows.values()) == len(dead_letters)
    fraud = rows["fraud", "invalid_event"]
    assert fraud.total == 4 * MAX_ROWS
    assert len(fraud.sources) <= MAX_SOURCES + 1
    assert sum(fraud.sources.values()) == fraud.total
    assert {alert.model for alert in alerts} == {"fraud"}
    log = Log()
    for n in range(2 * MAX_ROWS):
        log.bad(f"made-up-{n}", n=MIN_RECORDS)
    monitor, alerts, _ = fold(log.records)
    assert sum(alert.phase == "started" for alert in alerts) == MAX_ROWS + 1
    assert alerts[-1].model == UNKNOWN_MODEL


def test_text_of_a_producer_is_escaped_in_the_sentence() -> None:
    log = Log()
    log.bad(n=5, source="\x1b[2J\u202e" + "x" * 500)
    (alert,) = fold(log.records)[1]
    assert alert.explanation.isprintable()
    assert len(alert.explanation) < 500


def test_time_passes_while_all_is_rejected() -> None:
    """A model of which nothing is accepted any more is silent, although records come."""
    log = Log()
    log.good(n=90, every_s=60)
    log.bad(n=60, every_s=60)
    monitor, _, _ = fold(log.records, spec=MonitorSpec(traffic=TrafficSpec(baseline_ms=3_600_000)))
    assert monitor.counters.append_clock_ms == log.records[-1].timestamp_ms
    assert monitor.levels()["fraud@1", "events"] == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["bad", "bad churn", "bad unknown", "good", "good churn", "label", "tick"]),
        st.integers(1, 8),
        st.sampled_from([0.0, 0.1, 30.0, 650.0, 90_000.0]),
    ),
    max_size=30,
)


@settings(max_examples=examples(60))
@given(STEPS, st.lists(st.integers(0, 120), max_size=4), st.booleans())
def test_the_cuts_of_batches_and_restarts_change_nothing(
    steps: list[tuple[str, int, float]],
    cuts: list[int],
    restart: bool,  # noqa: FBT001
) -> None:
    log = Log()
    for what, n, every_s in steps:
        if what.startswith("bad"):
            key = {"bad": "fraud", "bad churn": "churn/1"}.get(what)
            log.bad(key, n=n, every_s=every_s, source="" if key is None else SVC)
        elif what.startswith("good"):
            log.good("churn" if "churn" in what else "fraud", n=n, every_s=every_s)
        elif what == "label":
            log.event(Label(id=f"l{len(log.records)}", model="fraud", label=1, time_ms=START_MS))
        else:
            log.tick(every_s)
    inside = sorted({cut for cut in cuts if cut < len(log.records)})
    whole, cut = fold(log.records), fold(log.records, inside, restart=restart)
    assert cut[1:] == whole[1:]
    assert cut[0].rejected.rows() == whole[0].rejected.rows()
    episodes: dict[str, list[str]] = {}
    for alert in whole[1]:
        episodes.setdefault(alert.episode_id, []).append(alert.phase)
    for found in episodes.values():
        assert found[0] == "started"
        assert "recovered" not in found[:-1]


DAYS_MS = 24 * 3_600_000


def test_each_control_record_is_recorded_with_its_user_and_outcome() -> None:
    log = Log()
    log.bad(n=5)
    episode = fold(log.records)[1][0].episode_id

    def command(name: str, **of: Any) -> None:
        given = {"action": "acknowledge", "episode": episode} | of
        log.event(
            Command(id=name, model="fraud", actor="ann", time_ms=START_MS, **given),
            source="/driftline/alerts",
        )

    command("a")
    command("a")
    command("b", episode="none")
    command("c", action="snooze", until_ms=START_MS + 8 * DAYS_MS)
    command("d", action="snooze", until_ms=START_MS + 7 * DAYS_MS)
    log.add(b"{", CE_TYPE_OF[Command])
    log.event(ModelUpdate(id="u", model="fraud", version="1", time_ms=START_MS))
    monitor = PartitionMonitor("log", 0, SPEC)
    seen = monitor.observe(batch_of(log.records, "log"))
    noted = {one.offset: (one.kind, one.actor, one.outcome) for one in seen.controls}
    assert noted == {
        5: ("Command", "ann", "applied"),
        6: ("Command", "ann", "repeat"),
        7: ("Command", "ann", "rejected: unknown_episode"),
        8: (CE_TYPE_OF[Command], "", "rejected: snooze_too_long"),
        9: ("Command", "ann", "applied"),
        10: (CE_TYPE_OF[Command], "", "rejected: malformed_json"),
        11: ("ModelUpdate", "", "applied"),
    }
    assert {one.source for one in seen.controls} == {"/driftline/alerts", SVC}
    (dead_letter,) = [one for one in seen.dead_letters if one.reason == "snooze_too_long"]
    assert "192 h from now; max_snooze_ms allows 168 h" in dead_letter.detail
