"""Laws of the join: any placement, any cut, any restart equals one record at a time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.events import Label
from stream_monitor.labels.join import JoinedLabel, LabelJoin, LabelRow, LabelSpec, Predictions
from stream_monitor.state_parts import StoredParts, encode_part
from tests.builders import PredictionRow, predictions_of
from tests.hypothesis_profiles import examples

CHUNK = 6
HORIZON_MS = 40
WIDE = LabelSpec(horizon_ms=HORIZON_MS, max_pending=10**6, chunk_events=CHUNK)
TIGHT = LabelSpec(horizon_ms=HORIZON_MS, max_pending=5, chunk_events=CHUNK)
TINY = LabelSpec(horizon_ms=HORIZON_MS, max_pending=4, chunk_events=CHUNK)
LARGE = LabelSpec(horizon_ms=HORIZON_MS, max_pending=10**6, chunk_events=40)

Row = PredictionRow | LabelRow
# Hashes over the whole range, so that thinning meets them; few, so that they meet each other.
IDS = st.integers(0, 23).map(lambda i: (i * 0x9E3779B97F4A7C15 + (i << 59)) % (1 << 64))


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    """The records of one model: events and labels in bursts, offsets with holes, time jitters."""
    rows: list[Row] = []
    offset = draw(st.integers(0, 10))
    for kind, size in draw(
        st.lists(
            st.tuples(st.sampled_from(["event", "event", "label", "whole"]), st.integers(1, 14)),
            max_size=8,
        )
    ):
        for _ in range(size):
            offset += draw(st.sampled_from([1, 1, 1, 1, 3]))
            id_hash, time_ms = draw(IDS), offset + draw(st.integers(0, 12))
            if kind == "event":
                rows.append((offset, time_ms, id_hash, draw(st.sampled_from("12")), offset / 10))
                continue
            label = Label(id="x", model="m", label=offset, time_ms=time_ms)
            if kind == "whole":
                label = msgspec.structs.replace(label, version="3", prediction=0.9)
            rows.append((offset, id_hash, label))
    return rows


def split(rows: Sequence[Row]) -> tuple[Predictions, list[LabelRow]]:
    return predictions_of([r for r in rows if len(r) == 5]), [r for r in rows if len(r) == 3]


def fold(
    spec: LabelSpec, rows: Sequence[Row], cuts: Sequence[int], *, restored: bool = False
) -> tuple[list[JoinedLabel], dict[str, bytes], float, int]:
    labels, store = LabelJoin(spec), dict[str, bytes]()
    joined: list[JoinedLabel] = []
    bounds = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    for start, end in pairwise(bounds):
        joined += labels.observe(*split(rows[start:end]))
        for name, part in labels.take_changes().items():
            store.pop(name, None)
            if part is not None:
                store[name] = encode_part(part)
        if restored:
            labels = LabelJoin.restore(spec, StoredParts(store))
    return joined, store, labels.sampling_ratio, labels.counts.labels_sampled_out


@settings(max_examples=examples(250))
@given(logs(), st.lists(st.integers(0, 60), max_size=5), st.sampled_from([WIDE, TIGHT, LARGE]))
def test_joins_do_not_depend_on_batches_nor_on_restarts(
    rows: list[Row], cuts: list[int], spec: LabelSpec
) -> None:
    one_at_a_time = fold(spec, rows, range(len(rows)))
    assert fold(spec, rows, []) == one_at_a_time
    assert fold(spec, rows, cuts) == one_at_a_time
    assert fold(spec, rows, cuts, restored=True) == one_at_a_time


@given(logs())
def test_joins_are_those_of_the_plain_rule(rows: list[Row]) -> None:
    events: dict[int, tuple[int, str, object]] = {}
    early: dict[int, tuple[int, object]] = {}
    watermark_ms = -1
    expected: list[tuple[object, ...]] = []
    for row in rows:
        if len(row) == 5:
            offset, time_ms, id_hash, version, prediction = row
            watermark_ms = max(watermark_ms, time_ms)
            waits = events.get(id_hash)
            if waits is not None and waits[0] + HORIZON_MS > watermark_ms:
                continue
            events.pop(id_hash, None)
            label = early.get(id_hash)
            if label is not None and label[0] + HORIZON_MS > watermark_ms:
                del early[id_hash]
                expected.append((offset, version, time_ms, prediction, label[1]))
            else:
                events[id_hash] = (time_ms, version, prediction)
            continue
        offset, id_hash, truth = row
        waits = events.get(id_hash)
        if truth.version is not None:
            events.pop(id_hash, None)
            expected.append((offset, "3", truth.time_ms, 0.9, truth.label))
        elif waits is not None and waits[0] + HORIZON_MS > watermark_ms:
            del events[id_hash]
            expected.append((offset, waits[1], waits[0], waits[2], truth.label))
        elif id_hash not in early or early[id_hash][0] + HORIZON_MS <= watermark_ms:
            early[id_hash] = (truth.time_ms, truth.label)

    joined = LabelJoin(WIDE).observe(*split(rows))
    assert [
        (x.offset, x.version, x.event_time_ms, x.prediction, x.label) for x in joined
    ] == expected
    assert all(x.delay_ms >= 0 for x in joined)


@given(logs(), st.sampled_from([WIDE, TIGHT, LARGE]))
def test_every_record_is_accounted_for(rows: list[Row], spec: LabelSpec) -> None:
    labels = LabelJoin(spec)
    events, truths = split(rows)
    joined = labels.observe(events, truths)
    of = labels.counts
    paired = of.joined - of.self_contained

    assert of.joined == len(joined)
    # A pair is two records.  A prediction overtaken by a label that brought one along is no pair.
    counted = 2 * paired + of.self_contained + labels.pending + labels.early
    counted += of.expired + of.unmatched + of.repeated
    counted += of.sampled_out + of.labels_sampled_out
    assert 0 <= len(rows) - counted <= of.self_contained
    if spec is TIGHT:
        assert labels.pending + labels.early <= spec.max_pending + CHUNK


@given(logs(), st.lists(st.integers(0, 60), max_size=5))
def test_a_sample_that_shrinks_and_grows_does_not_depend_on_cuts(
    rows: list[Row], cuts: list[int]
) -> None:
    idle = [(1_000 + 10 * CHUNK * i, 1_000 + 100 * i, i, "1", 0.5) for i in range(8)]
    log = [*rows, *idle]

    one_at_a_time = fold(TINY, log, range(len(log)))
    assert fold(TINY, log, cuts) == one_at_a_time
    assert fold(TINY, log, cuts, restored=True) == one_at_a_time
    assert one_at_a_time[2] == 1  # the flood is over


@given(logs())
def test_thinning_loses_labels_but_never_changes_one(rows: list[Row]) -> None:
    """Of predictions that are there once: a repeated one may take the place of a lost one."""
    first = {row[2]: row for row in reversed(rows) if len(row) == 5}
    rows = [row for row in rows if len(row) == 3 or first[row[2]] is row]
    all_joined = {(x.offset, x.label): x for x in LabelJoin(WIDE).observe(*split(rows))}
    for joined in LabelJoin(TIGHT).observe(*split(rows)):
        full = all_joined.get((joined.offset, joined.label))
        assert full is None or full == joined
