"""The champion that the records of the models topic announce, and the version to score as shadow.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from driftline.topics.topic_reader import Record
from producer.names import escape
from trainer.contracts import ModelVersion

_decoder = msgspec.json.Decoder(ModelVersion)


class AnnouncedVersions:
    """The champion of ``model`` and its stored versions, as of the records read so far.

    Records of other models and unreadable records are skipped: a broken record must not end the
    service of a model.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        self.champion: ModelVersion | None = None
        self._stored: dict[str, ModelVersion] = {}
        self._key = escape(model).encode()

    def read(self, records: Iterable[Record]) -> ModelVersion | None:
        """Apply the next records; returns the champion that the last of them announces, if any."""
        found: ModelVersion | None = None
        for record in records:
            key = record.key or b""
            if key != self._key and not key.startswith(self._key + b"@"):
                continue
            announced = _decoded(record.value)
            if announced is None:
                if record.value is None and key != self._key:
                    self._forget(key)
            elif announced.model != self.model:
                continue
            elif key == self._key:
                self.champion = found = announced
            elif key == announced.version_key.encode():
                self._stored[announced.version] = announced
        return found

    def shadow(self) -> ModelVersion | None:
        """The newest stored version other than the champion; ``None`` without a champion."""
        champion = self.champion
        if champion is None:
            return None
        others = [one for one in self._stored.values() if one.version != champion.version]
        return max(others, key=lambda one: (one.time_ms, one.version), default=None)

    def _forget(self, key: bytes) -> None:
        for version, one in list(self._stored.items()):
            if one.version_key.encode() == key:
                del self._stored[version]


def _decoded(value: bytes | None) -> ModelVersion | None:
    try:
        return None if value is None else _decoder.decode(value)
    except msgspec.MsgspecError:
        return None
