"""The mixture of experts against a slow loop, its balance loss, its gradients."""

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from mlxllm.model.feed_forward import ACTIVATIONS, MixtureOfExperts
from tests.model.tiny import tiny_config, tiny_model, token_ids


def mixture(**changes: Any) -> MixtureOfExperts:
    values = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 12, **changes}
    moe: MixtureOfExperts = tiny_model(**values).model.layers[0].mlp
    return moe


def slowly(moe: MixtureOfExperts, x: mx.array, top_k: int, normalise: bool, act: str) -> np.ndarray:
    """Token by token and expert by expert, as the papers say it."""
    rows = np.array(x).reshape(-1, x.shape[-1])
    router = np.array(moe.gate.weight)
    experts = {name: np.array(weight) for name, weight in tree_flatten(moe.experts.parameters())}
    out = np.zeros_like(rows)
    for n, row in enumerate(rows):
        scores = router @ row
        probs = np.exp(scores - scores.max())
        probs /= probs.sum()
        chosen = np.argsort(-probs)[:top_k]
        total = probs[chosen].sum() if normalise else 1.0
        for e in chosen:
            inner = experts["up_proj"][e] @ row
            if "gate_proj" in experts:
                inner = np.array(ACTIVATIONS[act](mx.array(experts["gate_proj"][e] @ row))) * inner
            else:
                inner = np.array(ACTIVATIONS[act](mx.array(inner)))
            out[n] += probs[e] / total * (experts["down_proj"][e] @ inner)
    return out.reshape(x.shape)


@settings(max_examples=25)
@given(
    B=st.integers(1, 2),
    T=st.integers(1, 7),
    experts=st.integers(1, 6),
    data=st.data(),
    normalise=st.booleans(),
    gated=st.booleans(),
    act=st.sampled_from(["silu", "relu2"]),
)
def test_equals_a_loop_over_experts(
    B: int, T: int, experts: int, data: st.DataObject, normalise: bool, gated: bool, act: str
) -> None:
    top_k = data.draw(st.integers(1, experts))
    moe = mixture(
        num_experts=experts, num_experts_per_tok=top_k, norm_topk_prob=normalise, mlp_gated=gated, hidden_act=act
    )
    x = mx.random.normal((B, T, 32), key=mx.random.key(T))
    assert np.abs(np.array(moe(x)) - slowly(moe, x, top_k, normalise, act)).max() < 2e-5


def test_balance_loss_is_k_when_the_load_is_even_and_more_when_not() -> None:
    moe = mixture(num_experts=4, num_experts_per_tok=2)
    # Each token is sent to two neighbours of a ring, by a router that copies four of its numbers.
    moe.gate.weight = mx.eye(4, 32)
    even = np.zeros((1, 4, 32), dtype=np.float32)
    for t in range(4):
        even[0, t, [t, (t + 1) % 4]] = 3.0
    moe(mx.array(even))
    assert float(moe.balance_loss) == pytest.approx(2.0, abs=1e-5)
    uneven = np.zeros((1, 4, 32), dtype=np.float32)
    uneven[0, :, :2] = 3.0
    moe(mx.array(uneven))
    probability = np.exp(3) / (2 * np.exp(3) + 2)  # of each of the two experts that get everything
    assert float(moe.balance_loss) == pytest.approx(4 * 2 * probability, rel=1e-5)


def test_models_balance_loss_is_the_mean_over_layers() -> None:
    model = tiny_model(num_experts=4, moe_intermediate_size=12)
    assert tiny_model().balance_loss() is None
    model(token_ids(2, 9))
    loss = model.balance_loss()
    assert loss is not None
    layers = [float(block.mlp.balance_loss) for block in model.model.layers]
    assert layers[0] != layers[1]
    assert float(loss) == pytest.approx(sum(layers) / 2)


@pytest.mark.parametrize("normalise", [True, False])
def test_gradients_are_the_slopes_of_the_loss(normalise: bool) -> None:
    """Every kind of weight: the gradient against a central difference along a random direction."""
    moe = mixture(norm_topk_prob=normalise)
    x = mx.random.normal((2, 9, 32), key=mx.random.key(3))
    target = mx.random.normal((2, 9, 32), key=mx.random.key(4))

    def loss(layer: MixtureOfExperts, x: mx.array) -> mx.array:
        return mx.sum(layer(x) * target) + 3 * layer.balance_loss

    gradients = dict(tree_flatten(nn.value_and_grad(moe, loss)(moe, x)[1]))
    assert set(gradients) == {"gate.weight", "experts.gate_proj", "experts.up_proj", "experts.down_proj"}
    weights = dict(tree_flatten(moe.parameters()))
    for name, gradient in gradients.items():
        direction = mx.random.normal(gradient.shape, key=mx.random.key(5))
        direction = direction / mx.linalg.norm(direction.reshape(-1))
        values = []
        for step in (1e-2, -1e-2):
            moe.load_weights([(name, weights[name] + step * direction)], strict=False)
            values.append(float(loss(moe, x)))
        moe.load_weights([(name, weights[name])], strict=False)
        slope = (values[0] - values[1]) / 2e-2
        assert float(mx.sum(gradient * direction)) == pytest.approx(slope, rel=2e-2, abs=2e-2)
        assert abs(slope) > 1e-3


def test_an_expert_that_nobody_is_sent_to_gets_no_gradient() -> None:
    moe = mixture(num_experts=3, num_experts_per_tok=1)
    moe.gate.weight = mx.zeros((3, 32))
    moe.gate.weight[1] = 1.0
    x = mx.abs(mx.random.normal((1, 6, 32), key=mx.random.key(0)))
    gradients = nn.value_and_grad(moe, lambda layer, x: mx.sum(layer(x)))(moe, x)[1]
    size = np.array(mx.sum(mx.abs(gradients["experts"]["down_proj"]), axis=(1, 2)))
    assert size[1] > 0
    assert size[0] == size[2] == 0


def test_every_expert_is_reached_in_a_whole_model() -> None:
    config = tiny_config(num_experts=4, moe_intermediate_size=12)
    model = tiny_model(**config.model_dump())
    ids = token_ids(4, 32)
    gradients = nn.value_and_grad(model, lambda m, x: mx.mean(m(x) ** 2))(model, ids)[1]
    for layer in gradients["model"]["layers"]:
        assert (np.array(mx.sum(mx.abs(layer["mlp"]["experts"]["up_proj"]), axis=(1, 2))) > 0).all()
