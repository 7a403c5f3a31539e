"""Topics in memory in place of Kafka's, for commands that read topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import pytest

import driftline.topics.topic_reader
from driftline.topics.topic_reader import MissingTopicError, Record


def use_fake_topics(monkeypatch: pytest.MonkeyPatch, topics: Mapping[str, list[Record]]) -> None:
    """Let `TopicReader` read these; any other topic does not exist."""

    class FakeReader:
        def __init__(self, _client: Mapping[str, Any], topic: str, **_: object) -> None:
            if topic not in topics:
                raise MissingTopicError(topic)
            self.topic = topic
            self._left = list(topics[topic])
            self.partitions = sorted({record.partition for record in self._left}) or [0]

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

        def close(self) -> None:
            pass

        def poll(self, _timeout_s: float) -> list[Record]:
            records, self._left = self._left, []
            return records

        def ends(self) -> dict[int, int]:
            return {p: sum(r.partition == p for r in topics[self.topic]) for p in self.partitions}

        def read_until(self, _enough: Callable[[], bool], **_: object) -> Iterator[Record]:
            yield from self.poll(0.0)

    monkeypatch.setattr(driftline.topics.topic_reader, "TopicReader", FakeReader)


def records(*values: bytes | None, kind: str | None = None) -> list[Record]:
    """One partition's records, with these values."""
    return [Record(0, offset, kind, value, b"m@1") for offset, value in enumerate(values)]
