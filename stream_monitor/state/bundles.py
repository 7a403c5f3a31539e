"""A commit of more fields than one write can carry: bundles first, single fields afterwards.

One write moves state and offset together, and takes `MAX_PAIRS` fields.  A larger commit writes
*bundles*: fields that each hold many others.  From then on a bundle's values win over the single
fields of the same name.  Before the next commit they are written as single fields, in as many
writes as it takes, and then the bundles die, all at the same offset: whoever dies in between
leaves a hash that reads the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from stream_monitor.errors import CorruptState
from stream_monitor.state.envelope import open_, seal
from stream_monitor.state.store import BUNDLED, MAX_PAIRS

BUNDLE: Final = "b:"
"""Prefix of the fields that hold bundles."""
FIELDS: Final = 250
"""Fields in a bundle: one write takes 3,500 of them."""
_KIND: Final = "bundle"


class Carried(NamedTuple):
    """What lies in bundles and is not written as single fields yet."""

    fields: Mapping[str, bytes] = {}
    bundles: tuple[str, ...] = ()


class Stored(NamedTuple):
    """Fields of a hash as they count, without the dead ones; and what of it is bundled."""

    fields: dict[str, bytes]
    carried: Carried


def pack(fields: Mapping[str, bytes]) -> tuple[dict[str, bytes], Carried]:
    """What one write can carry, and what has to be spread after it.

    >>> pack({"s:a": b"1"})
    ({'s:a': b'1'}, Carried(fields={}, bundles=()))
    >>> written, carried = pack({f"s:{i}": b"1" for i in range(3_501)})
    >>> len(written), len(carried.bundles), len(carried.fields)
    (16, 15, 3501)
    """
    if len(fields) <= MAX_PAIRS:
        return dict(fields), Carried()
    written = {f"{BUNDLE}{i}": seal(_KIND, part) for i, part in enumerate(_parts(fields, FIELDS))}
    carried = Carried(dict(fields), tuple(written))
    return {**written, BUNDLED: b"1"}, carried


def spread(carried: Carried) -> Iterator[dict[str, bytes]]:
    """The writes, in this order, after which nothing is bundled."""
    yield from _parts(carried.fields, MAX_PAIRS)
    if carried.bundles:
        yield {**dict.fromkeys(carried.bundles, b""), BUNDLED: b""}


def unpack(stored: Mapping[str, bytes]) -> Stored:
    """Fields of a hash as they count.

    Raises:
        CorruptState: a bundle does not read back.
    """
    fields = {name: value for name, value in stored.items() if not name.startswith(BUNDLE)}
    bundled: dict[str, bytes] = {}
    names = tuple(n for n, value in stored.items() if n.startswith(BUNDLE) and value)
    for name in names:
        bundled |= _bundle(name, stored[name])
    alive = {name: value for name, value in (fields | bundled).items() if value}
    return Stored(alive, Carried(bundled, names))


def _bundle(name: str, blob: bytes) -> dict[str, bytes]:
    part: Any = open_(_KIND, blob)
    if not isinstance(part, dict) or not all(
        isinstance(field, str) and isinstance(value, bytes) for field, value in part.items()
    ):
        raise CorruptState(f"{name}: no bundle of fields")
    return part


def _parts(fields: Mapping[str, bytes], size: int) -> Iterator[dict[str, bytes]]:
    pairs = iter(fields.items())
    while part := dict(islice(pairs, size)):
        yield part
