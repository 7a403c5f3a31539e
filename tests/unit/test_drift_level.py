"""PSI and chi-square of closed windows: the usual limits, for samples and not for single events."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from scipy.stats import chi2_contingency

from stream_monitor.core.partition import PartitionMonitor
from stream_monitor.metrics import MAX_SERIES, Metrics
from stream_monitor.reference.fit import fit_feature
from stream_monitor.reference.transform import Transform
from stream_monitor.settings import Settings
from stream_monitor.shared_settings import InvalidSetting
from stream_monitor.state.partition_state import PartitionState
from stream_monitor.windows.closed_window import ClosedFeature, ClosedWindow
from stream_monitor.windows.drift_level import DriftLimits, drift_of_window, drift_of_windows
from tests.properties.partition_logs import SPEC, TOPIC
from tests.unit.test_metrics import state_of

LIMITS = DriftLimits()
RNG = np.random.default_rng(3)
REFERENCE = fit_feature("x", RNG.normal(0, 1, 20_000))


def bins_of(values: Sequence[float] | np.ndarray) -> list[int]:
    transform = Transform(REFERENCE)
    found = transform.apply(np.asarray(values, dtype=float))
    counts = np.bincount(transform.bin[found.index], minlength=len(REFERENCE.bin_counts))
    return [int(n) for n in counts]


def window(
    bins: Sequence[int],
    partition: int = 0,
    model: str = "m",
    *,
    psi: float = 0.0,
    effect: float = 0.0,
) -> ClosedWindow:
    feature = ClosedFeature(
        count=sum(bins), invalid=0, bins=list(bins), psi=psi, effect=effect, jensen_shannon=0.0
    )
    return ClosedWindow(
        model=model,
        version="1",
        start_ms=0,
        end_ms=3_600_000,
        first_offset=0,
        last_offset=1,
        closed_offset=2,
        n_events=sum(bins),
        features={"x": feature},
        partition=partition,
    )


@pytest.mark.parametrize(
    ("shift", "level"), [(0.0, "none"), (0.25, "none"), (0.6, "warning"), (1.0, "critical")]
)
def test_the_level_of_a_shift_is_that_of_common_practice(shift: float, level: str) -> None:
    """A mean that moves by d standard deviations has an index of about d squared."""
    part = window(bins_of(RNG.normal(shift, 1, 20_000)))

    (found,) = drift_of_windows([part], {"x": REFERENCE}, LIMITS)

    assert found.level == level
    assert found.psi == pytest.approx(shift**2, rel=0.25, abs=0.01)


def test_few_events_have_a_large_index_and_no_level() -> None:
    """The index of 12 unchanged events is above the limit by chance alone."""
    found = [
        drift_of_windows([window(bins_of(RNG.normal(0, 1, 12)))], {"x": REFERENCE}, LIMITS)[0]
        for _ in range(200)
    ]

    assert np.mean([one.psi > LIMITS.warning for one in found]) > 0.5
    assert np.mean([one.level != "none" for one in found]) < 0.3
    assert np.mean([one.chi_square_p < 0.01 for one in found]) < 0.05


def test_parts_of_a_sample_are_as_the_sample() -> None:
    values = RNG.normal(0.7, 1, 3_000)
    whole = drift_of_windows([window(bins_of(values))], {"x": REFERENCE}, LIMITS)
    parts = [
        window(bins_of(part), partition) for partition, part in enumerate(values.reshape(3, -1))
    ]

    assert drift_of_windows(parts, {"x": REFERENCE}, LIMITS) == whole


def test_chi_square_is_that_of_scipy() -> None:
    bins = bins_of(RNG.normal(0.1, 1, 2_000))
    oracle = chi2_contingency(np.array([bins, REFERENCE.bin_counts]), correction=False)

    (found,) = drift_of_windows([window(bins)], {"x": REFERENCE}, LIMITS)

    assert found.chi_square * REFERENCE.tau == pytest.approx(oracle.statistic)


def test_a_window_has_the_values_that_were_stored_when_it_closed() -> None:
    (found,) = drift_of_window(window([5, 5], psi=0.4, effect=0.3), LIMITS)

    assert (found.psi, found.effect, found.n_values, found.level) == (0.4, 0.3, 10, "warning")
    assert drift_of_window(window([0, 0]), LIMITS) == []
    assert drift_of_windows([window([0, 0])], {"x": REFERENCE}, LIMITS) == []


@pytest.mark.parametrize("psi", [{"warning": 0.6}, {"warning": 0.0}, {"critical": -1.0}])
def test_limits_that_contradict_each_other_are_an_error(psi: dict[str, float]) -> None:
    with pytest.raises(InvalidSetting, match="warning <= critical"):
        Settings(psi=psi).drift_limits()


def metrics_of(*windows: ClosedWindow) -> dict[str, list[tuple[dict[str, str], float]]]:
    state = PartitionState(PartitionMonitor(TOPIC, 0, SPEC), "p")
    state.latest_windows = lambda: list(windows)  # type: ignore[method-assign]
    metrics = Metrics()
    metrics.watch(lambda: [(0, state)], DriftLimits(warning=0.1, critical=0.2))
    families = text_string_to_metric_families(metrics.text().decode())
    return {f.name: [(s.labels, s.value) for s in f.samples] for f in families}


def test_the_metrics_show_the_largest_drift_of_the_partitions() -> None:
    found = metrics_of(window([1], psi=0.05, effect=0.05), window([1], 1, psi=0.3, effect=0.25))

    series = {"model": "m", "version": "1", "series": "x"}
    assert found["driftline_psi"] == [(series, 0.3)]
    assert found["driftline_psi_level"] == [(series, 2)]
    assert found["driftline_psi_series_left_out"] == [({}, 0)]
    assert found["driftline_window_events"] == [({"model": "m", "version": "1"}, 2)]
    assert found["driftline_window_end_timestamp_seconds"][0][1] == 3_600


def test_the_number_of_time_series_is_bounded_and_the_rest_is_counted() -> None:
    many = [window([1], model=f"m{n}", psi=n / 1e4, effect=n / 1e4) for n in range(1_100)]

    found = metrics_of(*many)

    assert len(found["driftline_psi"]) == MAX_SERIES
    assert found["driftline_psi_series_left_out"] == [({}, 100)]
    assert min(value for _, value in found["driftline_psi"]) == pytest.approx(0.01)


def test_the_latest_window_of_each_version_is_kept_until_the_version_leaves() -> None:
    state = state_of("churn")
    known = state.latest_windows()

    assert {(w.model, w.version) for w in known} == {("churn", "1")}
    state._latest_windows["gone", "1"] = msgspec.structs.replace(window([1]), model="gone")
    assert state.latest_windows() == known
