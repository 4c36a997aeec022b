"""The sampler against the same definitions written in numpy, one row and one token at a time."""

import math
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mlxllm.inference  # noqa: F401  (prepares MLX)
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError
from mlxllm.inference import sampler

V = 13


def reference(
    logits: Sequence[float], sample: SampleConfig, bias: dict[int, float], recent: Sequence[int]
) -> np.ndarray:
    """Probabilities that the docstring of sampler.py promises, (V,) float64."""
    x = np.array(logits, dtype=np.float64)
    for token_id, value in bias.items():
        x[token_id] += value
    for token_id in set(recent):
        x[token_id] = (
            x[token_id] / sample.repetition_penalty if x[token_id] > 0 else x[token_id] * sample.repetition_penalty
        )
    if sample.temperature == 0:
        best = max(range(len(x)), key=lambda i: (x[i], -i))
        return np.eye(len(x))[best]
    weight = np.exp((x - x.max()) / sample.temperature)
    ranked = sorted(range(len(x)), key=lambda i: (-x[i], i))
    if sample.top_k:
        ranked = ranked[: sample.top_k]
    kept, mass, total = [], 0.0, sum(weight[i] for i in ranked)
    for i in ranked:
        if mass >= sample.top_p * total:
            break
        kept.append(i)
        mass += weight[i]
    kept = [i for i in kept if weight[i] >= sample.min_p * weight[ranked[0]]]
    probs = np.zeros(len(x))
    probs[kept] = weight[kept]
    return probs / probs.sum()


def probabilities(logits: mx.array, sample: SampleConfig, bias: dict[int, float], recent: Sequence[int]) -> np.ndarray:
    ours = sampler.Sampler(sample, logits.shape[-1], bias)
    scores = ours.scores(logits, mx.array(recent, dtype=mx.uint32) if recent else None)
    return np.array(mx.softmax(ours.filtered(scores), axis=-1))


# Multiples of 1/4 give ties; p and min_p lie where no sum of such weights falls on them by rounding alone.
quarters = st.integers(-16, 16).map(lambda n: n / 4)


@given(
    logits=st.lists(quarters, min_size=V, max_size=V),
    temperature=st.sampled_from([0.3, 0.8, 1.0, 2.5]),
    top_k=st.integers(0, V + 3),
    top_p=st.sampled_from([0.0137, 0.251, 0.5003, 0.9017, 0.9991, 1.0]),
    min_p=st.sampled_from([0.0, 0.0513, 0.3011, 1.0]),
    penalty=st.sampled_from([1.0, 1.25, 0.8]),
    recent=st.lists(st.integers(0, V - 1), min_size=1, max_size=5),
    bias=st.dictionaries(st.integers(0, V - 1), quarters | st.just(-math.inf), max_size=3),
)
def test_equals_the_reference(logits, temperature, top_k, top_p, min_p, penalty, recent, bias):
    sample = SampleConfig(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    expected = reference(logits, sample, bias, recent)
    found = probabilities(mx.array(logits), sample, bias, recent)
    assert np.array_equal(found > 0, expected > 0)
    assert np.abs(found - expected).max() < 1e-5


def test_rows_of_a_batch_are_filtered_independently():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4, V)).astype(np.float32)
    recent = rng.integers(0, V, size=(4, 3))
    sample = SampleConfig(temperature=0.7, top_k=6, top_p=0.81, min_p=0.05, repetition_penalty=1.3)
    ours = sampler.Sampler(sample, V)
    found = np.array(mx.softmax(ours.filtered(ours.scores(mx.array(logits), mx.array(recent))), axis=-1))
    for row in range(4):
        assert np.abs(found[row] - reference(logits[row], sample, {}, recent[row])).max() < 1e-5
    assert ours(mx.array(logits), 0, mx.array(recent)).shape == (4,)
    assert ours(mx.array(logits[0]), 0, mx.array(recent[0])).shape == ()


@pytest.mark.parametrize(
    ("sample", "kept"),
    [
        (
            SampleConfig(temperature=1.0, top_k=3),
            [0, 1, 2],
        ),  # five are equal: the first three, not all of them
        (SampleConfig(temperature=1.0, top_p=0.31), [0, 1]),
        (SampleConfig(temperature=1.0, top_k=4, top_p=0.51), [0, 1, 2]),  # 51 % of the four that top-k left
        (SampleConfig(temperature=1.0, min_p=1.0), [0, 1, 2, 3, 4]),
    ],
)
def test_equal_logits_go_by_id(sample, kept):
    logits = mx.array([2.0] * 5 + [-20.0] * 8)
    assert np.flatnonzero(probabilities(logits, sample, {}, []) > 0).tolist() == kept


def test_temperature_zero_takes_the_lowest_of_the_greatest():
    logits = mx.array([[0.0, 5.0, 1.0, 5.0], [7.0, 7.0, 7.0, 7.0]])
    assert sampler.Sampler(SampleConfig(temperature=0), 4)(logits).tolist() == [1, 0]
    # Filters and seed have no say, bias and penalty do.
    sample = SampleConfig(temperature=0, top_k=1, min_p=1.0, repetition_penalty=2.0, seed=3)
    ours = sampler.Sampler(sample, 4, {0: -math.inf})
    assert ours(logits, 9, mx.array([[1, 1], [2, 1]])).tolist() == [3, 3]


def test_extreme_logits_and_temperatures_do_not_overflow():
    for logits in ([3e38, -3e38, 3e38, 0.0], [-1e30, -1e30, -2e30, -3e30]):
        for temperature in (1e-45, 1e-10, 1e30):
            for filters in ({}, {"top_k": 2}, {"top_p": 0.9}, {"min_p": 0.5}):
                sample = SampleConfig(temperature=temperature, **filters)
                probs = probabilities(mx.array(logits), sample, {}, [])
                assert np.isfinite(probs).all()
                assert abs(probs.sum() - 1) < 1e-5
                assert probs[0] > 0


def test_half_precision_logits_are_computed_in_float32():
    logits = mx.array([10.0, 9.99, 1.0, 0.0]).astype(mx.bfloat16)
    probs = probabilities(logits, SampleConfig(temperature=0.5), {}, [])
    assert probs.dtype == np.float32
    assert abs(probs.sum() - 1) < 1e-6


def test_draws_follow_the_distribution_and_repeat_with_their_seed():
    logits = mx.array([1.0, 0.0, 2.0, -1.0, 0.5, -9.0])
    sample = SampleConfig(temperature=1.3, top_k=4, seed=7)
    expected = reference(logits.tolist(), sample, {}, [])
    draws = 4000
    rows = mx.broadcast_to(logits, (draws, 6))
    ours = sampler.Sampler(sample, 6)
    counts = np.bincount(np.array(ours(rows, 0)), minlength=6) / draws
    assert np.abs(counts - expected).max() < 0.03
    assert counts[[3, 5]].sum() == 0

    def one_by_one(seed: int) -> list[int]:
        each = sampler.Sampler(sample.model_copy(update={"seed": seed}), 6)
        return [int(each(logits, n)) for n in range(200)]

    assert one_by_one(7) == one_by_one(7) != one_by_one(8)
    assert np.abs(np.bincount(one_by_one(7), minlength=6) / 200 - expected).max() < 0.12
    # Large seeds are as good as small ones, and the global random state is left alone.
    state = mx.random.state[0].tolist()
    assert one_by_one(2**32 - 1) != one_by_one(7)
    assert mx.random.state[0].tolist() == state


def test_ids_without_a_token_are_never_drawn():
    logits = mx.array([0.0, 0.0, 0.0, 50.0])
    assert int(sampler.Sampler(SampleConfig(temperature=0), 4, usable=3)(logits)) == 0
    assert probabilities(logits, SampleConfig(temperature=1.0), {}, [])[3] > 0.99
    padded = sampler.Sampler(SampleConfig(temperature=1.0), 4, {1: 2.0}, usable=3)
    assert mx.softmax(padded.filtered(padded.scores(logits))).tolist()[3] == 0


@pytest.mark.parametrize(
    ("bias", "said"),
    [
        ({4: 1.0}, "no token 4 to bias: ids go from 0 to 3"),
        ({-1: 1.0}, "no token -1"),
        ({1: math.nan}, "token 1 is nan"),
        ({1: math.inf}, "token 1 is inf"),
        (dict.fromkeys(range(4), -math.inf), "every token is forbidden"),
    ],
)
def test_unusable_biases_are_refused(bias, said):
    with pytest.raises(ConfigError, match=said):
        sampler.Sampler(SampleConfig(), 4, bias)


def test_log_probability_is_the_models_own():
    logits = mx.array([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    found = sampler.logprob_of(logits, mx.array([2, 1]))
    assert np.allclose(np.array(found), [3 - np.log(np.exp([1, 2, 3]).sum()), -np.log(3)], atol=1e-6)
    assert sampler.logprob_of(logits[0], mx.array(0)).shape == ()
