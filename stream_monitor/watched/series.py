"""The series of a version that see all of its events: each feature, and the model itself."""

from __future__ import annotations

from stream_monitor.alerts.policy import EpisodePolicy
from stream_monitor.alerts.series import Series
from stream_monitor.reference.profile import ReferenceProfile
from stream_monitor.watched.estimate import Estimate, references_of_model
from stream_monitor.watched.ranges import bounds_to_watch


def feature_key(name: str) -> str:
    """The series of a feature; its slash keeps it apart from the prediction and the loss."""
    return f"feature/{name}"


def series_of(
    profile: ReferenceProfile,
    estimate: Estimate | None,
    arl0_events: float,
    policy: EpisodePolicy,
) -> dict[str, Series]:
    """The series by key, features first, in the order of their names."""
    weights = profile.weights()
    found = {
        feature_key(name): Series(
            profile.features[name], "data", arl0_events, policy,
            importance=weights[name], bounds=bounds_to_watch(profile.features[name]),
        )
        for name in sorted(profile.features)
    }  # fmt: skip
    tables = {} if estimate is None else {estimate.key: estimate.table}
    for key, (reference, track) in references_of_model(profile).items():
        found[key] = Series(reference, track, arl0_events, policy, tables.get(key))
    return found
