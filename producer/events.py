"""The contract of the event topic, ``driftline.events.v1``: the kinds of records in it.

Only records of a partition change the state of that partition, so the state is a function of its
records.  A record is one of six kinds: a value that decodes as an inference event is one, and the
CloudEvents header ``ce_type`` names the kind of any other (`producer.codec`):

==================  =====================================================================
`InferenceEvent`    one prediction of a model, with its inputs
`Label`             the ground truth of one prediction, known later
`ModelUpdate`       a new version of a model, with its reference profile
`Command`           a person's decision (acknowledge, snooze, resolve), or a drill's end (forget)
`Tick`              time passes; the owner of a partition without records writes it
`Topology`          the number of partitions, and of shards of each model; the owner of each
                    partition and ``driftline topics grow`` write it on each change
==================  =====================================================================

New fields have defaults, types never change, and readers skip unknown fields.  Any other change
is a new version of the kind.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

Value: TypeAlias = float | int | str | bool | None
"""One feature's value.  ``None`` is a missing value."""

MAX_RECORD_BYTES: Final = 8 << 20
"""Maximum size of a record of the event topic; common hosted brokers accept as much."""
MAX_EVENT_BYTES: Final = 8_000_000
"""Maximum size of an event as JSON; the `ModelUpdate` of a wide model comes near."""

Prediction: TypeAlias = float | int | str | bool | list[Any] | dict[str, Any] | None
"""A number, a class name, a map of class to probability, or several numeric outputs (a list, or a
map by name).  ``None``, NaN and any other JSON value are an invalid prediction.  An event without
a prediction has ``UNSET``."""


class InferenceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One prediction of a model and its inputs.

    ``id`` joins the label; ``time_ms`` is event time in Unix milliseconds, UTC.  Without
    ``prediction`` an event has only inputs.  ``shadow``: the prediction was not used; the event of
    the version that answered the request has the same id, and the features, which may be empty
    here.
    """

    id: str
    model: str
    version: str
    time_ms: int
    features: dict[str, Value]
    prediction: Prediction | msgspec.UnsetType = msgspec.UNSET
    segment: dict[str, str] | None = None
    shadow: bool = False

    @property
    def prediction_or_none(self) -> Prediction:
        """The prediction; ``None`` if it is invalid or missing."""
        return None if self.prediction is msgspec.UNSET else self.prediction


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ground truth of the prediction with the same ``id``.

    A label that contains ``version`` and ``prediction`` needs no join.  ``label`` may be any JSON
    value; one that cannot be compared with a prediction is counted.
    """

    id: str
    model: str
    label: Any
    time_ms: int
    version: str | None = None
    prediction: Prediction | None = None


class ModelUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a model goes into service.  ``profile`` is its `ReferenceProfile` as plain data.

    ``moved_from`` is set on a copy for a new partition of the model, after a `Topology` change: it
    is the partition that has the original.  A copy puts no version into service.  It takes effect
    only if the version has no reference, or one learned from its first events.  ``champion`` of a
    copy: the version is the champion in the original partition; it becomes the champion here
    unless another one is known.
    """

    id: str
    model: str
    version: str
    time_ms: int
    profile: dict[str, Any] | None = None
    artifact_sha256: str | None = None
    caused_by: str | None = None
    moved_from: int | None = None
    champion: bool = False


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A person's decision about an episode; ``until_ms`` ends a snooze.

    ``forget`` concerns a synthetic model (`producer.synthetic`) and no episode: the monitor deletes
    the model's state.
    """

    id: str
    model: str
    action: Literal["acknowledge", "snooze", "resolve", "forget"]
    episode: str
    actor: str
    time_ms: int
    until_ms: int | None = None
    reason: str = ""


class Tick(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A record that advances the append clock of an idle partition.  A repeat has no effect."""

    time_ms: int


class Topology(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The placement of models from this record on: the partition of each key.

    ``shards`` has the models with more than one shard.  ``generation`` counts the changes of the
    whole topic; a partition applies only a higher one than it knows.  ``before`` is the placement
    that this one replaces, as (partitions, shards), if the writer knows it: a new partition has no
    earlier record.
    """

    id: str
    time_ms: int
    generation: int
    partitions: int
    shards: dict[str, int] = {}
    before: tuple[int, dict[str, int]] | None = None


Event: TypeAlias = InferenceEvent | Label | ModelUpdate | Command | Tick | Topology

CE_TYPE_OF: Final[dict[type[msgspec.Struct], str]] = {
    InferenceEvent: "io.driftline.inference.v1",
    Label: "io.driftline.label.v1",
    ModelUpdate: "io.driftline.model-update.v1",
    Command: "io.driftline.command.v1",
    Tick: "io.driftline.tick.v1",
    Topology: "io.driftline.topology.v1",
}
EVENT_OF_CE_TYPE: Final[dict[str, type[msgspec.Struct]]] = {
    name: kind for kind, name in CE_TYPE_OF.items()
}
