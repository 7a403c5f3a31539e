"""Ascending numbers in few bytes, exactly: order statistics, and known values.

Numbers of few decimals are whole numbers of their last decimal; others are the 64 bits of a float,
in the order of the floats.  Stored are the differences of neighbours, byte by byte of all numbers:
the low bytes are as good as random and stay as they are, the high ones compress well.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_monitor.statistics.fixed_point import Floats

_HEAD: Final = struct.Struct("<BBBBHHQ")
"""Form, decimals or zero bits at the end, low bytes, bytes of one, zeros with a minus, numbers,
and the first number."""
_PLAIN, _DECIMAL, _BITS = 0, 1, 2
_MOST_DECIMALS: Final = 9
_EXACT: Final = float(1 << 53)
_SIGN: Final = np.uint64(1 << 63)
_LIKE_RANDOM: Final = 0.6
"""Bytes with this share of the values that random ones would have do not compress."""
_Words = NDArray[np.uint64]


class PackedValues(NamedTuple):
    """Packed numbers: ``high`` compresses well, ``low`` hardly."""

    high: bytes
    low: bytes


def pack_values(values: bytes) -> PackedValues:
    """Pack little-endian float64 numbers; those that are not ascending stay as they are."""
    n, rest = divmod(len(values), 8)
    floats = np.frombuffer(values, dtype="<f8", count=n)
    if rest or n < 2 or n >> 16 or not bool((floats[1:] >= floats[:-1]).all()):
        return PackedValues(_HEAD.pack(_PLAIN, 0, 0, 0, 0, 0, 0) + values, b"")
    minus_zeros = np.flatnonzero(floats.view(np.uint64) == _SIGN).astype("<u2")
    form, detail, words = _whole_numbers(floats + 0.0)
    steps = np.diff(words)
    n_bytes = (int(steps.max()).bit_length() + 7) // 8
    planes = np.ascontiguousarray(steps.view(np.uint8).reshape(n - 1, 8).T)
    n_low = n_bytes
    while n_low and not _is_like_random(planes[n_low - 1]):
        n_low -= 1
    head = _HEAD.pack(form, detail, n_low, n_bytes, len(minus_zeros), n, int(words[0]))
    high = head + minus_zeros.tobytes() + planes[n_low:n_bytes].tobytes()
    return PackedValues(high, planes[:n_low].tobytes())


def low_size(high: bytes) -> int:
    """The number of low bytes that belong to ``high``.

    Raises:
        ValueError: these are no packed numbers.
    """
    if len(high) < _HEAD.size:
        raise ValueError("packed numbers without their head")
    form, _, n_low, n_bytes, n_zeros, n, _ = _HEAD.unpack_from(high)
    if form == _PLAIN:
        return 0
    fits = form in (_DECIMAL, _BITS) and n > 1 and n_low <= n_bytes <= 8
    if not fits or len(high) != _HEAD.size + 2 * n_zeros + (n_bytes - n_low) * (n - 1):
        raise ValueError("packed numbers of another size")
    return int(n_low * (n - 1))


def unpack_values(high: bytes, low: bytes | memoryview) -> bytes:
    """The bytes that were packed; ``low`` has `low_size`.

    Raises:
        ValueError: these are no packed numbers.
    """
    size = low_size(high)
    form, detail, n_low, n_bytes, n_zeros, n, first = _HEAD.unpack_from(high)
    if form == _PLAIN:
        return bytes(high[_HEAD.size :])
    if len(low) != size or detail > 63:
        raise ValueError("packed numbers of another size")
    steps = np.zeros((n, 8), dtype=np.uint8)
    steps[1:, :n_low] = np.frombuffer(low, dtype=np.uint8).reshape(n_low, n - 1).T
    minus_zeros = np.frombuffer(high, dtype="<u2", offset=_HEAD.size, count=n_zeros)
    high_planes = np.frombuffer(high, dtype=np.uint8, offset=_HEAD.size + minus_zeros.nbytes)
    steps[1:, n_low:n_bytes] = high_planes.reshape(n_bytes - n_low, n - 1).T
    words: _Words = steps.view(np.uint64).ravel()
    words[0] = first
    np.cumsum(words, out=words)
    if form == _DECIMAL:
        floats: Floats = words.view(np.int64) / 10.0**detail
        words = floats.view(np.uint64)
    else:
        signed = words.view(np.int64)
        negative = signed < 0
        np.abs(signed, out=signed)
        words <<= np.uint64(detail)
        words[negative] |= _SIGN
    if n_zeros:
        if int(minus_zeros.max()) >= n:
            raise ValueError("packed numbers of another size")
        words[minus_zeros] = _SIGN
    return words.tobytes()


def _whole_numbers(floats: Floats) -> tuple[int, int, _Words]:
    """The form, its detail, and the floats (n,) as ascending whole numbers (n,)."""
    bits = floats.view(np.uint64)
    decimals = _decimals(floats[:: max(1, len(floats) // 8)].tolist())
    if decimals is not None:
        for digits in range(decimals, _MOST_DECIMALS + 1):
            scale = 10.0**digits
            whole = np.rint(floats * scale)
            if not abs(whole[0]) < _EXACT > abs(whole[-1]):
                break
            if np.array_equal((whole / scale + 0.0).view(np.uint64), bits):
                return _DECIMAL, digits, whole.astype(np.int64).view(np.uint64)
    sizes = bits & ~_SIGN
    zeros = _trailing_zeros(int(np.bitwise_or.reduce(sizes)))
    signed = (sizes >> np.uint64(zeros)).view(np.int64)
    signed[bits > _SIGN] *= -1
    return _BITS, zeros, signed.view(np.uint64)


def _is_like_random(plane: NDArray[np.uint8]) -> bool:
    """Whether bytes (n,) have nearly as many values as random ones."""
    return int(np.count_nonzero(np.bincount(plane))) > _LIKE_RANDOM * min(256, len(plane))


def _decimals(sample: Sequence[float]) -> int | None:
    """The least number of decimals of all numbers of a sample; ``None`` above `_MOST_DECIMALS`."""
    for digits in range(_MOST_DECIMALS + 1):
        scale = 10.0**digits
        if all(abs(x) * scale < _EXACT and round(x * scale) / scale == x for x in sample):
            return digits
    return None


def _trailing_zeros(number: int) -> int:
    """The number of zero bits below the lowest one; 0 without any.

    >>> _trailing_zeros(0), _trailing_zeros(1), _trailing_zeros(40)
    (0, 0, 3)
    """
    return (number & -number).bit_length() - 1 if number else 0
