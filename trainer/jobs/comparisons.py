"""The comparison of stored versions with the champion, and its position, in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

from trainer.evaluation.version_swap import SwapState
from trainer.evaluation.vote import VoteState
from trainer.jobs.database import read_only


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """The position of a model in one partition of the event topic.

    Labelled events whose later record is below ``next_offset`` are counted.  From ``reread_offset``
    on the partition is read again after a restart, so that later labels find their events.
    """

    partition: int
    next_offset: int
    reread_offset: int


class Growth(msgspec.Struct, kw_only=True):
    """Labelled events since the newest stored version.

    ``rows`` are its training rows, and those that a retrain for growth was requested with since;
    ``n_asked`` of these were new then.  ``starts`` are the offsets by partition from which such a
    retrain reads.
    """

    version: str = ""
    rows: int | None = None
    n_fresh: int = 0
    starts: dict[int, int] = {}
    n_asked: int = 0


class Comparison(msgspec.Struct, kw_only=True):
    """The state of one model: the swap test of the present champion, the growth, and the vote.

    ``champion_cause`` is the cause of the promotion since which versions are compared.
    ``n_labelled`` counts all labelled events, ``n_scored`` those that were compared.  There is a
    vote in mode ``pool``.
    """

    champion_cause: str
    swap: SwapState
    growth: Growth
    n_labelled: int = 0
    n_scored: int = 0
    vote: VoteState | None = None


class Standing(NamedTuple):
    """The comparison of a stored version with the champion.

    ``improvement`` is how much lower its loss is on average over ``labelled_events``; ``wealth`` is
    the evidence of the swap test.
    """

    champion: str
    labelled_events: int
    improvement: float
    wealth: float


def find_comparison(rows: sqlite3.Connection, model: str) -> Comparison | None:
    """Return the comparison of a model; ``None`` before the first labelled event."""
    found = rows.execute("SELECT state FROM comparisons WHERE model = ?", (model,)).fetchone()
    return None if found is None else msgspec.json.decode(found[0], type=Comparison)


def save_comparison(rows: sqlite3.Connection, model: str, comparison: Comparison) -> None:
    """Record the comparison of a model."""
    rows.execute(
        "INSERT INTO comparisons VALUES (?, ?)"
        " ON CONFLICT (model) DO UPDATE SET state = excluded.state",
        (model, msgspec.json.encode(comparison)),
    )


def label_positions(rows: sqlite3.Connection, model: str) -> list[Position]:
    """Return the recorded positions of a model, by partition."""
    found = rows.execute(
        "SELECT partition, next_offset, reread_offset FROM label_positions WHERE model = ?"
        " ORDER BY partition",
        (model,),
    ).fetchall()
    return [Position(partition=p, next_offset=n, reread_offset=r) for p, n, r in found]


def move_positions(
    rows: sqlite3.Connection, model: str, before: Iterable[Position], after: Iterable[Position]
) -> bool:
    """Move the positions of a model; return False, and move none, unless they are ``before``."""
    known = {position.partition: position for position in label_positions(rows, model)}
    expected = {position.partition: position for position in before}
    moved = list(after)
    if any(known.get(p.partition) != expected.get(p.partition) for p in moved):
        return False
    rows.executemany(
        "INSERT INTO label_positions VALUES (?, ?, ?, ?)"
        " ON CONFLICT (model, partition) DO UPDATE SET"
        " next_offset = excluded.next_offset, reread_offset = excluded.reread_offset",
        [(model, p.partition, p.next_offset, p.reread_offset) for p in moved],
    )
    return True


def read_standing(data_dir: Path, model: str, version: str) -> Standing | None:
    """Return the standing of a version, from a data directory opened read-only.

    ``None``: it was not compared with the present champion yet, or it is the champion.

    Raises:
        sqlite3.Error: the trainer's file cannot be read.
    """
    with read_only(data_dir) as rows:
        found = None if rows is None else find_comparison(rows, model)
    if found is None or not found.swap.n_compared.get(version):
        return None
    n_events = found.swap.n_compared[version]
    wealth = found.swap.wealth[version]
    improvement = found.swap.sum_difference[version] / n_events
    return Standing(found.swap.champion, n_events, improvement, sum(wealth) / len(wealth))


def read_pool_weights(data_dir: Path, model: str) -> tuple[str, dict[str, float]] | None:
    """Return the version name of the pool in service, and the weights of its members.

    ``None``: one version serves alone.

    Raises:
        sqlite3.Error: the trainer's file cannot be read.
    """
    with read_only(data_dir) as rows:
        found = None if rows is None else find_comparison(rows, model)
    if found is None or found.vote is None or found.vote.weights.keys() == {found.vote.champion}:
        return None
    return found.vote.champion, found.vote.weights


def read_position(data_dir: Path, model: str, partition: int) -> int:
    """Return how far a partition's labelled events of a model are compared; 0 before the first.

    Raises:
        sqlite3.Error: the trainer's file cannot be read.
    """
    with read_only(data_dir) as rows:
        positions = [] if rows is None else label_positions(rows, model)
    return next((p.next_offset for p in positions if p.partition == partition), 0)


def forget_positions(rows: sqlite3.Connection) -> None:
    """Delete all positions: the event topic was recreated."""
    rows.execute("DELETE FROM label_positions")
