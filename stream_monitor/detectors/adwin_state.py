"""The state of River's ADWIN as validated plain data.

River 0.26 keeps ADWIN in Rust, behind a bincode blob.  Reading a damaged blob *panics*, sometimes
only at a later update, and the panic is no `Exception`; so bytes from outside never reach it.
This struct is stored instead; the blob is rebuilt from it after validation.

Layout of the blob (fixed-size little-endian integers, in the order of the Rust struct)::

    f64 delta, i32 clock, u64 max_buckets, f64 min_window_length, f64 grace_period,
    f64 total, variance, width, total_width, i32 n_buckets, max_n_buckets, tick, n_detections,
    u64 n_rows, then per row: u64 max_buckets, u64 used, u64 slots, f64 totals[slots],
                              u64 slots, f64 variances[slots],
    f64 delta, i32 clock, u64 max_buckets, i32 min_window_length, i32 grace_period

Row i holds buckets of 2^i values each.
"""

from __future__ import annotations

import math
import struct
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec
import numpy as np

from stream_monitor.detectors.river_adwin import ADWIN
from stream_monitor.state_parts import CorruptState
from stream_monitor.statistics.fixed_point import Floats, Ints

LAYOUT: Final = 1
_COMPACT: Final = 2
"""The layout without the variances of single values."""
_CONSTANT: Final = 3
"""The layout of equal values: the total of a bucket of each size."""
_HEAD: Final = struct.Struct("<diQdd4d4iQ")
_ROW_WORDS: Final = 16
_TAIL: Final = struct.Struct("<diQii")
_MAX_ROWS: Final = 48
_TOLERANCE: Final = 1e-6  # of sums of floats that were added in another order
_LARGEST: Final = 1e150  # of numbers whose squares are finite

# River's defaults; only delta and clock are set.
MAX_BUCKETS: Final = 5
MIN_WINDOW_LENGTH: Final = 5
GRACE_PERIOD: Final = 10
_SLOTS: Final = MAX_BUCKETS + 1


class AdwinState(msgspec.Struct, frozen=True, array_like=True):
    """The whole state of an ADWIN, except delta, which follows from the budget.

    ``flagged``: the last update found a change, so the next one starts over.  ``rows`` is the
    number of used buckets per size, ``buckets`` their totals and variances, row by row, as
    little-endian float64.
    """

    layout: int
    clock: int
    flagged: bool
    total: float
    variance: float
    width: float
    total_width: float
    counters: tuple[int, int, int, int]
    rows: tuple[int, ...]
    buckets: bytes


def dump(adwin: ADWIN) -> AdwinState:
    """Read the state of ``adwin``.  Raises CorruptState where River's layout has changed."""
    blob: bytes = adwin._helper.__getstate__()  # noqa: SLF001 - River has no other way to its state
    try:
        delta, clock, n_buckets, window, grace, *floats_counters, n_rows = _HEAD.unpack_from(blob)
        words = np.frombuffer(blob, "<u8", n_rows * _ROW_WORDS, _HEAD.size)
        tail = _TAIL.unpack_from(blob, _HEAD.size + words.nbytes)
    except (struct.error, ValueError) as error:
        raise CorruptState("unknown layout of River's ADWIN state") from error
    rows = tuple(words[1::_ROW_WORDS].tolist())
    if n_rows > _MAX_ROWS or max(rows, default=0) > MAX_BUCKETS:
        raise CorruptState("unknown layout of River's ADWIN state")
    places = _places(rows)
    if (
        words.take(places.lengths).tobytes() != places.lengths_bytes
        or tail != (delta, clock, n_buckets, window, grace)
        or _HEAD.size + words.nbytes + _TAIL.size != len(blob)
    ):
        raise CorruptState("unknown layout of River's ADWIN state")
    if tail[2:] != (MAX_BUCKETS, MIN_WINDOW_LENGTH, GRACE_PERIOD):
        raise CorruptState("ADWIN was not built with the arguments this codec knows")
    total, variance, width, total_width, *counters = floats_counters
    return AdwinState(
        LAYOUT,
        clock,
        bool(adwin._drift_detected),  # noqa: SLF001
        total,
        variance,
        width,
        total_width,
        tuple(counters),
        rows,
        words.take(places.in_blob).tobytes(),
    )


def build(state: AdwinState, delta: float) -> ADWIN:
    """An ADWIN that continues from a state that `check` accepts, with sensitivity ``delta``."""
    if not 0 < delta < 1:
        raise CorruptState(f"ADWIN's delta is {delta}, not between 0 and 1")
    settings = (delta, state.clock, MAX_BUCKETS)
    head = _HEAD.pack(
        *settings,
        float(MIN_WINDOW_LENGTH),
        float(GRACE_PERIOD),
        state.total,
        state.variance,
        state.width,
        state.total_width,
        *state.counters,
        len(state.rows),
    )
    places = _places(state.rows)
    words = np.zeros(len(state.rows) * _ROW_WORDS, dtype="<u8")
    words[places.lengths] = np.frombuffer(places.lengths_bytes, dtype="<u8")
    words[places.in_blob] = np.frombuffer(state.buckets, dtype="<u8")
    words[1::_ROW_WORDS] = state.rows
    tail = _TAIL.pack(*settings, MIN_WINDOW_LENGTH, GRACE_PERIOD)
    adwin = new(delta, state.clock)
    adwin._helper.__setstate__(head + words.tobytes() + tail)  # noqa: SLF001
    adwin._drift_detected = state.flagged  # noqa: SLF001
    return adwin


def adwin_clock(block: int) -> int:
    """Return the blocks between two tests of ADWIN: 32 events, or one block if it is longer."""
    return max(1, 32 // block)


def new(delta: float, clock: int) -> ADWIN:
    """Return an empty ADWIN."""
    return ADWIN(  # type: ignore[no-untyped-call]
        delta=delta,
        clock=clock,
        max_buckets=MAX_BUCKETS,
        min_window_length=MIN_WINDOW_LENGTH,
        grace_period=GRACE_PERIOD,
    )


def check(state: AdwinState) -> None:
    """Raise CorruptState unless shapes, ranges and totals of ``state`` fit together."""
    if state.layout != LAYOUT:
        raise CorruptState(f"ADWIN state of layout {state.layout}; {LAYOUT} is known")
    if not 1 <= state.clock <= 1 << 20:
        raise CorruptState("ADWIN state: impossible clock")
    sums = (state.total, state.variance, state.width, state.total_width)
    if not all(map(math.isfinite, sums)) or min(state.variance, state.total_width) < 0:
        raise CorruptState("ADWIN state: impossible sums")
    if min(state.counters) < 0 or max(state.counters) >= 1 << 31:
        raise CorruptState("ADWIN state: impossible counters")
    rows = state.rows
    if not _possible(rows):
        raise CorruptState("ADWIN state: impossible rows")
    if len(rows) > 1 and not all(rows):
        raise CorruptState("ADWIN state: an empty row")
    if len(state.buckets) != 16 * sum(rows):
        raise CorruptState("ADWIN state: the buckets do not fill the rows")
    if _places(rows).width != state.width:
        raise CorruptState("ADWIN state: the buckets do not add up to the width")
    _check_sums(state)


class _Places(NamedTuple):
    """Where the numbers of a state are, in words of 8 bytes.

    ``width`` is the number of values.  ``kinds`` (k, 2) marks the totals and the variances in
    ``AdwinState.buckets``; ``per_value`` is 1 divided by the size of the bucket of a total, and 0
    for a variance.  These numbers are ``in_blob``, among the rows; ``lengths`` are the others in
    it, with their values.
    """

    width: int
    kinds: Floats
    per_value: Floats
    in_blob: Ints
    lengths: Ints
    lengths_bytes: bytes


@lru_cache(maxsize=1024)
def _places(rows: tuple[int, ...]) -> _Places:
    """Detectors that saw as many blocks share them, unless one found a change."""
    used = np.array(rows, dtype=np.int64)
    is_total = np.tile((True, False), len(rows)).repeat(used.repeat(2))
    row = _ROW_WORDS * np.arange(len(rows))[:, None]
    slots = np.arange(_SLOTS)
    filled = np.tile(slots < used[:, None], 2)
    return _Places(
        sum(n << i for i, n in enumerate(rows)),
        np.column_stack((is_total, ~is_total)).astype(np.float64),
        np.repeat(np.exp2(-np.arange(len(rows), dtype=np.float64)), 2 * used) * is_total,
        (row + np.concatenate((3 + slots, 10 + slots)))[filled],
        (row + np.array((0, 2, 9))).ravel(),
        np.tile(np.array((MAX_BUCKETS, _SLOTS, _SLOTS), dtype="<u8"), len(rows)).tobytes(),
    )


def compact(state: AdwinState) -> AdwinState:
    """The state in fewer bytes; `expand` returns it.

    A bucket of a single value has no variance.  If all values were equal (a feature without
    invalid values), all buckets of a size have one total, and none has a variance.
    """
    buckets, end = state.buckets, 8 * state.rows[0]
    constant = _constant(state)
    if constant is None and buckets[end : 2 * end].strip(b"\0"):
        return state
    return AdwinState(
        _COMPACT if constant is None else _CONSTANT,
        state.clock,
        state.flagged,
        state.total,
        state.variance,
        int(state.width),  # small whole numbers take fewer bytes than a float
        int(state.total_width),
        state.counters,
        state.rows,
        buckets[:end] + buckets[2 * end :] if constant is None else constant,
    )


def _constant(state: AdwinState) -> bytes | None:
    """The total of a bucket of each size; ``None`` unless all values were equal."""
    found, at = b"", 0
    for used in state.rows:
        middle, end = at + 8 * used, at + 16 * used
        total = state.buckets[at : at + 8] if used else b""
        if state.buckets[at:middle] != total * used or state.buckets[middle:end].strip(b"\0"):
            return None
        found, at = found + total, end
    return found


def expand(state: AdwinState) -> AdwinState:
    """The state that was given to `compact`, which `check` has still to accept."""
    rows, buckets = state.rows, state.buckets
    if state.layout not in (_COMPACT, _CONSTANT) or not _possible(rows):
        return state
    if state.layout == _COMPACT:
        end = 8 * rows[0]
        buckets = buckets[:end] + bytes(end) + buckets[end:]
    elif len(buckets) == 8 * sum(map(bool, rows)):
        totals = zip(rows, range(0, 8 * len(rows), 8), strict=True)
        buckets = b"".join(buckets[at : at + 8] * n + bytes(8 * n) for n, at in totals)
    return msgspec.structs.replace(state, layout=LAYOUT, buckets=buckets)


def _possible(rows: tuple[int, ...]) -> bool:
    return 1 <= len(rows) <= _MAX_ROWS and min(rows) >= 0 and max(rows) <= MAX_BUCKETS


def bucket_totals(state: AdwinState) -> list[tuple[float, int]]:
    """Total and size of every bucket, from the oldest to the newest."""
    at, found = 0, []
    for i, used in enumerate(state.rows):  # a row begins with its oldest bucket
        totals = struct.unpack_from(f"<{used}d", state.buckets, at)
        found.append([(total, 1 << i) for total in totals])
        at += 16 * used
    return [bucket for row in reversed(found) for bucket in row]


def _check_sums(state: AdwinState) -> None:
    """Totals and variances of the buckets must give those of the window (Chan et al., 1983)."""
    places, numbers = _places(state.rows), np.frombuffer(state.buckets, dtype="<f8")
    total, within = numbers.dot(places.kinds).tolist()
    absolute, least = np.abs(numbers).dot(places.kinds).tolist()
    # Written so that NaN and overflowed sums are rejected too, before any of them is multiplied.
    if not abs(total - state.total) <= _TOLERANCE * (1.0 + absolute) < math.inf:
        raise CorruptState("ADWIN state: the buckets do not add up to the total")
    if not (within == least < _LARGEST > absolute):
        raise CorruptState("ADWIN state: impossible variances")
    squares = within + float(np.square(numbers).dot(places.per_value))
    variance = squares - total * total / max(1.0, state.width)
    if not abs(variance - state.variance) <= _TOLERANCE * (1.0 + squares) < math.inf:
        raise CorruptState("ADWIN state: the buckets do not add up to the variance")
