"""State in parts: each part is encoded by itself, so that a commit writes only what changed.

A component keeps its state in msgspec Structs.  Its ``take_changes`` returns the Structs that
changed since its last call, by name, with ``None`` for a part that no longer exists; its
``restore`` reads them from `StoredParts`, each as the type that it declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any, TypeVar, overload

import msgspec
import numpy as np
from numpy.typing import NDArray


class CorruptState(ValueError):  # noqa: N818 - a finding about data
    """Stored state is invalid: rebuild it from the event topic."""


T = TypeVar("T")


def _plain(value: Any) -> Any:
    """Arrays as lists: small counts take one byte each."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise NotImplementedError


def _array(_of: Any, data: Any) -> NDArray[np.int64]:
    array = np.array(data) if data else np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype != np.int64:
        raise ValueError("not a column of integers")
    return array


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)


@cache
def _decoder(of: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(of, dec_hook=_array)


def encode_part(part: object) -> bytes:
    """Encode a Struct, or plain data; arrays of integers may be fields of it.

    Raises:
        ValueError: an integer does not fit 64 bits.
    """
    try:
        return _encoder.encode(part)
    except OverflowError as error:
        raise ValueError(f"{error}; store larger integers as text") from error


@overload
def decode_part(payload: bytes | memoryview, of: type[T]) -> T: ...
@overload
def decode_part(payload: bytes | memoryview, of: Any = Any) -> Any: ...
def decode_part(payload: bytes | memoryview, of: Any = Any) -> Any:
    """Decode a part as the type ``of``.

    Raises:
        CorruptState: it is no such part.
    """
    try:
        return _decoder(of).decode(payload)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptState(str(error)) from error


def as_type(data: object, of: type[T]) -> T:
    """State inside a part, as the type ``of``: a `msgspec.Raw`, or what was not stored yet."""
    if isinstance(data, msgspec.Raw):
        return decode_part(memoryview(data), of)
    return decode_part(encode_part(data), of)


class StoredParts:
    """The encoded parts of one component, by name."""

    def __init__(self, payloads: Mapping[str, bytes | memoryview]) -> None:
        self.payloads = payloads

    def __contains__(self, name: str) -> bool:
        return name in self.payloads

    def __iter__(self) -> Iterator[str]:
        return iter(self.payloads)

    @overload
    def read(self, name: str, of: type[T]) -> T: ...
    @overload
    def read(self, name: str, of: Any = Any) -> Any: ...
    def read(self, name: str, of: Any = Any) -> Any:
        """Decode a part as the type ``of``.

        Raises:
            CorruptState: it is missing, or no such part.
        """
        payload = self.payloads.get(name)
        if payload is None:
            raise CorruptState(f"the part {name!r} is missing")
        try:
            return decode_part(payload, of)
        except CorruptState as error:
            raise CorruptState(f"{name}: {error}") from error

    def under(self, prefix: str) -> StoredParts:
        """The parts whose names begin with ``prefix``, as the component names them.

        >>> list(StoredParts({"labels|meta": b"", "model": b""}).under("labels|"))
        ['meta']
        """
        cut = len(prefix)
        return StoredParts({n[cut:]: p for n, p in self.payloads.items() if n.startswith(prefix)})

    def by_owner(self, prefix: str) -> dict[str, StoredParts]:
        """The parts named ``prefix``, owner, ``|`` and the rest, by owner.

        >>> found = StoredParts({"model|a|meta": b"", "model|b|meta": b""}).by_owner("model|")
        >>> {owner: list(parts) for owner, parts in found.items()}
        {'a': ['meta'], 'b': ['meta']}
        """
        owners: dict[str, dict[str, bytes | memoryview]] = {}
        for name, payload in self.under(prefix).payloads.items():
            owner, _, rest = name.partition("|")
            owners.setdefault(owner, {})[rest] = payload
        return {owner: StoredParts(payloads) for owner, payloads in owners.items()}


def with_prefix(prefix: str, parts: Mapping[str, T]) -> dict[str, T]:
    """The parts of a component, named as its owner stores them.

    >>> with_prefix("labels|", {"meta": 1})
    {'labels|meta': 1}
    """
    return {f"{prefix}{name}": part for name, part in parts.items()}


class ChangedParts:
    """The names of the stored parts, and which of them the next commit deletes."""

    def __init__(self, stored: Iterable[str] = ()) -> None:
        self._stored = set(stored)
        self._deleted_prefixes: set[str] = set()

    def delete(self, prefix: str) -> None:
        """Delete the stored parts whose names begin with ``prefix``, unless written again."""
        self._deleted_prefixes.add(prefix)

    def encode(self, parts: Mapping[str, object]) -> dict[str, bytes]:
        """The parts to write, encoded; empty bytes delete a stored part.

        ``parts`` changed since the last call; ``None`` is one that no longer exists.
        """
        prefixes = tuple(self._deleted_prefixes)
        gone = {name for name in self._stored if name.startswith(prefixes)} if prefixes else set()
        gone |= {name for name, part in parts.items() if part is None} & self._stored
        encoded = {name: encode_part(part) for name, part in parts.items() if part is not None}
        self._deleted_prefixes.clear()
        self._stored -= gone
        self._stored.update(encoded)
        return dict.fromkeys(sorted(gone), b"") | encoded
