"""The contract of the log: everything that may be written to ``driftline.events.v1``.

Whatever changes the state of a partition is a record in that partition, so that the state is a
pure fold of the log.  A record is one of six kinds, named by the CloudEvents header ``ce_type``:

==================  =====================================================================
`InferenceEvent`    what a model predicted, and from what
`Label`             the ground truth of one prediction, known later
`ModelUpdate`       a new version of a model, with the reference profile it was trained on
`Command`           what a person decides: acknowledge, snooze, resolve; a drill's end: forget
`Tick`              time passes: written by the owner of a partition that had no record
`Topology`          the event topic has so many partitions, and models so many shards: written by
                    the owner of each partition, and by ``driftline topics grow``, on each change
==================  =====================================================================

New fields have defaults, types never change, unknown fields are skipped; anything else is a new
version of the kind.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

Value: TypeAlias = float | int | str | bool | None
"""One feature's value.  ``None`` is a missing value."""

MAX_RECORD_BYTES: Final = 8 << 20
"""Of a record of the log, which is as large as common hosted brokers let it be."""
MAX_EVENT_BYTES: Final = 8_000_000
"""Of an event as JSON; a `ModelUpdate` with the profile of a wide model comes near."""

Prediction: TypeAlias = float | int | str | bool | list[Any] | dict[str, Any] | None
"""A number, a class name, a map of class to probability, or several numeric outputs (a list, or a
map of names that holds no probabilities).  ``None`` is an invalid prediction, like one that is not
a number, and anything else that JSON may hold; an event without a prediction is another thing."""


class InferenceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a model predicted.  ``id`` joins the label; ``time_ms`` is event time (Unix, UTC).

    Without ``prediction`` an event has inputs alone.
    """

    id: str
    model: str
    version: str
    time_ms: int
    features: dict[str, Value]
    prediction: Prediction | msgspec.UnsetType = msgspec.UNSET
    segment: dict[str, str] | None = None

    @property
    def prediction_or_none(self) -> Prediction:
        """The prediction; ``None`` where it is invalid, or there is none."""
        return None if self.prediction is msgspec.UNSET else self.prediction


class Label(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The ground truth of the prediction with the same ``id``.

    With ``version`` and ``prediction`` inside, it needs no join.  A label may be anything JSON;
    what is no value cannot be compared, and is counted.
    """

    id: str
    model: str
    label: Any
    time_ms: int
    version: str | None = None
    prediction: Prediction | None = None


class ModelUpdate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version goes into service.  ``profile`` is its `ReferenceProfile` as plain data.

    With ``moved_from`` it is the copy of a reference that another partition holds, written where
    the events of the model belong since a `Topology` changed.  It puts no version into service,
    and takes effect only where the version has no reference, or made one of its first events.
    Where it is the ``champion`` of that partition, it is so here, unless another one is known.
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

    ``forget`` is about a whole model, the shadow of a drill (`producer.synthetic`), and no
    episode: its state goes, and its place is free.
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
    """Time passes on an idle partition.  Repeats are harmless."""

    time_ms: int


class Topology(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The placement of models from here on: which partition holds the events of which key.

    ``shards`` names the models that have more than one.  ``generation`` counts the changes over
    the whole topic; a partition takes only a higher one than it knows.  ``before`` is the placement
    that this one replaces, as (partitions, shards), where the writer knows it: a new partition was
    not there to see it.
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
