"""Which champion the models topic announces: a fold of its records.  Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from driftline.topics.topic_reader import Record
from producer.names import escape
from trainer.contracts import ModelVersion

_decoder = msgspec.json.Decoder(ModelVersion)


def latest_champion(records: Iterable[Record], model: str) -> ModelVersion | None:
    """The champion that the last record under the key ``model`` names; ``None`` if there is none.

    Records of versions (``model@version``), of other models, deletions and what cannot be read are
    passed over: a broken record must not take a served model away.
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
