"""The contents of a fitted reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.signal import lfilter

from stream_monitor.reference.bins import category_bins, numeric_bins
from stream_monitor.reference.fit import ReferenceTooShort, fit_feature, fit_loss, fit_profile
from stream_monitor.reference.profile import ChannelReference, FeatureReference
from stream_monitor.reference.transform import Transform
from stream_monitor.statistics.dependence import autocorrelation_time


def channel(fitted: FeatureReference, name: str) -> ChannelReference:
    return next(c for c in fitted.channels if c.channel == name)


def autoregressive(rng: np.random.Generator, n: int, a: float) -> Any:
    return lfilter([np.sqrt(1 - a * a)], [1, -a], rng.standard_normal(n))


def test_a_reference_needs_300_valid_values() -> None:
    with pytest.raises(ReferenceTooShort, match="299 valid values of 400, 300 are needed"):
        fit_feature("x", [1.5] * 299 + [None] * 101)


def test_independent_values_have_no_autocorrelation_time() -> None:
    rng = np.random.default_rng(1)

    assert [autocorrelation_time(rng.standard_normal(5000)) for _ in range(20)] == [1.0] * 20


@pytest.mark.parametrize(("a", "tau"), [(0.5, 3.0), (0.9, 19.0)])
def test_the_autocorrelation_time_of_an_autoregression_is_found(a: float, tau: float) -> None:
    rng = np.random.default_rng(2)
    found = [autocorrelation_time(autoregressive(rng, 20_000, a)) for _ in range(10)]

    assert np.median(found) == pytest.approx(tau, rel=0.15)


def test_dependence_makes_blocks_longer_and_a_short_reference_cautious() -> None:
    rng = np.random.default_rng(3)
    fitted = fit_feature("x", autoregressive(rng, 10_000, 0.9))
    short = fit_feature("x", autoregressive(rng, 600, 0.9))

    assert fitted.block >= 32
    assert not fitted.short
    assert short.short
    assert all(c.widening >= 10 for c in short.channels)


def test_normal_values_get_the_channels_of_the_recipe() -> None:
    fitted = fit_feature("x", np.random.default_rng(4).normal(50, 3, 10_000))
    location = channel(fitted, "location")

    assert [c.channel for c in fitted.channels] == ["location", "spread", "validity"]
    assert (fitted.block, location.block, location.adwin_scale) == (8, 8, 10.0)
    assert location.mean == pytest.approx(0, abs=0.01)
    assert location.sd == pytest.approx(1 / np.sqrt(8), rel=0.1)
    assert location.sd >= 1 / np.sqrt(8)  # errs to silence
    assert fitted.mean == pytest.approx(50, abs=0.2)
    assert fitted.sd == pytest.approx(3, abs=0.1)
    assert len(fitted.bin_counts) == 10
    assert len(fitted.quantiles) == 1000


def test_skewed_channels_get_higher_thresholds() -> None:
    rng = np.random.default_rng(5)
    rare = channel(fit_feature("x", (rng.random(10_000) < 0.01).tolist()), "location")

    assert rare.theta < 0.9
    assert rare.block > 8
    assert rare.adwin_scale == 1.0


def test_a_reference_that_changed_inside_is_reported_as_not_stationary() -> None:
    rng = np.random.default_rng(6)
    column = rng.standard_normal(10_000)
    column[-1000:] += 0.3
    location = channel(fit_feature("x", column), "location")

    assert location.adwin is None
    assert not location.stationary


def test_two_values_have_no_spread() -> None:
    rng = np.random.default_rng(7)
    two = fit_feature("x", rng.choice([3.5, 9.0], 1000).tolist())
    constant = fit_feature("x", [7.0] * 1000)

    assert [c.channel for c in two.channels] == ["location", "validity"]
    assert [c.channel for c in constant.channels] == ["location", "validity"]


def test_a_constant_has_bins_for_other_values() -> None:
    """Else a change of it could raise a suspicion, but never be confirmed."""
    fitted = fit_feature("x", [7.0] * 1000)
    bins = Transform(fitted).bin[Transform(fitted).apply([6.0, 7.0, 8.0]).index]

    assert bins.tolist() == [0, 1, 2]
    assert fitted.bin_counts == (0, 1000, 0)
    assert fitted.bin_labels == ("below 7", "7", "above 7")


def test_few_distinct_values_get_a_bin_each_and_tiny_ones_join() -> None:
    column = [0.0] * 900 + [1.0] * 97 + [2.0] * 3
    fitted = fit_feature("x", column)

    assert fitted.bin_counts == (900, 100)
    assert fitted.bin_labels == ("0", "at least 1")


def test_numeric_bins_are_cut_between_distinct_values() -> None:
    rng = np.random.default_rng(8)
    column = np.where(rng.random(5000) < 0.7, 0.0, rng.random(5000))
    fitted = fit_feature("x", column)

    assert fitted.bin_counts[0] == int((column == 0).sum())
    assert 3 <= len(fitted.bin_counts) <= 10


def test_bins_never_merge_below_two() -> None:
    index = np.array([10] * 9990 + [20] * 10)

    assert numeric_bins(index, 41) == (0, 16)
    assert len(category_bins(np.array([1, 9999]), 1)) == 2


def test_categories_ascend_in_frequency_and_rare_ones_are_lumped() -> None:
    column = ["big"] * 600 + ["mid"] * 300 + ["small"] * 95 + ["r1"] * 3 + ["r2"] * 2
    fitted = fit_feature("x", column)

    assert fitted.categories == ("", "small", "mid", "big")
    assert fitted.category_counts == (5, 95, 300, 600)
    assert set(fitted.rare) == {"r1", "r2"}
    result = Transform(fitted).apply(["r1", "big", "new", None])
    assert result.valid.tolist() == [True, True, False, False]
    assert result.index.tolist() == [0, 3]
    assert fitted.top[0] == ("big", 600)


def test_categories_seen_once_count_as_unseen() -> None:
    """As many are to be expected unseen in future (Good, 1953); their names are known now."""
    column = ["a", "b"] * 500 + [f"id-{i}" for i in range(200)]
    fitted = fit_feature("x", column)

    assert fitted.n_invalid == 200
    assert channel(fitted, "validity").mean == pytest.approx(200 / 1200)
    assert Transform(fitted).apply(["id-7"]).valid.tolist() == [True]


def test_an_id_is_no_feature() -> None:
    with pytest.raises(ReferenceTooShort):
        fit_feature("id", [f"user-{i}" for i in range(5000)])


def test_few_categories_are_all_their_own_bin() -> None:
    column = [c for i, c in enumerate("abcdefghij") for _ in range(50 + i)]
    fitted = fit_feature("x", column)

    assert fitted.bin_labels == tuple("abcdefghij")


def test_many_categories_are_the_nine_most_frequent_and_the_others() -> None:
    counts = {f"c{i:02}": 20 + 10 * i for i in range(30)}
    spread_evenly = sorted(((j + 0.5) / n, name) for name, n in counts.items() for j in range(n))
    column = [name for _, name in spread_evenly]
    fitted = fit_feature("x", column)

    assert fitted.bin_labels == ("other", *(f"c{i}" for i in range(21, 30)))
    assert sum(fitted.bin_counts) == len(column)


def test_a_boolean_feature_is_compared_by_its_share_of_true() -> None:
    rng = np.random.default_rng(9)
    fitted = fit_feature("x", [bool(v) for v in rng.random(2000) < 0.3])
    location = channel(fitted, "location")

    assert fitted.kind == "boolean"
    assert fitted.mean == pytest.approx(0.3, abs=0.04)
    assert location.mean == pytest.approx(fitted.mean, abs=0.01)
    assert fitted.bin_labels == ("false", "true")


def test_validity_expects_what_the_reference_could_not_show() -> None:
    clean = channel(fit_feature("x", [*range(3000)]), "validity")
    holes = [None if i % 10 == 0 else float(i % 97) for i in range(3000)]
    leaky = channel(fit_feature("x", holes), "validity")

    assert clean.mean == pytest.approx(3 / 3000)
    assert clean.block == 128
    assert leaky.mean == pytest.approx(0.1)


def test_a_loss_is_watched_in_its_location_only() -> None:
    rng = np.random.default_rng(10)
    error = fit_loss((rng.random(500) < 0.2).astype(float), task="binary")
    absolute = fit_loss(np.abs(rng.standard_normal(500)), task="regression")

    assert [c.channel for c in error.channels] == ["location"]
    assert [c.channel for c in absolute.channels] == ["location"]
    assert (error.kind, absolute.kind) == ("boolean", "numeric")


def test_an_unusable_column_is_skipped_with_a_reason() -> None:
    columns: dict[str, Any] = {"good": [*range(400)], "empty": [None] * 400}
    profile = fit_profile("m", "1", columns, task="binary", origin="training")

    assert list(profile.features) == ["good"]
    assert "empty" in profile.skipped


def test_a_training_frame_without_a_usable_column_is_rejected() -> None:
    with pytest.raises(ReferenceTooShort):
        fit_profile("m", "1", {"x": [1.0] * 10}, task="binary", origin="training")


def test_predictions_become_the_reference_of_score_or_class() -> None:
    rng = np.random.default_rng(11)
    share = rng.random(400)
    maps = [{"0": 1 - p, "1": p} for p in share.tolist()]
    score = fit_profile("m", "1", {}, predictions=maps, task="binary", origin="warm_up").prediction
    classes = fit_profile(
        "m", "1", {}, predictions=[*range(4)] * 100, task="multiclass", origin="warm_up"
    ).prediction

    assert score is not None
    assert score.mean == pytest.approx(share.mean())
    assert classes is not None
    assert set(classes.categories) == {"", "0", "1", "2", "3"}
