"""Pieces whose inner results are formed again: the same gradients, and nothing of them is kept."""

from collections.abc import Callable

import mlx.core as mx
import mlx.nn as nn
import pytest

from mlxllm.config import LoraConfig, ModelConfig
from mlxllm.model import attention, feed_forward
from mlxllm.model.adapters import adapt
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.recompute import forming_again
from mlxllm.model.transformer import Transformer, build_model
from tests.model.adapted import moved

SHAPE = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
SHAPE |= {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": 64}
MODELS = {
    "llama": {},
    "gpt": {"norm": "layernorm", "mlp_gated": False, "hidden_act": "gelu", "mlp_bias": True, "attention_bias": True},
    "normalised queries": {"qk_norm": True},
    "norms behind": {"norm_position": "post"},
    "experts": {"num_experts": 4, "moe_intermediate_size": 32},
}


def _model(**changes: object) -> Transformer:
    model = build_model(ModelConfig.model_validate({**SHAPE, "zero_init_outputs": False, **changes}))
    model.train()
    return model


def _gradients(model: Transformer, compiled: bool = False) -> dict[str, mx.array]:
    ids = mx.random.randint(0, 64, (2, 40), key=mx.random.key(1))
    weights = trainable_parameters(model)

    def loss(weights: dict[str, mx.array]) -> mx.array:
        set_parameters(model, weights)
        return nn.losses.cross_entropy(model(ids)[:, :-1], ids[:, 1:]).sum()

    mx.random.seed(7)
    function = mx.grad(loss)
    found = (mx.compile(function) if compiled else function)(weights)
    set_parameters(model, weights)
    mx.eval(found)
    return found


def _plainly(piece: Callable[..., tuple[mx.array, ...]], modules: object, *inputs: mx.array) -> tuple[mx.array, ...]:
    return piece(*inputs)


def _assert_as_without(model: Transformer, monkeypatch: pytest.MonkeyPatch, compiled: bool = False) -> None:
    found = _gradients(model, compiled)
    for module in (attention, feed_forward):
        monkeypatch.setattr(module, "forming_again", _plainly)
    expected = _gradients(model)
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        far = mx.abs(found[name] - gradient).max().item()
        assert far <= 1e-5 * mx.abs(gradient).max().item() + 1e-6, name


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_of_the_model_without_it(
    name: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _assert_as_without(_model(**MODELS[name]), monkeypatch, compiled)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("quantized", [False, True])
def test_gradients_of_adapters_too_with_the_same_numbers_dropped(
    dropout: float, quantized: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = _model(hidden_size=64)
    targets = ["q_proj", "gate_proj", "down_proj"]
    quantize = "affine4" if quantized else None
    adapt(model, LoraConfig(rank=2, targets=targets, dropout=dropout, quantize=quantize))
    moved(model)
    model.train()
    _assert_as_without(model, monkeypatch)


def test_a_model_has_its_own_weights_again_afterwards() -> None:
    model = _model()
    before = named_parameters(model)
    _gradients(model)
    assert all(after is before[name] for name, after in named_parameters(model).items())


def test_of_many_pieces_only_a_few_are_there_at_a_time() -> None:
    """Each has eight arrays as large as its input within, which its gradient is formed from."""
    linear = nn.Linear(1, 1)
    linear.train()
    x = mx.random.normal((1 << 16, 1))
    mx.eval(x, linear.parameters())

    def piece(x: mx.array) -> tuple[mx.array, ...]:
        for _ in range(8):
            x = mx.sin(x) * linear.weight[0]
        return (x,)

    def peak(run: Callable[[mx.array], tuple[mx.array, ...]]) -> int:
        def loss(x: mx.array) -> mx.array:
            for _ in range(24):
                (x,) = run(x)
            return x.sum()

        before = mx.get_active_memory()
        mx.reset_peak_memory()
        mx.eval(mx.grad(loss)(x))
        return (mx.get_peak_memory() - before) // x.nbytes

    assert peak(lambda x: forming_again(piece, [linear], x)) < 0.5 * peak(piece)


def test_in_evaluation_a_piece_is_only_called() -> None:
    calls: list[bool] = []
    linear = nn.Linear(2, 2)
    linear.eval()

    def piece(x: mx.array) -> tuple[mx.array, ...]:
        calls.append(True)
        return (linear(x),)

    mx.eval(mx.grad(lambda x: forming_again(piece, [linear], x)[0].sum())(mx.ones((1, 2))))
    assert calls == [True]
