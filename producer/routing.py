"""Topics, keys and partitions of records.

A label must be in the partition of its prediction.  All writers of driftline therefore choose the
partition as the Java client does; librdkafka's default partitioner differs.
"""

from __future__ import annotations

import zlib
from functools import lru_cache
from typing import Final

import msgspec

from producer.names import escape, unescape

METADATA_REFRESH_MS: Final = 5_000
"""How soon writers learn of new partitions.  With librdkafka's default of five minutes they would
keep writing to a model's old partition."""

MAX_PARTITIONS: Final = 100_000
MAX_SHARDS: Final = 1_024


class Topics(msgspec.Struct, frozen=True, kw_only=True):
    """The topics of one installation."""

    events: str
    alerts: str
    dead_letters: str
    retrain: str
    models: str


def topic_names(prefix: str = "driftline") -> Topics:
    """Return the topics under a prefix.

    >>> topic_names("acme").alerts
    'acme.alerts.v1'
    """
    return Topics(
        events=f"{prefix}.events.v1",
        alerts=f"{prefix}.alerts.v1",
        dead_letters=f"{prefix}.dead-letters.v1",
        retrain=f"{prefix}.retrain.v1",
        models=f"{prefix}.models.v1",
    )


def key_of(model: str, event_id: str, shards: int = 1) -> str:
    """Return the key of a record: the model, or one of its shards.

    A model whose traffic needs several partitions has shards; the event id chooses one.  The name
    is escaped, so a model called ``fraud/3`` is not a shard of ``fraud``.

    >>> key_of("fraud", "e1"), key_of("fraud", "e1", shards=4), key_of("fraud/3", "e1")
    ('fraud', 'fraud/3', 'fraud%2F3')
    """
    key = escape(model)
    return key if shards == 1 else f"{key}/{zlib.crc32(event_id.encode()) % shards}"


def keys_of(model: str, shards: int = 1) -> list[str]:
    """Return all keys of a model.

    >>> keys_of("fraud"), keys_of("fraud", 2)
    (['fraud'], ['fraud/0', 'fraud/1'])
    """
    key = escape(model)
    return [key] if shards == 1 else [f"{key}/{shard}" for shard in range(shards)]


def placed_keys(model: str, shards: int = 1) -> list[str]:
    """Return all possible keys of a model's events, also from servers without its shards.

    >>> placed_keys("fraud"), placed_keys("fraud", 2)
    (['fraud'], ['fraud', 'fraud/0', 'fraud/1'])
    """
    return keys_of(model) if shards == 1 else [*keys_of(model), *keys_of(model, shards)]


def model_of_key(key: bytes | None) -> str | None:
    """Return the model that a record's key names; ``None`` if it names none.

    >>> model_of_key(b"fraud/3"), model_of_key(b"fraud%2F3"), model_of_key(bytes([255]))
    ('fraud', 'fraud/3', None)
    """
    try:
        return unescape((key or b"").decode().partition("/")[0]) or None
    except UnicodeDecodeError:
        return None


def shard_of(key: bytes) -> tuple[str, int] | None:
    """Return the model and the shard that a key names; ``None`` if it names no shard.

    >>> shard_of(b"fraud/3"), shard_of(b"fraud"), shard_of(b"fraud%2F3")
    (('fraud', 3), None, None)
    """
    model, slash, number = key.rpartition(b"/")
    if not slash or not model or not number.isdigit() or len(number) > 4:
        return None
    shard = int(number)
    if shard >= MAX_SHARDS:
        return None
    try:
        return unescape(model.decode()), shard
    except UnicodeDecodeError:
        return None


def partitions_of_model(model: str, shards: int, n_partitions: int) -> list[int]:
    """Return the partitions of a model's records, sorted.

    >>> partitions_of_model("m", 1, 4) == [partition_of("m", 4)]
    True
    """
    return sorted({partition_of(key, n_partitions) for key in keys_of(model, shards)})


def murmur2(data: bytes) -> int:
    """Return Kafka's hash of a key: MurmurHash2, 32 bits, seed 0x9747b28c, as a signed integer.

    >>> murmur2(b"21"), murmur2(b"abc")
    (-973932308, 479470107)
    """
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) // 4 * 4
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


@lru_cache(maxsize=65_536)
def partition_of(key: str, n_partitions: int) -> int:
    """Return the partition of a key, as the Java client's default partitioner chooses it.

    >>> partition_of("flights-late", 4) == (murmur2(b"flights-late") & 0x7FFFFFFF) % 4
    True
    """
    return (murmur2(key.encode()) & 0x7FFFFFFF) % n_partitions
