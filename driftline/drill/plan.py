"""The plan of a drill: which live event becomes which copy.  Pure."""

from __future__ import annotations

import msgspec

from driftline.offline.injection import Injection, inject, parse
from producer.events import InferenceEvent


def injection_of(text: str, after: int) -> Injection:
    """The change to inject, from copy number ``after`` on.

    Raises:
        ValueError: the text has another form, or names rows.

    >>> injection_of("mean:temp:+1sd", 200).first
    200
    """
    if "@" in text:
        raise ValueError(f"{text!r}: a drill has no rows; --after sets the start of the change")
    return parse(f"{text}@{after}")


class DrillPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The synthetic model of a drill, and the change to inject.

    ``sd`` is the standard deviation of the injected feature in its reference.
    """

    model: str
    version: str
    synthetic_model: str
    injection: Injection
    sd: float

    @property
    def unchanged_events(self) -> int:
        """The number of copies before the change."""
        return self.injection.first


class SyntheticEventCopier:
    """Copies each event of the live version once, in the order of arrival.

    The id of a copy contains its number, so it cannot equal the id of a live event.
    """

    def __init__(self, plan: DrillPlan) -> None:
        self.plan = plan
        self.n_copies = 0
        self._seen: set[str] = set()

    def copy(self, event: InferenceEvent) -> InferenceEvent | None:
        """The copy of an event; ``None`` for a repeat, and where the version did not serve."""
        plan = self.plan
        is_served = (event.model, event.version) == (plan.model, plan.version) and not event.shadow
        if not is_served or event.id in self._seen:
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
