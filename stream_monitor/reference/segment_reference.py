"""The reference of a declared segment: one part of a model's traffic."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from producer.names import escape_separators
from stream_monitor.reference.feature_reference import FeatureReference


class SegmentReference(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of the events whose ``attribute`` is ``value``.

    An attribute is a feature, or a name under ``segment`` of an event.  ``share`` is the segment's
    share of all reference events.
    """

    attribute: str
    value: str
    n_events: int
    share: float
    features: dict[str, FeatureReference]
    prediction: FeatureReference | None = None

    @property
    def name(self) -> str:
        """The name as users write it.

        >>> SegmentReference(
        ...     attribute="origin", value="EWR", n_events=9, share=0.1, features={}
        ... ).name
        'origin=EWR'
        """
        return segment_name(self.attribute, self.value)

    @property
    def references(self) -> list[FeatureReference]:
        """The references of all its series."""
        return [*self.features.values(), *([self.prediction] if self.prediction else [])]


def parse_segment(declaration: str, known: Iterable[str]) -> tuple[str, str | None]:
    """Attribute and value of a declaration; the value ``None``: every value of the attribute.

    A name may contain ``=``: the first part that is ``known`` is the attribute.

    >>> parse_segment("origin", ["origin"]), parse_segment("origin=EWR", ["origin"])
    (('origin', None), ('origin', 'EWR'))
    >>> parse_segment("a=b=c", ["a=b"]), parse_segment("a=b", ["a=b"]), parse_segment("x=1", [])
    (('a=b', 'c'), ('a=b', None), ('x', '1'))
    """
    names = set(known)
    ends = [i for i, char in enumerate(declaration) if char == "="]
    for end in [len(declaration), *ends]:
        if declaration[:end] in names:
            return declaration[:end], declaration[end + 1 :] if end < len(declaration) else None
    attribute, equals, value = declaration.partition("=")
    return attribute, value if equals else None


def segment_name(attribute: str, value: str) -> str:
    """The unique name of a segment.

    >>> segment_name("origin", "EWR"), segment_name("a=b", "c"), segment_name("a", "b=c")
    ('origin=EWR', 'a%3Db=c', 'a=b=c')
    """
    return f"{escape_separators(attribute, '=')}={value}"
