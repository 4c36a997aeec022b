"""Preference losses against float64 formulas written from the papers, and the log-probabilities that go into them."""

import math
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.config import DpoConfig
from mlxllm.evaluation.preference_losses import Pairs, pair_losses, pair_metrics
from mlxllm.model import logprobs
from mlxllm.model.logprobs import token_logprobs, token_logprobs_only


def by_hand(policy: list[float], reference: list[float], lengths: list[int], dpo: DpoConfig) -> float:
    """One pair's loss in float64."""
    chosen, rejected = policy
    h = (chosen - reference[0]) - (rejected - reference[1])
    e, beta = dpo.label_smoothing, dpo.beta

    def minus_log_sigmoid(x: float) -> float:
        return math.log1p(math.exp(-x)) if x > 0 else math.log1p(math.exp(x)) - x

    mean_w, mean_l = chosen / lengths[0], rejected / lengths[1]
    if dpo.loss == "sigmoid":
        loss = (1 - e) * minus_log_sigmoid(beta * h) + e * minus_log_sigmoid(-beta * h)
    elif dpo.loss == "robust":
        loss = ((1 - e) * minus_log_sigmoid(beta * h) - e * minus_log_sigmoid(-beta * h)) / (1 - 2 * e)
    elif dpo.loss == "hinge":
        loss = max(0.0, 1 - beta * h)
    elif dpo.loss == "ipo":
        mean_h = (chosen - reference[0]) / lengths[0] - (rejected - reference[1]) / lengths[1]
        loss = (mean_h - 1 / (2 * beta)) ** 2
    elif dpo.loss == "simpo":
        loss = minus_log_sigmoid(beta * (mean_w - mean_l) - dpo.gamma)
    else:
        odds = [m - math.log(-math.expm1(m)) for m in (mean_w, mean_l)]
        loss = -mean_w + beta * minus_log_sigmoid(odds[0] - odds[1])
    return loss - dpo.sft_weight * mean_w


logprob = st.floats(-200, -0.5)


@settings(max_examples=60)
@given(
    loss=st.sampled_from(["sigmoid", "robust", "hinge", "ipo", "simpo", "orpo"]),
    policy=st.tuples(logprob, logprob),
    reference=st.tuples(logprob, logprob),
    lengths=st.tuples(st.integers(1, 100), st.integers(1, 100)),
    beta=st.floats(0.01, 3),
    smoothing=st.floats(0, 0.4),
    sft_weight=st.sampled_from([0.0, 0.3]),
)
def test_every_loss_is_its_formula(
    loss: Any, policy: Any, reference: Any, lengths: Any, beta: float, smoothing: float, sft_weight: float
) -> None:
    dpo = DpoConfig(loss=loss, beta=beta, label_smoothing=smoothing, sft_weight=sft_weight)
    pairs = Pairs(mx.array([policy]), mx.array([reference]), mx.array([lengths]))
    expected = by_hand(policy, reference, lengths, dpo)
    assert pair_losses(pairs, dpo).item() == pytest.approx(expected, rel=2e-4, abs=2e-4)


def test_metrics_of_pairs() -> None:
    pairs = Pairs(
        mx.array([[-4.0, -6.0], [-3.0, -3.0], [-9.0, -2.0]]),
        mx.array([[-5.0, -5.0], [-3.0, -3.0], [-8.0, -4.0]]),
        mx.array([[2, 2], [1, 3], [4, 4]]),
    )
    metrics = {n: m.tolist() for n, m in pair_metrics(pairs, DpoConfig(beta=0.5)).items()}
    assert metrics["rewards/chosen"] == [0.5, 0.0, -0.5]
    assert metrics["rewards/rejected"] == [-0.5, 0.0, 1.0]
    assert metrics["rewards/margins"] == [1.0, 0.0, -1.5]
    assert metrics["rewards/accuracies"] == [1.0, 0.5, 0.0]  # a tie counts half
    assert metrics["logps/chosen"] == [-4.0, -3.0, -9.0]
    assert metrics["kl"] == [0.0, 0.0, 0.125]
    free = pair_metrics(pairs, DpoConfig(beta=2.0, loss="simpo"))
    assert free["rewards/chosen"].tolist() == [-4.0, -6.0, -4.5]
    assert "kl" not in free


@settings(max_examples=25)
@given(
    N=st.integers(1, 40),
    V=st.sampled_from([3, 17, 1200]),
    chunk=st.integers(1, 50),
    scale=st.sampled_from([0.1, 3.0]),
    seed=st.integers(0, 1000),
)
def test_token_logprobs_and_their_gradient(N: int, V: int, chunk: int, scale: float, seed: int) -> None:
    """Against autodiff of the plain formula, for weights of tokens that depend on the result."""
    random = np.random.default_rng(seed)
    hidden = mx.array(random.normal(0, scale, (N, 8)).astype(np.float32))
    weight = mx.array(random.normal(0, 1, (V, 8)).astype(np.float32))
    targets = mx.array(random.integers(0, V, N))

    def plain(hidden: mx.array, weight: mx.array) -> mx.array:
        logits = hidden @ weight.T
        return mx.take_along_axis(logits - mx.logsumexp(logits, axis=-1, keepdims=True), targets[:, None], -1)[:, 0]

    def ours(hidden: mx.array, weight: mx.array) -> mx.array:
        return token_logprobs(hidden, weight, targets, chunk_tokens=chunk)

    def total(function: Any) -> Any:
        return lambda h, w: mx.sum(mx.tanh(function(h, w)))

    assert mx.allclose(ours(hidden, weight), plain(hidden, weight), rtol=1e-4, atol=1e-4)
    got = mx.grad(total(ours), argnums=(0, 1))(hidden, weight)
    expected = mx.grad(total(plain), argnums=(0, 1))(hidden, weight)
    for a, b in zip(got, expected, strict=True):
        assert mx.allclose(a, b, rtol=1e-3, atol=1e-4)

    def frozen(hidden: mx.array, weight: mx.array) -> mx.array:
        return token_logprobs(hidden, weight, targets, chunk_tokens=chunk, head_is_trained=False)

    assert mx.allclose(frozen(hidden, weight), ours(hidden, weight), rtol=1e-5, atol=1e-5)
    assert mx.allclose(mx.grad(total(frozen))(hidden, weight), got[0], rtol=1e-4, atol=1e-5)
    alone = token_logprobs_only(hidden, weight, targets, chunk_tokens=chunk)
    assert mx.allclose(alone, ours(hidden, weight), rtol=1e-5, atol=1e-4)


def test_many_exponentials_are_computed_again_rather_than_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the same gradients, chunk by chunk."""
    hidden, weight = (mx.random.normal(shape, key=mx.random.key(i)) for i, shape in enumerate([(30, 8), (50, 8)]))
    targets = mx.arange(30)

    def total(hidden: mx.array, weight: mx.array) -> mx.array:
        return mx.sum(mx.tanh(token_logprobs(hidden, weight, targets, chunk_tokens=7)))

    kept = mx.grad(total, argnums=(0, 1))(hidden, weight)
    monkeypatch.setattr(logprobs, "_KEPT_NUMBERS", 0)
    again = mx.grad(total, argnums=(0, 1))(hidden, weight)
    for a, b in zip(again, kept, strict=True):
        assert mx.allclose(a, b, rtol=1e-4, atol=1e-5)
