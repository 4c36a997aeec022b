"""The whole model: initial weights, ties, dropout, recomputed blocks, what its switches change."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from mlxllm.model.transformer import Transformer, build_model
from tests.model.tiny import VARIANTS, VOCAB, max_difference, tiny_config, tiny_model, token_ids


def named(tree: Any) -> dict[str, mx.array]:
    return dict(tree_flatten(tree))


def loss_of(model: Transformer, ids: mx.array) -> mx.array:
    loss = mx.mean(nn.losses.cross_entropy(model(ids[:, :-1]), ids[:, 1:]))
    balance = model.balance_loss()
    return loss if balance is None else loss + 0.5 * balance


@pytest.mark.parametrize("variant", VARIANTS)
def test_recomputed_blocks_give_the_same_gradients(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    model.train()
    ids = token_ids(2, 11)
    plain_loss, plain = nn.value_and_grad(model, loss_of)(model, ids)
    model.model.gradient_checkpointing = True
    recomputed_loss, recomputed = nn.value_and_grad(model, loss_of)(model, ids)
    assert float(recomputed_loss) == pytest.approx(float(plain_loss), abs=1e-6)
    expected = named(plain)
    assert named(recomputed).keys() == expected.keys()
    for name, gradient in named(recomputed).items():
        assert max_difference(gradient, expected[name]) < 1e-5 * max(1.0, float(mx.max(mx.abs(gradient)))), name
    model.model.gradient_checkpointing = False
    assert float(loss_of(model, ids)) == pytest.approx(float(plain_loss), abs=1e-6)  # no tracer was left behind


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_reach_every_parameter(variant: str) -> None:
    model = tiny_model(**VARIANTS[variant])
    gradients = named(nn.value_and_grad(model, loss_of)(model, token_ids(4, 20))[1])
    assert gradients.keys() == named(model.parameters()).keys()
    # Softmax does not see what a key's bias adds to all scores of a query; that slope is zero but for rotation.
    idle = {name for name in gradients if name.endswith("k_proj.bias")}
    for name in gradients.keys() - idle:
        assert float(mx.max(mx.abs(gradients[name]))) > 1e-7, name


ROOT = Path(__file__).parents[2]
RECOMPUTE = """
from mlxllm import runtime
runtime.evaluate_in_depth()
import mlx.core as mx, mlx.nn as nn
from mlxllm.model.transformer import build_model
from tests.model.tiny import tiny_config, token_ids
model = build_model(tiny_config(num_hidden_layers=48))
ids = token_ids(8, 100)
for recompute in (False, True):
    model.model.gradient_checkpointing = recompute
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(nn.value_and_grad(model, lambda m, i: nn.losses.cross_entropy(m(i), i).mean())(model, ids))
    print(mx.get_peak_memory() - before)
"""


def test_recomputed_blocks_need_less_memory() -> None:
    # In a process of its own: MLX looks only once whether to walk in depth.
    result = subprocess.run([sys.executable, "-c", RECOMPUTE], capture_output=True, text=True, check=True, cwd=ROOT)
    kept, recomputed = (int(line) for line in result.stdout.split())
    assert recomputed < 0.6 * kept


def test_dropout_is_active_in_training_only() -> None:
    model = build_model(tiny_config(dropout=0.3), seed=0)
    ids = token_ids(2, 10)
    model.eval()
    undisturbed = model(ids)
    assert max_difference(undisturbed, model(ids)) == 0
    assert max_difference(undisturbed, build_model(tiny_config(), seed=0)(ids)) == 0
    model.train()
    first, second = model(ids), model(ids)
    assert max_difference(first, second) > 1e-3
    assert max_difference(first, undisturbed) > 1e-3


@pytest.mark.parametrize("place", ["embeddings", "attention", "feed-forward"])
def test_dropout_falls_on_each_sublayer(place: str) -> None:
    """A quarter of its numbers is zero, and the others are larger by 4/3."""
    model = tiny_model(dropout=0.25)
    block = model.model.layers[0]
    if place == "embeddings":
        model.model.layers = []

        def output() -> mx.array:
            # What the norm makes of zeros is zero.
            return model.model(token_ids(4, 30))
    else:
        x = mx.random.normal((4, 30, 32), key=mx.random.key(0))
        silent = block.mlp.down_proj if place == "attention" else block.self_attn.o_proj
        silent.weight = mx.zeros_like(silent.weight)
        model = block

        def output() -> mx.array:
            return block(x, "causal") - x

    model.eval()
    full = output()
    assert float(mx.mean(full == 0)) == 0
    model.train()
    dropped = output()
    assert float(mx.mean(dropped == 0)) == pytest.approx(0.25, abs=0.03)
    if place != "embeddings":
        assert max_difference(mx.where(dropped == 0, 0, full * 4 / 3), dropped) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_initial_weights_follow_from_the_seed_alone(variant: str) -> None:
    config = tiny_config(**VARIANTS[variant])
    models = []
    for global_seed, seed in ((1, 3), (2, 3), (1, 4)):
        mx.random.seed(global_seed)
        models.append(named(build_model(config, seed).parameters()))
    first, again, other = models
    assert all(mx.array_equal(first[name], again[name]) for name in first)
    matrices = [name for name, weight in first.items() if weight.ndim > 1]
    assert not any(mx.array_equal(first[name], other[name]) for name in matrices)
    assert len({float(mx.sum(first[name])) for name in matrices}) == len(matrices)  # each is drawn anew


@pytest.mark.parametrize("zero_init_outputs", [False, True])
def test_initial_deviations(zero_init_outputs: bool) -> None:
    changes = {**VARIANTS["experts"], "hidden_size": 64, "moe_intermediate_size": 64, "num_hidden_layers": 3}
    for more in (changes, {**VARIANTS["gpt2"], "hidden_size": 64, "intermediate_size": 128}):
        config = tiny_config(**{**more, "initializer_range": 0.05, "zero_init_outputs": zero_init_outputs})
        for name, weight in named(build_model(config).parameters()).items():
            deviation = float(mx.std(weight))
            if name.endswith("norm.weight"):
                assert (np.array(weight) == 1).all(), name
            elif name.endswith("bias"):
                assert (np.array(weight) == 0).all(), name
            elif "o_proj" in name or "down_proj" in name:
                expected = 0 if zero_init_outputs else 0.05 / (2 * config.num_hidden_layers) ** 0.5
                assert deviation == pytest.approx(expected, rel=0.06), name
            elif name == "model.embed_tokens.weight" and config.tie_word_embeddings:
                assert deviation == pytest.approx(1 / 64, rel=0.12), name
            else:
                assert deviation == pytest.approx(0.05, rel=0.12), name


def test_blocks_with_zero_outputs_begin_as_the_identity() -> None:
    config = tiny_config(zero_init_outputs=True)
    model = build_model(config)
    ids = token_ids(1, 6)
    embedded = model.model.norm(model.model.embed_tokens(ids))
    assert max_difference(model(ids), model.logits(embedded)) < 1e-6


def test_tied_head_is_the_embedding() -> None:
    tied, untied = tiny_model(), tiny_model(tie_word_embeddings=False)
    assert "lm_head.weight" not in named(tied.parameters())
    assert tied.output_weight() is tied.model.embed_tokens.weight
    assert untied.output_weight() is untied.lm_head.weight
    ids = token_ids(2, 7)
    untied.model = tied.model
    assert max_difference(tied(ids), untied(ids)) > 0.1
    untied.lm_head.weight = tied.model.embed_tokens.weight
    assert max_difference(tied(ids), untied(ids)) < 1e-6
    hidden = tied.model(ids)
    assert max_difference(hidden @ tied.output_weight().T, tied(ids)) < 1e-5


def test_positions_of_a_norm_are_what_they_say() -> None:
    ids = token_ids(2, 9)
    for norm in ("rmsnorm", "layernorm"):
        post = build_model(tiny_config(norm_position="post", norm=norm))
        assert "model.norm.weight" not in named(post.parameters())
        hidden = np.array(post.model(ids))
        assert np.allclose((hidden**2).mean(-1), 1, atol=1e-3)  # the last thing done is a norm of weight one
        assert np.allclose(hidden.mean(-1), 0, atol=1e-5) == (norm == "layernorm")


def test_qk_norm_bounds_the_scores() -> None:
    """With normalised queries and keys, a hundredfold projection changes no attention map."""
    ids = token_ids(1, 8)
    for qk_norm in (True, False):
        model = tiny_model(qk_norm=qk_norm)
        before = model.attention_maps(ids)[0]
        model.model.layers[0].self_attn.q_proj.weight = model.model.layers[0].self_attn.q_proj.weight * 100
        changed = max_difference(before, model.attention_maps(ids)[0])
        assert changed < 1e-3 if qk_norm else changed > 0.1


@pytest.mark.parametrize("act", ["silu", "gelu", "gelu_new", "relu", "relu2"])
@pytest.mark.parametrize("gated", [True, False])
def test_feed_forward_is_its_formula(act: str, gated: bool) -> None:
    from math import erf, pi, sqrt

    formulas = {
        "silu": lambda z: z / (1 + np.exp(-z)),
        "gelu": lambda z: z * 0.5 * (1 + np.vectorize(erf)(z / sqrt(2))),
        "gelu_new": lambda z: 0.5 * z * (1 + np.tanh(sqrt(2 / pi) * (z + 0.044715 * z**3))),
        "relu": lambda z: np.maximum(z, 0),
        "relu2": lambda z: np.maximum(z, 0) ** 2,
    }
    mlp = tiny_model(hidden_act=act, mlp_gated=gated, mlp_bias=True).model.layers[0].mlp
    weights = {name: np.array(weight, dtype=np.float64) for name, weight in named(mlp.parameters()).items()}
    x = np.random.default_rng(0).normal(size=(1, 5, 32))

    def linear(name: str, z: np.ndarray) -> np.ndarray:
        return np.asarray(z @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    up = linear("up_proj", x)
    inner = formulas[act](linear("gate_proj", x)) * up if gated else formulas[act](up)
    found = np.array(mlp(mx.array(x, dtype=mx.float32)))
    assert np.abs(found - linear("down_proj", inner)).max() < 1e-4


def test_half_precision_stays_half_and_near() -> None:
    for name, changes in VARIANTS.items():
        if "experts" in name:  # rounding may send a token to another expert
            continue
        exact, rounded = tiny_model(**changes), tiny_model(**changes)
        rounded.set_dtype(mx.bfloat16)
        ids = token_ids(2, 9)
        logits = rounded(ids)
        assert logits.dtype == mx.bfloat16, name
        assert max_difference(logits, exact(ids)) < 0.15 * float(mx.std(exact(ids))), name


def test_shapes() -> None:
    model = tiny_model(head_dim=6)
    assert model(token_ids(3, 5)).shape == (3, 5, VOCAB)
    assert model.model(token_ids(3, 5)).shape == (3, 5, 32)
    weights = named(model.parameters())
    assert weights["model.layers.0.self_attn.q_proj.weight"].shape == (24, 32)
    assert weights["model.layers.1.self_attn.k_proj.weight"].shape == (12, 32)
