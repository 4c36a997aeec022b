"""The length-controlled win rate: near one half where length alone decides, and where the quality is where quality does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.evaluation.versus.length_control import length_controlled


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_judge_of_length_alone(seed: int, noise: float) -> None:
    """The first model's answers are the longer ones in 80 % of the pairs."""
    draw = np.random.default_rng(seed)
    d = draw.normal(0.8416, 1.0, 600) * 120
    p = np.where(draw.random(600) < noise, draw.integers(0, 2, 600), (d > 0).astype(float))
    assert p.mean() > 0.65 + (0.1 if noise == 0 else 0)
    found = length_controlled(p, d)
    assert found is not None
    assert abs(found.win_rate - 0.5) < 0.13
    assert found.low < 0.5 < found.high
    assert found.length_effect > 0.5


@pytest.mark.parametrize("seed", range(4))
def test_a_judge_of_quality_alone(seed: int) -> None:
    draw = np.random.default_rng(seed)
    d, p = draw.normal(80, 100, 600), (draw.random(600) < 0.8).astype(float)
    found = length_controlled(p, d)
    assert found is not None
    assert found.low < p.mean() < found.high
    assert abs(found.win_rate - p.mean()) < 0.06
    assert found.high - found.low < 0.15


def test_it_finds_the_coefficients_that_made_the_data() -> None:
    """Half of it is quality and half is length; the raw win rate mixes them up."""
    draw = np.random.default_rng(0)
    d = draw.normal(60, 90, 20_000)
    p = (draw.random(20_000) < sigmoid(-0.4 + 2.0 * np.tanh(d / d.std()))).astype(float)
    found = length_controlled(p, d)
    assert found is not None
    assert found.win_rate == pytest.approx(sigmoid(np.array(-0.4)), abs=0.015)
    assert found.length_effect == pytest.approx(2.0, abs=0.1)
    assert p.mean() > 0.5 > found.high


pairs = st.lists(st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.integers(-4000, 4000)), min_size=2)


@given(pairs=pairs)
def test_exchanging_the_models_turns_it_round(pairs: list[tuple[float, int]]) -> None:
    p, d = np.array(pairs).T
    ours, theirs = length_controlled(p, d), length_controlled(1 - p, -d)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert 0 < ours.low <= ours.win_rate <= ours.high < 1
        assert ours.win_rate == pytest.approx(1 - theirs.win_rate, abs=1e-6)
        assert ours.low == pytest.approx(1 - theirs.high, abs=1e-6)


@given(pairs=pairs, shift=st.integers(1, 100))
def test_lengths_that_do_not_differ_control_nothing(pairs: list[tuple[float, int]], shift: int) -> None:
    p = np.array([each[0] for each in pairs])
    found = length_controlled(p, np.zeros(len(p)))
    assert found is not None
    assert abs(found.win_rate - p.mean()) < 0.1
    assert length_controlled(p, np.full(len(p), shift)) is None, "length and model cannot be told apart"


def test_one_pair_says_nothing() -> None:
    assert length_controlled([1.0], [5]) is None
