"""The report of a live model, on the output of a monitor that ran in this process."""

from __future__ import annotations

from html import escape, unescape

import msgspec
import pytest

from driftline.report.document import MAX_ROWS, Document, render
from driftline.report.model_document import model_document
from stream_monitor.settings import Settings
from tests.unit.offline_dashboard import (
    HOSTILE_FEATURE,
    HOSTILE_MODEL,
    NOW_MS,
    SETTINGS,
    OfflineObserver,
    OfflineReadModel,
    observe_log,
)
from tests.unit.self_contained import assert_self_contained

DAY_MS = 86_400_000


@pytest.fixture(scope="module")
def hostile() -> OfflineObserver:
    return observe_log(HOSTILE_MODEL, HOSTILE_FEATURE)


def report_of(observer: OfflineObserver, since_ms: int = 7 * DAY_MS) -> Document:
    read = OfflineReadModel(observer, Settings(**SETTINGS))
    document = model_document(read, HOSTILE_MODEL, since_ms, NOW_MS)
    assert document is not None
    return document


def test_the_report_has_every_episode_decision_and_feature(hostile: OfflineObserver) -> None:
    page = render(report_of(hostile))
    texts = "".join(assert_self_contained(page).texts)

    for alert in hostile.current.alerts:
        if alert.phase == "started":  # also those that belong to no incident
            assert alert.explanation.replace("`", "") in texts
    for event in hostile.current.retrains:
        assert event.reason.replace("`", "") in texts
    assert "too small to matter" in page
    assert "One feature has changed" in page
    assert "in no incident" in page
    for name in (HOSTILE_FEATURE, "age", "plan"):
        assert f"<td>{escape(name, quote=False)}</td>" in page.replace("&#34;", '"')
        assert name in texts
    assert HOSTILE_FEATURE not in page
    assert HOSTILE_MODEL in unescape(page)
    assert page.count('class="histogram"') == 4  # three features and the prediction
    assert page.count('class="lines"') == 5  # error, events, and the drift of three features


def test_the_range_ends_with_the_newest_event_and_leaves_out_what_is_older(
    hostile: OfflineObserver,
) -> None:
    whole, part = report_of(hostile), report_of(hostile, 2 * 3_600_000)
    events = [dict(one.compared)["Events"] for one in (whole, part)]
    n_whole, n_part = (int(text.partition(" ")[0].replace(",", "")) for text in events)

    assert 0 < n_part < n_whole
    assert n_part <= 2 * 180 + 30  # one event each 20 s, in windows of 10 min


def test_an_ended_episode_before_the_range_is_not_in_the_report(hostile: OfflineObserver) -> None:
    [first, *_] = [a for a in hostile.current.alerts if a.phase == "started"]
    ended = msgspec.structs.replace(
        first,
        alert_id="end",
        phase="recovered",
        decided_ms=first.decided_ms + 1,
        decided_offset=first.decided_offset + 1,
    )
    seen = msgspec.structs.replace(hostile.current, alerts=[first, ended], retrains=[])
    observer = OfflineObserver(hostile.state, seen, hostile.detail(HOSTILE_MODEL))
    whole, part = report_of(observer), report_of(observer, 3_600_000)

    assert len(whole.tables[0].rows) == 1
    assert part.tables[0].rows == []
    assert "No episode in this range." in render(part)


def test_an_unknown_model_has_no_report(hostile: OfflineObserver) -> None:
    read = OfflineReadModel(hostile, Settings(**SETTINGS))
    assert model_document(read, "none", DAY_MS, NOW_MS) is None


def test_rows_that_are_left_out_are_counted(hostile: OfflineObserver) -> None:
    document = report_of(hostile)
    row = document.tables[0].rows[0]
    many = document.tables[0]._replace(rows=[row] * (MAX_ROWS + 7))
    page = render(document._replace(tables=[many]))

    assert page.count('<td class="sentence">') == MAX_ROWS
    assert "7 more rows are not shown." in page
