"""Student's interval: the printed tables, and what an interval of 95 % promises."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.ablation.student import t_interval, t_quantile


@pytest.mark.parametrize(
    ("freedom", "confidence", "printed"),
    [
        *((1, 0.95, 12.706), (2, 0.95, 4.303), (3, 0.95, 3.182), (4, 0.95, 2.776), (9, 0.95, 2.262), (30, 0.95, 2.042)),
        *((1, 0.99, 63.657), (2, 0.99, 9.925), (7, 0.99, 3.499), (2, 0.5, 0.816), (120, 0.95, 1.980)),
    ],
)
def test_the_quantiles_are_those_of_the_printed_tables(freedom: int, confidence: float, printed: float) -> None:
    assert t_quantile(freedom, confidence) == pytest.approx(printed, abs=6e-4)


@given(st.integers(1, 300))
def test_more_values_need_less_room_but_never_less_than_a_normal(freedom: int) -> None:
    assert t_quantile(freedom) > t_quantile(freedom + 1) > 1.959


@pytest.mark.parametrize("count", [2, 3, 5])
def test_of_twenty_intervals_nineteen_hold_the_mean(count: int) -> None:
    draw = random.Random(count)
    trials, held = 4000, 0
    for _ in range(trials):
        interval = t_interval([draw.gauss(3.0, 0.5) for _ in range(count)])
        assert interval is not None
        held += interval[0] <= 3.0 <= interval[1]
    assert held / trials == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / trials))


def test_one_value_has_no_interval() -> None:
    assert t_interval([1.0]) is None
    assert t_interval([]) is None
