"""Standard errors and intervals against what statistics says of them."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.evaluation.intervals import Z, mean_and_error, wilson


@given(share=st.floats(0, 1), count=st.integers(1, 10_000))
def test_wilsons_bounds_are_where_the_share_is_as_unlikely_as_a_normal_says(share: float, count: int) -> None:
    """Each bound p solves |share - p| = z sqrt(p (1 - p) / n), and the share lies between them."""
    low, high = wilson(share, count)
    assert 0 <= low <= share + 1e-9
    assert share - 1e-9 <= high <= 1
    for bound in (low, high):
        assert abs(share - bound) == pytest.approx(Z * math.sqrt(bound * (1 - bound) / count), abs=1e-6)


def test_intervals_hold_the_truth_19_times_in_20() -> None:
    draw = np.random.default_rng(0)
    for truth, count in ((0.5, 40), (0.93, 60), (0.02, 100)):
        held = [
            low <= truth <= high for low, high in (wilson(k / count, count) for k in draw.binomial(count, truth, 4000))
        ]
        assert 0.92 < np.mean(held) < 0.98
    values = draw.normal(3.0, 2.0, (4000, 25))
    means = [mean_and_error(row) for row in values]
    assert np.mean([abs(mean - 3.0) <= Z * (error or 0) for mean, error in means]) == pytest.approx(0.94, abs=0.02)


def test_one_value_has_no_error() -> None:
    assert mean_and_error([0.5]) == (0.5, None)
