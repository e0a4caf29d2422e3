"""Statistics of paired scores against scipy, hand values and the properties they are defined by."""

from __future__ import annotations

import math
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spinefuse_ext.report.statistics import bootstrap_interval, holm, one_way_anova, signed_rank_p, smallest_p

NAN = math.nan


def test_the_interval_of_the_mean_holds_the_mean_and_is_the_same_every_time() -> None:
    values = [0.6, 0.7, 0.72, 0.8, 0.9, NAN]
    low, high = bootstrap_interval(values)
    assert 0.6 <= low < np.mean(values[:5]) < high <= 0.9
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval(values, seed=1) != (low, high)
    # of many values the interval is that of the normal distribution: mean -+ 1.96 SD / root n
    many = np.random.default_rng(0).normal(0, 1, 400)
    expected = many.mean() + np.array([-1.96, 1.96]) * many.std() / 20
    np.testing.assert_allclose(bootstrap_interval(list(many)), expected, atol=0.01)


def test_several_samples_are_drawn_together() -> None:
    first = [0.1, 0.5, 0.9, 0.3]
    second = [value + 0.2 for value in first]

    def difference(one: np.ndarray, other: np.ndarray, axis: int) -> np.ndarray:
        return np.mean(other, axis=axis) - np.mean(one, axis=axis)

    assert bootstrap_interval(first, second, statistic=difference) == pytest.approx((0.2, 0.2))


@pytest.mark.parametrize(("values", "end"), [([], NAN), ([0.5], NAN), ([0.5, NAN], NAN), ([0.5, 0.5], 0.5)])
def test_an_interval_needs_two_cases(values: list[float], end: float) -> None:
    assert bootstrap_interval(values) == pytest.approx((end, end), nan_ok=True)


def test_anova_is_the_ratio_of_the_spreads() -> None:
    # means 2 and 5 of three values each, grand mean 3.5: between 2 * 3 * 1.5^2 = 13.5 over 1, within 2 + 2 over 4
    f, p = one_way_anova([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0, NAN]])
    assert f == pytest.approx(13.5)
    assert p == pytest.approx(stats.f.sf(13.5, 1, 4))


@pytest.mark.parametrize(
    ("groups", "f", "p"),
    [
        pytest.param([[1.0, 2.0]], NAN, NAN, id="one-method"),
        pytest.param([[1.0], [2.0]], NAN, NAN, id="one-case"),
        pytest.param([[1.0, 1.0], [1.0, 1.0]], NAN, NAN, id="nothing-varies"),
        pytest.param([[1.0, 1.0], [2.0, 2.0]], math.inf, 0.0, id="only-methods-vary"),
    ],
)
def test_anova_of_too_little_is_not_defined(groups: list[list[float]], f: float, p: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert one_way_anova(groups) == pytest.approx((f, p), nan_ok=True)


def _exact_p(differences: list[float]) -> float:
    """Share of all sign changes whose sum of positive ranks lies as far from its middle as the one found."""
    ranks = stats.rankdata(np.abs(differences))
    sums = [
        sum(rank for rank, sign in zip(ranks, signs, strict=True) if sign)
        for signs in product([0, 1], repeat=len(ranks))
    ]
    found = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    middle = ranks.sum() / 2
    return float(np.mean([abs(one - middle) >= abs(found - middle) - 1e-9 for one in sums]))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=2, max_size=8, unique=True), st.data())
def test_signed_ranks_are_exact(sizes: list[int], data: st.DataObject) -> None:
    signs = data.draw(st.lists(st.sampled_from([-1, 1]), min_size=len(sizes), max_size=len(sizes)))
    differences = [sign * size / 1000 for sign, size in zip(signs, sizes, strict=True)]
    assert signed_rank_p(differences, [0.0] * len(sizes)) == pytest.approx(_exact_p(differences))
    assert signed_rank_p([0.0] * len(sizes), differences) == pytest.approx(_exact_p(differences))


def test_equal_pairs_say_nothing() -> None:
    assert signed_rank_p([0.5, 0.7, NAN], [0.5, 0.7, 0.1]) == 1.0
    assert math.isnan(signed_rank_p([], []))
    assert signed_rank_p([0.5, 1.1, 1.2, 1.3], [0.5, 1.0, 1.0, 1.0]) == smallest_p(3)


@pytest.mark.parametrize("pairs", [1, 3, 6])
def test_all_of_one_sign_gives_the_smallest_p(pairs: int) -> None:
    assert signed_rank_p(list(range(1, pairs + 1)), [0.0] * pairs) == pytest.approx(smallest_p(pairs))
    assert smallest_p(6) == 0.03125


def test_holm_multiplies_the_smallest_by_their_number_and_never_falls() -> None:
    # 0.01 * 4 = 0.04; 0.02 * 3 = 0.06; 0.022 * 2 = 0.044 but not below 0.06; 0.5 * 1
    assert holm([0.02, 0.01, 0.5, 0.022]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.4, NAN, 0.9]) == pytest.approx([0.8, NAN, 0.9], nan_ok=True)
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_lies_between_none_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for p, made in zip(p_values, corrected, strict=True):
        assert p <= made <= min(1.0, len(p_values) * p) + 1e-12
    by_p = [made for _, made in sorted(zip(p_values, corrected, strict=True))]
    assert by_p == sorted(by_p)
