"""Messages between the trainer and the process that scores stored versions."""

from __future__ import annotations

import struct
from typing import IO, Any, Final, TypeAlias

import msgspec

from trainer.evaluation.losses import Metric
from trainer.evaluation.version_swap import SwapPolicy
from trainer.jobs.comparisons import Position

_LENGTH: Final = struct.Struct(">I")


class ScorerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The first message to the scorer process: what it follows.

    ``champions`` are the models with their champions.  A partition without a position is read from
    ``lookback_records`` before its end.  The models ``pools`` are scored whatever
    ``policy.enabled`` is.
    """

    client: dict[str, Any]
    topic: str
    data_dir: str
    shards: int
    lookback_records: int
    max_memory_bytes: int
    policy: SwapPolicy
    metric: Metric | str
    champions: dict[str, str]
    positions: dict[str, list[Position]]
    pools: list[str] = []


class ChampionsChanged(msgspec.Struct, frozen=True, kw_only=True):
    """A later message to the process: models with their champions."""

    champions: dict[str, str]


class ScoredEvents(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Labelled events of a model in the order of their labels, and the losses of stored versions.

    ``before`` and ``after`` are the positions of the partitions whose position moved.  ``before``
    lacks partitions that were not followed before.  ``n_labelled`` counts all labelled events
    between them, ``times_ms`` and ``versions`` have the n that are scored: one loss of each version
    in ``losses``, NaN where it was trained on the event or has no prediction.  ``n_fresh`` of the
    labelled events are later than the rows of the newest stored version, which has ``newest_rows``
    training rows (``None``: unknown).
    """

    model: str
    before: list[Position]
    after: list[Position]
    n_labelled: int = 0
    newest_ms: int = 0
    times_ms: list[int] = []
    versions: list[str] = []
    losses: dict[str, list[float]] = {}
    scale: float = 1.0
    sampled_share: float = 1.0
    newest_version: str = ""
    newest_rows: int | None = None
    n_fresh: int = 0


class ScorerStatus(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A status of the scorer process: lag by partition, and counts since its start.

    ``left_out`` are the stored versions that cannot be scored, with the reason.
    """

    lag: dict[int, int]
    n_scored_versions: dict[str, int]
    n_unlabelled: dict[str, int]
    left_out: dict[str, str]


class ScorerFailed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The last message of a scorer process that ends because of an error."""

    why: str


Message: TypeAlias = ScoredEvents | ScorerStatus | ScorerFailed
_decoder: Final = msgspec.msgpack.Decoder(Message)


def write_message(stream: IO[bytes], message: msgspec.Struct) -> None:
    """Write a message with its length before it."""
    data = msgspec.msgpack.encode(message)
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Read the bytes of a message; ``None`` at the end of the stream."""
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = stream.read(length)
    return data if len(data) == length else None


def read_message(stream: IO[bytes]) -> Message | None:
    """Read a message of the process; ``None`` at its end."""
    data = read_frame(stream)
    return None if data is None else _decoder.decode(data)
