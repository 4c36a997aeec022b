"""One training step: accumulation, lanes, compilation, recomputation, precision, clipping, skipped updates."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import TrainConfig
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.step import Batch, StepMetrics, TrainState, TrainStep, evenly, initial_state, install
from tests.model.tiny import VOCAB, tiny_config
from tests.training import tiny

T = 12


def recipe(**changes: Any) -> TrainConfig:
    values = {
        "batch_size": 4, "max_steps": 100, "warmup_steps": 0, "schedule": "constant", "seed": 3, "lanes": 1,
        "learning_rate": 1e-2, **changes,
    }  # fmt: skip
    return TrainConfig.model_validate(values)


def rows(count: int, seed: int = 0) -> mx.array:
    return mx.array(np.random.default_rng(seed).integers(0, VOCAB, (count, T + 1)))


def full(count: int = 4, seed: int = 0) -> Batch:
    r = rows(count, seed)
    return r[:, :-1], r[:, 1:]


def unequal(count: int = 4) -> Batch:
    """Rows of very different lengths, the rest masked."""
    lengths = [12, 1, 7, 2, 12, 3, 1, 9][:count]
    r = rows(count)
    return r[:, :-1], r[:, 1:], mx.array([[1.0] * n + [0.0] * (T - n) for n in lengths])


def stepped(
    train: TrainConfig, batch: Batch, steps: int = 1, *, model: dict[str, Any] | None = None, **options: Any
) -> tuple[TrainState, StepMetrics]:
    built = build_model(tiny_config(initializer_range=0.1, **(model or {})), seed=1)
    built.model.gradient_checkpointing = train.gradient_checkpointing
    step = TrainStep(built, train, next_token_loss, **options)
    state = initial_state(built, train)
    for _ in range(steps):
        state, metrics = step(state, batch)
        mx.eval(state.arrays(), metrics.arrays())
    return state, metrics


def gradients(state: TrainState) -> dict[str, np.ndarray]:
    """Of the first step, from AdamW's or Lion's first moment, which is a multiple of them."""
    return {n: np.array(m) for n, m in state.optimizer.items() if n.startswith("m.")}


def assert_near(
    one: tuple[TrainState, StepMetrics], other: tuple[TrainState, StepMetrics], tolerance: float = 2e-5
) -> None:
    """Equal loss, norm and gradients but for rounding."""
    for a, b in zip(one[1].arrays(), other[1].arrays(), strict=True):
        assert float(a) == pytest.approx(float(b), rel=tolerance)
    theirs = gradients(other[0])
    for name, gradient in gradients(one[0]).items():
        size = np.abs(theirs[name]).max()
        np.testing.assert_allclose(gradient, theirs[name], atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("batch", [full, unequal])
def test_four_passes_of_one_row_equal_one_pass_of_four(batch: Callable[[], Batch]) -> None:
    one = stepped(recipe(max_grad_norm=0), batch())
    four = stepped(recipe(max_grad_norm=0, batch_size=1, grad_accum_steps=4), batch())
    two = stepped(recipe(max_grad_norm=0, batch_size=2, grad_accum_steps=2), batch())
    assert_near(four, one)
    assert_near(two, one)
    assert int(four[1].num_tokens) == (48 if batch is full else 22)


def test_accumulation_is_weighted_by_tokens() -> None:
    """The loss is the mean over all tokens, not the mean of the passes' means."""
    train = recipe(batch_size=1, grad_accum_steps=4)
    inputs, targets, mask = unequal()
    model = build_model(tiny_config(initializer_range=0.1), seed=1)
    sums = [next_token_loss(model, inputs[i : i + 1], targets[i : i + 1], mask[i : i + 1]) for i in range(4)]
    of_tokens = sum(float(s) for s, _ in sums) / sum(float(n) for _, n in sums)
    of_means = sum(float(s) / float(n) for s, n in sums) / 4
    _, metrics = stepped(train, unequal())
    assert float(metrics.loss) == pytest.approx(of_tokens, rel=1e-5)
    assert float(metrics.loss) != pytest.approx(of_means, rel=1e-4)


@pytest.mark.parametrize("lanes", [2, 4])
def test_lanes_change_nothing_but_rounding(lanes: int) -> None:
    assert_near(stepped(recipe(), unequal(), lanes=lanes), stepped(recipe(), unequal()))


def test_lanes_must_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="a batch of 4 rows does not divide into 3 lanes"):
        stepped(recipe(), full(), lanes=3)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "lion"])
def test_gradient_checkpointing_changes_nothing(optimizer: str) -> None:
    kept = stepped(recipe(optimizer=optimizer), full())
    recomputed = stepped(recipe(optimizer=optimizer, gradient_checkpointing=True), full())
    assert_near(recomputed, kept, 1e-6)


@pytest.mark.compiled
def test_compiled_equals_eager() -> None:
    train = recipe(optimizer="muon", batch_size=2, grad_accum_steps=2)
    compiled = stepped(train, full(), 2)
    mx.disable_compile()
    eager = stepped(train, full(), 2)
    mx.enable_compile()
    assert_near(compiled, eager)
    for name, parameter in compiled[0].parameters.items():
        np.testing.assert_allclose(np.array(parameter), np.array(eager[0].parameters[name]), atol=1e-3, err_msg=name)


def test_dropout_is_drawn_anew_for_each_step_and_pass() -> None:
    """With a learning rate of next to nothing the losses of equal batches differ by dropout alone."""
    train = recipe(learning_rate=1e-20, weight_decay=0.0)
    losses = [float(stepped(train, full(), n, model={"dropout": 0.5})[1].loss) for n in (1, 2, 3)]
    assert len(set(losses)) == 3
    assert losses[0] == float(stepped(train, full(), 1, model={"dropout": 0.5})[1].loss)
    other = recipe(learning_rate=1e-20, weight_decay=0.0, seed=4)
    assert losses[0] != float(stepped(other, full(), 1, model={"dropout": 0.5})[1].loss)
    once = rows(1)
    twice = mx.concatenate([once, once])
    batch = (twice[:, :-1], twice[:, 1:])
    passes = recipe(batch_size=1, grad_accum_steps=2, learning_rate=1e-20, weight_decay=0.0)
    whole = float(stepped(passes, batch, model={"dropout": 0.5})[1].loss)
    one = recipe(batch_size=1, grad_accum_steps=1, learning_rate=1e-20, weight_decay=0.0)
    first = float(stepped(one, (once[:, :-1], once[:, 1:]), model={"dropout": 0.5})[1].loss)
    assert whole != pytest.approx(first, rel=1e-6)


def test_bfloat16_keeps_float32_masters_and_trains() -> None:
    train = recipe(learning_rate=3e-3, optimizer="muon", muon_learning_rate=0.01)
    state, metrics = stepped(train, full(), 60, compute_dtype=mx.bfloat16)
    assert {a.dtype for a in state.arrays()} == {mx.float32}
    assert metrics.loss.dtype == mx.float32
    exact_state, exact = stepped(train, full(), 60)
    assert float(exact.loss) < 1.0
    assert float(metrics.loss) == pytest.approx(float(exact.loss), abs=0.2)
    # A float32 master holds what bfloat16 could not.
    weight = state.parameters["model.embed_tokens.weight"]
    assert bool(mx.any(weight.astype(mx.bfloat16).astype(mx.float32) != weight))
    assert set(exact_state.parameters) == set(state.parameters)


def test_bfloat16_gradients_are_near() -> None:
    half = gradients(stepped(recipe(), full(), compute_dtype=mx.bfloat16)[0])
    exact = gradients(stepped(recipe(), full())[0])
    for name, gradient in exact.items():
        assert np.abs(half[name] - gradient).max() < 0.1 * np.abs(gradient).max() + 1e-6, name


def test_clipping() -> None:
    """Gradients are scaled down to the norm, never up; the reported norm is the one before."""
    free = stepped(recipe(max_grad_norm=0), full())
    norm = float(free[1].grad_norm)
    expected = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in gradients(free[0]).values())) / 0.1
    assert norm == pytest.approx(expected, rel=1e-4)  # beta1 is 0.9: the first moment is a tenth of the gradient
    for limit, share in [(norm / 4, 0.25), (norm * 4, 1.0)]:
        clipped = stepped(recipe(max_grad_norm=limit), full())
        assert float(clipped[1].grad_norm) == pytest.approx(norm, rel=1e-6)
        for name, gradient in gradients(clipped[0]).items():
            np.testing.assert_allclose(gradient, share * gradients(free[0])[name], rtol=1e-3, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("optimizer", ["adamw", "muon", "lion"])
def test_a_loss_that_is_not_finite_skips_the_update(optimizer: str) -> None:
    check_that_nan_skips(optimizer)


@pytest.mark.compiled
def test_a_loss_that_is_not_finite_skips_the_compiled_update() -> None:
    check_that_nan_skips("muon")


def check_that_nan_skips(optimizer: str) -> None:
    train = recipe(optimizer=optimizer, batch_size=2, grad_accum_steps=2)
    model = build_model(tiny_config(initializer_range=0.1), seed=1)
    step = TrainStep(model, train, next_token_loss)
    state, _ = step(initial_state(model, train), full())
    mx.eval(state.arrays())
    name = "model.layers.1.mlp.up_proj.weight"
    weight = np.array(state.parameters[name])
    weight[0, 0] = np.nan
    state.parameters[name] = mx.array(weight)
    after, metrics = step(state, full())
    mx.eval(after.arrays(), metrics.arrays())
    assert not bool(metrics.finite)
    assert after.step == state.step + 1
    for before, now in zip(state.arrays(), after.arrays(), strict=True):
        assert np.array(before).tobytes() == np.array(now).tobytes()


def test_a_gradient_that_overflows_skips_the_update() -> None:
    """The loss is finite and its gradient is not."""

    def steep(model: Transformer, inputs: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        loss, count = next_token_loss(model, inputs, targets)
        return loss + mx.sqrt(mx.abs(loss - mx.stop_gradient(loss))), count

    train = recipe()
    model = build_model(tiny_config(), seed=1)
    state = initial_state(model, train)
    after, metrics = TrainStep(model, train, steep)(state, full())
    assert bool(mx.isfinite(metrics.loss))
    assert not bool(metrics.finite)
    assert all(bool(mx.array_equal(a, b)) for a, b in zip(state.arrays(), after.arrays(), strict=True))


def test_a_batch_without_any_token_changes_no_gradient() -> None:
    inputs, targets = full()
    state, metrics = stepped(recipe(weight_decay=0.0), (inputs, targets, mx.zeros(targets.shape)))
    assert (float(metrics.loss), float(metrics.grad_norm), int(metrics.num_tokens)) == (0.0, 0.0, 0)
    assert all(not np.array(m).any() for m in state.optimizer.values())


def test_a_step_leaves_its_state_alone() -> None:
    """It returns the next one, so that a step that is only timed has no effect."""
    train = recipe(optimizer="muon")
    model = build_model(tiny_config(), seed=1)
    step, state = TrainStep(model, train, next_token_loss), initial_state(model, train)
    before = [np.array(a).tobytes() for a in state.arrays()]
    mx.eval(step(state, full())[0].arrays())
    assert [np.array(a).tobytes() for a in state.arrays()] == before
    assert state.step == 0


def test_installed_weights_are_the_states() -> None:
    train = recipe()
    model = build_model(tiny_config(), seed=1)
    state, _ = TrainStep(model, train, next_token_loss)(initial_state(model, train), full())
    install(model, state.parameters)
    assert all(bool(mx.array_equal(p, state.parameters[n])) for n, p in named_parameters(model).items())


def test_training_learns_a_text(data: Path, tmp_path: Path) -> None:
    """From the real text to the real trainer: the loss falls well below that of guessing by frequency."""
    listener = tiny.Listener()
    settings = tiny.config(data, optimizer="muon", max_steps=80, batch_size=8, checkpoint_every=0)
    tiny.train(tmp_path / "run", settings, listener)
    losses = [event["loss"] for event in listener.of("val")]
    assert losses[0] > 5.0
    assert losses[-1] < 1.7


def test_streams_share_the_weights_evenly() -> None:
    sizes = {"a": 100, "b": 1, "c": 60, "d": 41, "e": 0}
    arrays = {name: mx.zeros((size,)) for name, size in sizes.items()}
    parts = evenly(arrays, 2)
    assert sorted(name for names in parts for name in names) == sorted(sizes)
    assert [sum(sizes[name] for name in names) for names in parts] == [101, 101]
    assert evenly(dict(reversed(arrays.items())), 2) == parts
    assert evenly({"a": mx.zeros((3,))}, 2) == [["a"], []]
