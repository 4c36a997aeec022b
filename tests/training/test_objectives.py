"""The loss in chunks equals the loss written out, whatever the chunks; and never holds all logits at once."""

import subprocess
import sys
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.config import LoraConfig
from mlxllm.model.adapters import adapt
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import cross_entropy, next_token_loss
from tests.model.tiny import VOCAB, tiny_model, token_ids

D = 6


def drawn(N: int, V: int, seed: int, masked: float = 0.3) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hidden, weight = rng.standard_normal((N, D)), rng.standard_normal((V, D))
    return hidden, weight, rng.integers(0, V, N), (rng.random(N) >= masked) * rng.choice([1.0, 0.5], N)


def by_hand(
    hidden: np.ndarray, weight: np.ndarray, targets: np.ndarray, mask: np.ndarray, z_loss: float, smoothing: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """sum_n mask_n [-(sum_v q_nv log p_nv) + zeta lse_n^2], q = (1 - s) onehot + s/V, and its gradients, in float64."""
    z = hidden @ weight.T  # (N, V)
    lse = np.log(np.exp(z).sum(axis=1))
    p = np.exp(z - lse[:, None])
    q = np.full_like(z, smoothing / z.shape[1])
    q[np.arange(len(targets)), targets] += 1 - smoothing
    loss = (mask * (-(q * np.log(p)).sum(axis=1) + z_loss * lse**2)).sum()
    d_z = mask[:, None] * (p - q + 2 * z_loss * lse[:, None] * p)
    return float(loss), d_z @ weight, d_z.T @ hidden


@settings(max_examples=60)
@given(
    N=st.integers(1, 40),
    V=st.integers(2, 30),
    chunk=st.integers(1, 50),
    seed=st.integers(0, 10_000),
    z_loss=st.sampled_from([0.0, 1e-2]),
    smoothing=st.sampled_from([0.0, 0.1, 0.9]),
    scale=st.sampled_from([1.0, -2.5]),
)
def test_value_and_gradients(
    N: int, V: int, chunk: int, seed: int, z_loss: float, smoothing: float, scale: float
) -> None:
    hidden, weight, targets, mask = drawn(N, V, seed)

    def loss(hidden: mx.array, weight: mx.array) -> mx.array:
        return scale * cross_entropy(
            hidden,
            weight,
            mx.array(targets),
            mx.array(mask.astype(np.float32)),
            chunk_tokens=chunk,
            z_loss=z_loss,
            label_smoothing=smoothing,
        )

    inputs = mx.array(hidden.astype(np.float32)), mx.array(weight.astype(np.float32))
    value, (d_hidden, d_weight) = mx.value_and_grad(loss, argnums=(0, 1))(*inputs)
    expected = by_hand(hidden, weight, targets, mask, z_loss, smoothing)
    np.testing.assert_allclose(float(value), scale * expected[0], rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(np.array(d_hidden), scale * expected[1], rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(np.array(d_weight), scale * expected[2], rtol=1e-4, atol=1e-4)


def test_large_logits_do_not_overflow() -> None:
    hidden, weight, targets, mask = drawn(9, 11, 1, masked=0.0)
    inputs = mx.array(300 * hidden.astype(np.float32)), mx.array(weight.astype(np.float32))

    def loss(hidden: mx.array, weight: mx.array) -> mx.array:
        return cross_entropy(hidden, weight, mx.array(targets), mx.array(mask.astype(np.float32)), chunk_tokens=4)

    value, gradients = mx.value_and_grad(loss, argnums=(0, 1))(*inputs)
    assert all(bool(mx.all(mx.isfinite(a))) for a in (value, *gradients))


def test_masked_tokens_have_no_influence() -> None:
    hidden, weight, targets, mask = drawn(30, 12, 2)
    mask = (mask > 0).astype(np.float32)
    assert 0 < mask.sum() < 30

    def both(hidden: np.ndarray, targets: np.ndarray) -> list[np.ndarray]:
        def loss(hidden: mx.array, weight: mx.array) -> mx.array:
            return cross_entropy(
                hidden, weight, mx.array(targets), mx.array(mask), chunk_tokens=7, z_loss=0.01, label_smoothing=0.1
            )

        arrays = mx.array(hidden.astype(np.float32)), mx.array(weight.astype(np.float32))
        value, gradients = mx.value_and_grad(loss, argnums=(0, 1))(*arrays)
        return [np.array(a) for a in (value, *gradients)]

    plain = both(hidden, targets)
    others = both(np.where(mask[:, None] > 0, hidden, hidden[::-1]), np.where(mask > 0, targets, (targets + 5) % 12))
    for before, after in zip(plain, others, strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(plain[1][mask == 0], 0.0)


@pytest.mark.parametrize(("targets", "mask"), [((3,), (4,)), ((4,), (3,)), ((4, 1), (4,))])
def test_shapes_that_do_not_fit_are_refused(targets: tuple[int, ...], mask: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"must both be \(4,\)"):
        cross_entropy(mx.zeros((4, D)), mx.zeros((5, D)), mx.zeros(targets, dtype=mx.int32), mx.zeros(mask))


def test_bfloat16_stays_near() -> None:
    hidden, weight, targets, _ = drawn(64, 40, 3)
    expected = by_hand(hidden, weight, targets, np.ones(64), 0.0, 0.0)

    def loss(hidden: mx.array, weight: mx.array) -> mx.array:
        return cross_entropy(hidden, weight, mx.array(targets), mx.ones((64,)), chunk_tokens=16)

    inputs = mx.array(hidden).astype(mx.bfloat16), mx.array(weight).astype(mx.bfloat16)
    value, (d_hidden, d_weight) = mx.value_and_grad(loss, argnums=(0, 1))(*inputs)
    assert (value.dtype, d_hidden.dtype, d_weight.dtype) == (mx.float32, mx.bfloat16, mx.bfloat16)
    assert float(value) == pytest.approx(expected[0], rel=1e-2)
    np.testing.assert_allclose(np.array(d_hidden.astype(mx.float32)), expected[1], atol=0.05)
    np.testing.assert_allclose(np.array(d_weight.astype(mx.float32)), expected[2], atol=0.2)


_MEMORY = """
import sys
import mlxllm.runtime
import mlx.core as mx
from mlxllm.training.objectives import cross_entropy

N, D, V, chunk = 8192, 8, 4096, 128
hidden, weight = mx.random.normal((N, D)), mx.random.normal((V, D))
targets, mask = mx.random.randint(0, V, (N,)), mx.ones((N,))
mx.eval(hidden, weight, targets, mask)
before = mx.get_active_memory()
mx.reset_peak_memory()
loss = lambda h, w: cross_entropy(h, w, targets, mask, chunk_tokens=chunk, z_loss=1e-4, label_smoothing=0.1)
mx.eval(mx.value_and_grad(loss, argnums=(0, 1))(hidden, weight))
print((mx.get_peak_memory() - before) / (N * V * 4), chunk / N)
"""


def test_only_a_few_chunks_of_logits_exist_at_a_time() -> None:
    """Peak memory, value and gradients together, as a share of the whole batch's float32 logits."""
    done = subprocess.run([sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True)
    peak, chunk = map(float, done.stdout.split())
    assert peak < 16 * chunk == 0.25


# The objective of pre-training


def gradients(model: Transformer, inputs: mx.array, targets: mx.array, **options: Any) -> dict[str, mx.array]:
    from mlxllm.model.module import named_parameters, set_parameters

    def loss(parameters: dict[str, mx.array]) -> mx.array:
        set_parameters(model, parameters)
        return next_token_loss(model, inputs, targets, **options)[0]

    parameters = named_parameters(model)
    found: dict[str, mx.array] = mx.grad(loss)(parameters)
    mx.eval(found)
    set_parameters(model, parameters)
    return found


@pytest.mark.parametrize("tied", [True, False])
def test_the_models_loss_and_gradients_equal_those_of_its_logits(tied: bool) -> None:
    from mlxllm.model.module import named_parameters, set_parameters

    model = tiny_model(tie_word_embeddings=tied)
    rows = token_ids(3, 11)
    inputs, targets = rows[:, :-1], rows[:, 1:]

    def plain(parameters: dict[str, mx.array]) -> mx.array:
        set_parameters(model, parameters)
        logits = model(inputs)
        logprobs = logits - mx.logsumexp(logits, axis=-1, keepdims=True)
        return -mx.sum(mx.take_along_axis(logprobs, targets[..., None], axis=-1))

    parameters = named_parameters(model)
    expected_loss, expected = mx.value_and_grad(plain)(parameters)
    mx.eval(expected_loss, expected)
    set_parameters(model, parameters)
    loss, count = next_token_loss(model, inputs, targets, chunk_tokens=7)
    assert float(loss) == pytest.approx(float(expected_loss), rel=1e-5)
    assert int(count) == 30
    for name, gradient in gradients(model, inputs, targets, chunk_tokens=7).items():
        np.testing.assert_allclose(np.array(gradient), np.array(expected[name]), rtol=1e-3, atol=2e-4, err_msg=name)


def test_a_loss_mask_counts_its_tokens_only() -> None:
    model = tiny_model()
    rows = token_ids(2, 9)
    inputs, targets = rows[:, :-1], rows[:, 1:]
    mask = mx.array([[1] * 8, [1] * 3 + [0] * 5])
    loss, count = next_token_loss(model, inputs, targets, mask)
    first, _ = next_token_loss(model, inputs[:1], targets[:1])
    rest, _ = next_token_loss(model, inputs[1:, :3], targets[1:, :3])
    assert int(count) == 11
    assert float(loss) == pytest.approx(float(first + rest), rel=1e-5)


def test_the_balance_loss_counts_in_training_only() -> None:
    model = tiny_model(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, router_aux_loss_coef=0.5)
    rows = token_ids(2, 9)
    model.eval()
    plain, count = next_token_loss(model, rows[:, :-1], rows[:, 1:])
    model.train()
    with_balance, _ = next_token_loss(model, rows[:, :-1], rows[:, 1:])
    balance = model.balance_loss()
    assert balance is not None
    assert float(balance) > 0.5
    assert float(with_balance) == pytest.approx(float(plain + 0.5 * balance * count), rel=1e-5)


def test_uniform_logits_cost_log_of_the_vocabulary() -> None:
    model = tiny_model(tie_word_embeddings=False)
    model.lm_head.weight = mx.zeros_like(model.lm_head.weight)
    rows = token_ids(2, 9)
    loss, count = next_token_loss(model, rows[:, :-1], rows[:, 1:])
    assert float(loss / count) == pytest.approx(np.log(VOCAB), rel=1e-6)


@pytest.mark.parametrize(("z_loss", "smoothing"), [(0.0, 0.0), (1e-2, 0.1)])
def test_a_frozen_head_changes_neither_the_loss_nor_the_other_gradient(z_loss: float, smoothing: float) -> None:
    arrays = [mx.array(a.astype(np.float32) if a.dtype != np.int64 else a) for a in drawn(23, 11, seed=3)]
    hidden, weight, targets, mask = arrays

    def loss(hidden: mx.array, head_is_trained: bool) -> mx.array:
        options = {"chunk_tokens": 7, "z_loss": z_loss, "label_smoothing": smoothing}
        return cross_entropy(hidden, weight, targets, mask, **options, head_is_trained=head_is_trained)

    trained, frozen = (mx.value_and_grad(loss)(hidden, kind) for kind in (True, False))
    assert frozen[0].item() == trained[0].item()
    assert mx.array_equal(frozen[1], trained[1])


def test_adapters_freeze_the_head() -> None:
    model = tiny_model()
    assert model.head_is_trained
    adapt(model, LoraConfig())
    assert not model.head_is_trained
