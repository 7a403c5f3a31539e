"""A closed window, as dashboards and ``driftline status`` read it from Redis."""

from __future__ import annotations

from typing import Final

import msgspec

from producer.names import version_key

SHADOW: Final = " (shadow)"
"""Follows the version in the key of a window of shadow predictions; escaped names have no space."""


class ClosedFeature(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One feature in one window, in the feature's own unit.

    ``bins`` counts the valid values by the bins of the reference; mean, sd, minimum and maximum
    exist for numeric features with a valid value.  ``psi`` is the plain index, ``effect`` the one
    without the bias of few events, at least 0 (see `statistics.distance`), ``jensen_shannon`` is in
    nats.
    ``wasserstein`` is in standard deviations of the reference (normal scores; of a boolean the
    share that moved), ``ks`` and ``chi_square`` are the statistics of these tests with their
    p-values; ``drifted`` is the result of the comparison (see `statistics.bin_comparison`).
    """

    count: int
    invalid: int
    bins: list[int]
    psi: float
    effect: float
    jensen_shannon: float
    mean: float | None = None
    sd: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    wasserstein: float | None = None
    ks: float | None = None
    ks_p: float | None = None
    chi_square: float = 0.0
    chi_square_p: float = 1.0
    drifted: bool = False


class ClosedWindow(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Events of one model version with event time in [start_ms, end_ms), from one partition.

    Its events are between ``first_offset`` and ``last_offset``, both included; the record at
    ``closed_offset`` closed it.  Windows of several partitions merge by adding counts and bins.
    ``estimated_loss`` is the expected error rate of ``n_estimated`` of its predictions, without
    labels.  ``shadow``: the predictions were not used; the only feature is ``prediction``, which is
    compared with the reference of the version that served.
    """

    model: str
    version: str
    start_ms: int
    end_ms: int
    first_offset: int
    last_offset: int
    closed_offset: int
    n_events: int
    features: dict[str, ClosedFeature]
    partition: int = 0
    n_estimated: int = 0
    estimated_loss: float | None = None
    shadow: bool = False

    @property
    def drifted(self) -> list[str]:
        """The features that differ from the reference, by name."""
        return sorted(name for name, feature in self.features.items() if feature.drifted)


def window_key(
    prefix: str,
    model: str,
    version: str,
    start_ms: int,
    partition: int = 0,
    *,
    shadow: bool = False,
) -> str:
    """The Redis key of a closed window; that of a ``shadow`` version differs from that in service.

    Names are escaped, so no two windows share a key.

    >>> window_key("driftline", "flights", "3", 3600000)
    'driftline:window:flights@3/3600000/0'
    >>> window_key("driftline", "flights", "4", 3600000, shadow=True)
    'driftline:window:flights@4 (shadow)/3600000/0'
    """
    of = version_key(model, version) + (SHADOW if shadow else "")
    return f"{prefix}:window:{of}/{start_ms}/{partition}"
