"""The plan of a drill: which event of the log becomes which copy.  Pure."""

from __future__ import annotations

import msgspec

from driftline.offline.injection import Injection, inject, parse
from producer.events import InferenceEvent


def injection_of(text: str, after: int) -> Injection:
    """The change to put in, from the copy with the number ``after`` on.

    Raises:
        ValueError: it is not understood, or names rows of its own.

    >>> injection_of("mean:temp:+1sd", 200).first
    200
    """
    if "@" in text:
        raise ValueError(f"{text!r}: a drill has no rows; --after says when the change comes")
    return parse(f"{text}@{after}")


class DrillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``sd`` is the standard deviation of the injected feature in its reference."""

    model: str
    version: str
    synthetic_model: str
    injection: Injection
    sd: float

    @property
    def after(self) -> int:
        """How many copies stay as they are."""
        return self.injection.first


class SyntheticEventCopier:
    """Numbers the events of the live version as they come, and copies each once.

    The id of a copy is its number, so that no id of the log can be taken for it, nor it for one.
    """

    def __init__(self, plan: DrillPlan) -> None:
        self.plan = plan
        self.n_copies = 0
        self._seen: set[str] = set()

    def copy(self, event: InferenceEvent) -> InferenceEvent | None:
        """The copy of an event; ``None`` of a repeat, and of what is another version's."""
        plan = self.plan
        if (event.model, event.version) != (plan.model, plan.version) or event.id in self._seen:
            return None
        self._seen.add(event.id)
        number = self.n_copies
        self.n_copies += 1
        column = plan.injection.column
        features = event.features
        if column in features:
            value = inject(plan.injection, features[column], number, plan.sd)
            features = {**features, column: value}
        return msgspec.structs.replace(
            event,
            id=f"{plan.synthetic_model}/{number}",
            model=plan.synthetic_model,
            features=features,
        )
