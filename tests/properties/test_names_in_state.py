"""Names are only names: a log with hostile names gives what the same log with plain ones does."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from producer.events import Event, Label, ModelUpdate, Value
from stream_monitor.ingest.records import ConsumerRecord
from stream_monitor.reference.fit import fit_profile
from stream_monitor.reference.profile import profile_to_data
from stream_monitor.reference.segment_fit import with_segments
from stream_monitor.windows.closed_window import window_key
from tests.builders import inference_event, record_of
from tests.hypothesis_profiles import examples
from tests.properties.name_strategies import NAMES
from tests.properties.partition_logs import run

Six = tuple[str, str, str, str, str, str]
"""Two models, two versions, two features: each model has both versions, each version both."""

PLAIN: Six = ("m", "n", "1", "2", "age", "plan")
law = settings(max_examples=examples(6))


def log_of(names: Six) -> list[ConsumerRecord]:
    """The same values under these names: from event 500 on every age is higher."""
    rng = random.Random(3)  # noqa: S311
    models, versions, (age, plan) = names[:2], names[2:4], names[4:]
    n = 800
    rows: list[dict[str, Value]] = [
        {age: rng.gauss(40 + 30 * (i >= 500), 10), plan: rng.choice(["pro", "pro", "pro", "free"])}
        for i in range(n)
    ]
    columns = {name: [row[name] for row in rows[:500]] for name in (age, plan)}
    made = fit_profile("m", "1", columns, task="binary", origin="training")
    made = with_segments(made, columns, [f"{plan}=pro"])
    assert [segment.value for segment in made.segments] == ["pro"]
    profile = profile_to_data(made)
    events: list[Event] = [
        ModelUpdate(
            id=f"u{i}{j}",
            model=model,
            version=version,
            time_ms=0,
            profile={**profile, "model": model, "version": version},
        )
        for i, model in enumerate(models)
        for j, version in enumerate(versions)
    ]
    for i, row in enumerate(rows):
        for model in models:
            events += [
                inference_event(f"e{i}", row, model=model, version=version, time_ms=i * 1_000)
                for version in versions
            ]
            events.append(Label(id=f"e{i}", model=model, label=1, time_ms=i * 1_000))
    return [record_of(offset, event, 1_000_000) for offset, event in enumerate(events)]


def under(names: Six) -> tuple[Counter[Any], int, int, Any]:
    """The results by plain names: alerts, windows and their keys, counters."""
    back = dict(zip(names, PLAIN, strict=True))
    alerts, dead_letters, windows, state = run(log_of(names), [2_500], restart=True)
    assert not dead_letters
    reported = Counter(
        (
            back[a.model],
            back[a.version],
            back[a.feature or names[4]],
            a.kind,
            a.phase,
            str(a.segment is None),
            str(a.decided_offset),
        )
        for a in alerts
    )
    keys = {window_key("p", w.model, w.version, w.start_ms) for w in windows}
    return reported, len(windows), len(keys), msgspec.json.decode(state)["counters"]


EXPECTED = under(PLAIN)


@law
@given(st.lists(NAMES, min_size=6, max_size=6, unique=True).map(tuple))
@example(("a", "a/1", "1", "a@1", "feature/x", "x~y"))
@example(("m|version|1", "m", "1|meta", "1", "a=b", "a"))
def test_names_change_nothing_but_names(names: Six) -> None:
    assert EXPECTED[0]
    assert under(names) == EXPECTED
