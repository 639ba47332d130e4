"""Rates against formulas written another way: binomials, the quadratic, numbers of the paper."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import fmean

import pytest

from vox_populi.evals.rates import bootstrap, mean_difference, pass_at_k, rate_of, wilson


def test_pass_at_k_is_the_share_of_subsets_with_a_pass() -> None:
    for n in range(1, 7):
        for c in range(n + 1):
            outcomes = [i < c for i in range(n)]
            for k in range(1, n + 1):
                subsets = [any(picked) for picked in combinations(outcomes, k)]
                assert math.isclose(pass_at_k(n, c, k), fmean(subsets), abs_tol=1e-12)


def test_pass_at_k_refuses_what_it_cannot_estimate() -> None:
    for n, c, k in ((3, 4, 1), (3, 1, 4), (3, 1, 0), (0, 0, 1)):
        with pytest.raises(ValueError, match="no estimate"):
            pass_at_k(n, c, k)


def test_wilson_solves_its_equation_and_stays_inside() -> None:
    z = 1.959963984540054
    for passed, total in ((1, 3), (7, 20), (50, 100), (999, 1000)):
        p = passed / total
        for end in wilson(passed, total):
            # |p - end| = z * sqrt(end * (1 - end) / n)
            assert math.isclose((p - end) ** 2, z * z * end * (1 - end) / total, rel_tol=1e-9)
    assert wilson(0, 5)[0] == 0.0
    assert wilson(5, 5)[1] == 1.0
    assert 0 < wilson(5, 5)[0] < 1


def test_bootstrap_is_the_same_every_time_and_holds_the_mean() -> None:
    values = [0.0, 0.25, 1.0, 0.5, 0.75, 0.1]
    low, high = bootstrap(values)
    assert (low, high) == bootstrap(values)
    assert min(values) <= low < fmean(values) < high <= max(values)
    assert bootstrap([0.4, 0.4]) == (0.4, 0.4)


def test_a_share_has_wilsons_interval_and_a_mean_the_bootstraps() -> None:
    share = rate_of([1.0, 0.0, 1.0])
    assert (share.low, share.high) == wilson(2, 3)
    mean = rate_of([0.5, 0.0, 1.0])
    assert (mean.low, mean.high) == bootstrap([0.5, 0.0, 1.0])
    change = mean_difference([-1.0, 0.0, 1.0])
    assert change.value == 0
    assert change.low < 0 < change.high
    for empty in (rate_of, mean_difference):
        with pytest.raises(ValueError, match="at least one"):
            empty([])
