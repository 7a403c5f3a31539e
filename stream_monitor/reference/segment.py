"""The reference of a declared segment: one part of a model's traffic."""

from __future__ import annotations

import msgspec

from stream_monitor.reference.feature import FeatureReference


class SegmentReference(msgspec.Struct, frozen=True, kw_only=True):
    """What the events were like whose ``attribute`` is ``value``.

    An attribute is a feature, or what an event names under ``segment``.  ``share`` is that of the
    segment in all reference events.
    """

    attribute: str
    value: str
    n_events: int
    share: float
    features: dict[str, FeatureReference]
    prediction: FeatureReference | None = None

    @property
    def name(self) -> str:
        """As people write it.

        >>> SegmentReference(
        ...     attribute="origin", value="EWR", n_events=9, share=0.1, features={}
        ... ).name
        'origin=EWR'
        """
        return f"{self.attribute}={self.value}"

    @property
    def references(self) -> list[FeatureReference]:
        """All that is watched of it."""
        return [*self.features.values(), *([self.prediction] if self.prediction else [])]
