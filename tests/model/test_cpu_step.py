"""The step of generation on the CPU gives what the general one gives, and stays away from what it cannot do."""

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm import runtime
from mlxllm.config import LoraConfig, ModelConfig
from mlxllm.model import cpu_products
from mlxllm.model import cpu_step as cpu_step_module
from mlxllm.model.adapters import adapt
from mlxllm.model.cpu_products import Pace, Product
from mlxllm.model.cpu_step import cpu_step
from mlxllm.model.kv_cache import STEP, make_cache
from mlxllm.model.transformer import Transformer, build_model

SHAPE: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 32, "initializer_range": 0.3,
}  # fmt: skip
VARIANTS: list[dict[str, Any]] = [
    {},
    {"num_key_value_heads": 4, "tie_word_embeddings": False},
    {"num_key_value_heads": 1, "head_dim": 6, "qk_norm": True},
    {"positions": "learned", "norm": "layernorm", "mlp_gated": False, "hidden_act": "gelu_new"},
    {"positions": "sinusoidal", "norm_position": "post", "hidden_act": "relu"},
    {"positions": "none", "hidden_act": "relu2"},
    {"attention_bias": True, "attention_out_bias": True, "mlp_bias": True, "norm": "layernorm"},
    {"rope_scaling": {"rope_type": "linear", "factor": 3.0}, "no_rope_layers": [1, 0]},
]  # fmt: skip


def model_of(**changes: Any) -> Transformer:
    """A model in which nothing is one or zero by chance of its beginning."""
    model = build_model(ModelConfig.model_validate({**SHAPE, **changes}), seed=1)
    key = mx.random.key(2)
    model.apply(lambda p: p + 0.1 * mx.random.normal(p.shape, key=key) if p.ndim == 1 else p)
    model.eval()
    return model


@pytest.mark.parametrize("shape", VARIANTS)
def test_the_logits_are_those_of_the_general_step(shape: dict[str, Any]) -> None:
    model = model_of(**shape)
    prompt, following = [[5, 9, 2, 40, 7]], [1, 30, 30, 4]
    whole = model(mx.array([prompt[0] + following]))[0]
    cache = make_cache(model.config)
    model(mx.array(prompt), cache)
    step = cpu_step(model, cache)
    assert step is not None
    for n, token in enumerate(following):
        logits = step(np.array([token]))
        assert logits.shape == (1, 50)
        assert np.allclose(logits[0], whole[5 + n], rtol=1e-4, atol=1e-4)
    assert [layer.offset for layer in cache] == [9, 9]
    # The general step goes on behind it, and it behind that again.
    more = model(mx.array([[8, 3]]), cache)[0]
    again = step(np.array([6]))[0]
    expected = model(mx.array([prompt[0] + following + [8, 3, 6]]))[0]
    assert np.allclose(more, expected[9:11], rtol=1e-4, atol=1e-4)
    assert np.allclose(again, expected[11], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", VARIANTS)
def test_several_rows_have_their_own_positions_and_see_their_own_past(shape: dict[str, Any]) -> None:
    model = model_of(**shape)
    prompts = [[5, 9, 2, 40, 7], [3, 1, 0, 0, 0], [8, 8, 6, 0, 0]]  # padded on the right
    lengths = np.array([5, 2, 3])
    cache = make_cache(model.config)
    model(mx.array(prompts), cache)
    step = cpu_step(model, cache)
    assert step is not None
    written = [[11, 12], [21, 22], [31, 32]]
    for n in range(2):
        slots = np.arange(5 + n + 1)
        visible = (slots >= 5) | (slots < lengths[:, None])
        logits = step(np.array([row[n] for row in written]), lengths + n, visible)
    for row in range(3):
        alone = model(mx.array([prompts[row][: lengths[row]] + written[row]]))[0, -1]
        assert np.allclose(logits[row], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kv_heads", [2, 4])
def test_a_cache_grows_under_it(kv_heads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_step_module, "_ONE_THREAD", 1700)  # attention in pieces of 106 positions
    model = model_of(num_key_value_heads=kv_heads)
    ids = np.random.default_rng(0).integers(50, size=STEP + 3).tolist()
    cache = make_cache(model.config)
    model(mx.array([ids[: STEP - 2]]), cache)
    step = cpu_step(model, cache)
    assert step is not None
    for token in ids[STEP - 2 :]:
        logits = step(np.array([token]))
    assert np.allclose(logits[0], model(mx.array([ids]))[0, -1], rtol=1e-3, atol=1e-3)


def test_what_it_cannot_do_is_left_to_the_general_step() -> None:
    model = model_of()

    def offered(model: Transformer, **options: Any) -> bool:
        cache = make_cache(model.config, **options)
        model(mx.array([[1, 2, 3]]), cache)
        return cpu_step(model, cache) is not None

    assert offered(model)
    assert cpu_step(model, make_cache(model.config)) is None, "an empty cache has no memory to write to"
    assert not offered(model, max_size=8)
    assert not offered(model_of(head_dim=32), bits=8)
    for shape in (
        {"num_experts": 2, "moe_intermediate_size": 16},
        {"sliding_window": 4},
        {"hidden_act": "gelu"},
    ):
        assert not offered(model_of(**shape))
    half = model_of()
    half.set_dtype(mx.bfloat16)
    assert not offered(half)
    tuned = model_of()
    adapt(tuned, LoraConfig())
    assert not offered(tuned)
    unknown = model_of()

    class Other(type(unknown.model.layers[1].mlp)):  # type: ignore[misc]
        """Computes something else."""

    unknown.model.layers[1].mlp = Other(unknown.config, bias=False)
    assert not offered(unknown)


@pytest.mark.parametrize("columns", [1, 3, 8])
@pytest.mark.parametrize("shape", [(64, 48), (700, 512), (37, 11)])
@pytest.mark.parametrize("openblas", [True, False])
def test_products(columns: int, shape: tuple[int, int], openblas: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not openblas:
        monkeypatch.setattr(cpu_products, "_GEMV", None)
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
    x = rng.standard_normal((columns, shape[1])).astype(np.float32).T  # not contiguous
    expected = weight @ x + bias[:, None]
    for given in (mx.array(weight.astype(np.float32)), mx.array(weight.T.astype(np.float32)).T):
        product = Product(given, mx.array(bias.astype(np.float32)))
        assert np.allclose(product(x), expected, rtol=1e-4, atol=1e-4)
        out = np.empty((shape[0], columns), np.float32)
        assert product(x, out=out) is out
        assert np.allclose(out, expected, rtol=1e-4, atol=1e-4)


def test_the_pace_keeps_to_one_thread_while_the_cores_are_busy() -> None:
    def alone(seconds: dict[bool, float], steps: int, pace: Pace) -> list[bool]:
        made = []
        for _ in range(steps):
            made.append(pace.alone)
            pace.note(seconds[pace.alone])
        return made

    pace = Pace()
    assert alone({False: 6.0, True: 10.0}, 50, pace) == [False, True] + [False] * 48, "one step to compare with"
    busy = alone({False: 300.0, True: 30.0}, 1000, pace)
    assert busy.count(False) == 8
    assert busy[:7] == [False, True, True, True, True, False, True]
    calm = alone({False: 6.0, True: 10.0}, 1000, pace)
    assert calm[-400:] == [False] * 400


def test_the_pace_gives_the_threads_back() -> None:
    threads = runtime.blas_threads()
    pace = Pace()
    for _ in range(4):
        with pace.step():
            assert runtime.blas_threads() == (1 if pace.alone else threads)
        assert runtime.blas_threads() == threads
