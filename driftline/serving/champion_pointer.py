"""The champion that the records of the models topic announce.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from driftline.topics.topic_reader import Record
from producer.names import escape
from trainer.contracts import ModelVersion

_decoder = msgspec.json.Decoder(ModelVersion)


def latest_champion(records: Iterable[Record], model: str) -> ModelVersion | None:
    """The champion in the last record with the key ``model``; ``None`` without one.

    Records of versions (``model@version``) and other models, deletions and unreadable records are
    skipped: a broken record must not end the service of a model.
    """
    found = None
    key = escape(model).encode()
    for record in records:
        if record.key != key or record.value is None:
            continue
        try:
            announced = _decoder.decode(record.value)
        except msgspec.MsgspecError:
            continue
        if announced.model == model:
            found = announced
    return found
