"""What a replay found, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from driftline.replay.columns import Layout
from driftline.replay.episodes import Episode, n_incidents
from driftline.replay.injected import Finding
from driftline.replay.run import Replay

_WEEK_MS: Final = 7 * 24 * 3_600_000


class Comparison(NamedTuple):
    """Episodes that only one of two configurations has."""

    would_have_fired: list[Episode]
    would_have_been_quiet: list[Episode]


def summary(
    replay: Replay, layout: Layout, found: Sequence[Finding], compared: Comparison | None
) -> dict[str, Any]:
    """The last line of ``--json``."""
    n_alerts = len(replay.episodes)
    data: dict[str, Any] = {
        "events": replay.n_events,
        "features": len(layout.features),
        "reference_events": replay.n_reference,
        "episodes": n_alerts,
        "incidents": n_incidents(replay.episodes),
        "alerts_per_million": round(1e6 * n_alerts / replay.n_events, 2),
        "seconds": round(replay.seconds, 2),
    }
    if replay.span_ms:
        data["alerts_per_week"] = round(n_alerts * _WEEK_MS / replay.span_ms, 3)
    if replay.refused:
        data["refused"] = len(replay.refused)
    if found:
        data["injected"] = [one._asdict() for one in found]
    if compared is not None:
        data["would_have_fired"] = len(compared.would_have_fired)
        data["would_have_been_quiet"] = len(compared.would_have_been_quiet)
    return data


def layout_lines(layout: Layout, replay: Replay) -> list[str]:
    """What every column was taken for."""
    by_kind: dict[str, list[str]] = {}
    for feature in layout.features:
        by_kind.setdefault(feature.kind, []).append(feature.column)
    rows = [(kind, ", ".join(by_kind[kind])) for kind in sorted(by_kind)]
    rows += [
        (role, column)
        for role, column in (
            ("time", layout.time), ("prediction", layout.prediction), ("label", layout.label),
        )
        if column is not None
    ]  # fmt: skip
    rows += [(f"not {name}", why) for name, why in layout.ignored.items()]
    rows += [(f"not {layout.column_of(name)}", why) for name, why in replay.profile.skipped.items()]
    width = max((len(head) for head, _ in rows), default=0)
    return [f"  {head:<{width}}  {text}" for head, text in rows]


def episode_lines(episodes: Sequence[Episode]) -> list[str]:
    """One line for each episode."""
    return [
        f"  row {episode.alerted_event:>9,}  {episode.severity:<6}  {episode.kind:<10}  "
        f"{episode.explanation}" + (
            "" if episode.ended_event is None else f"  (over at row {episode.ended_event:,})"
        )
        for episode in episodes
    ]  # fmt: skip


def summary_lines(data: dict[str, Any], replay: Replay) -> list[str]:
    """The summary for people."""
    week = f", {data['alerts_per_week']} per week" if "alerts_per_week" in data else ""
    rate = round(replay.n_events / replay.seconds) if replay.seconds else 0
    lines = [
        (
            f"  {data['events']:,} events of {data['features']} features after a reference of "
            f"{data['reference_events']:,}: {data['episodes']} episodes, "
            f"{data['incidents']} incidents"
        ),
        (
            f"  {data['alerts_per_million']} alerts per million events{week}; "
            f"{data['seconds']} s, {rate:,} events/s"
        ),
    ]
    if replay.refused:
        first = replay.refused[0]
        lines.append(f"  {len(replay.refused):,} rows refused, the first: {first.detail}")
    return lines


def finding_lines(found: Sequence[Finding]) -> list[str]:
    """One line for each injected change."""
    return [
        f"  injected {one.kind} of {one.column} at row {one.first:,}: "
        + ("missed" if one.delay_events is None else f"alert after {one.delay_events:,} rows")
        for one in found
    ]


def comparison_lines(compared: Comparison) -> list[str]:
    """What another configuration would have changed."""
    return [
        *(f"  would have fired: {e.explanation}" for e in compared.would_have_fired),
        *(f"  would have been quiet: {e.explanation}" for e in compared.would_have_been_quiet),
        *(
            ["  the two configurations find the same"]
            if not (compared.would_have_fired or compared.would_have_been_quiet)
            else []
        ),
    ]
