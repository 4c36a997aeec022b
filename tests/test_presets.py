"""Every shipped recipe: it is built and makes a step, and its costs are those of what was built."""

import json

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError
from mlxllm.estimate import count_parameters
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.presets import PRESETS, TUNING_PRESETS, preset_config
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.schedules import warmup_steps
from mlxllm.training.step import TrainStep, initial_state

REQUIRED = {
    "char-tiny",
    "shakespeare-char-cpu",
    "shakespeare-char",
    "transformer-2017",
    "gpt2-124m",
    "small-10m",
    "story-30m",
    "base-124m",
}
VOCABULARY = {"gpt2-124m": 50_257, "base-124m": 32_000}


def test_the_promised_presets_are_there() -> None:
    assert set(PRESETS) >= REQUIRED
    assert any(preset_config(name).model.num_experts for name in PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_built_and_makes_a_step(name: str) -> None:
    """The real widths, on one short row. All of a large model is built, two of its blocks are stepped: an update by
    Muon of all twelve takes a small machine a minute.
    """
    config = preset_config(name)
    assert config.preset == name
    config = config.with_values(
        model={"vocab_size": VOCABULARY.get(name, 500)}, train={"batch_size": 1, "grad_accum_steps": 1, "lanes": 1}
    )
    whole = named_parameters(Transformer(config.model))  # lazy: shapes alone cost nothing
    assert sum(p.size for p in whole.values()) == count_parameters(config.model)
    if count_parameters(config.model) > 20e6:
        config = config.with_values(model={"num_hidden_layers": 2})
    model = build_model(config.model, 1)
    state = initial_state(model, config.train)
    before = dict(state.parameters)
    rows = mx.array(np.random.default_rng(0).integers(0, config.model.vocab_size, (1, 17)))
    state, metrics = TrainStep(model, config.train, next_token_loss)(state, (rows[:, :-1], rows[:, 1:]))
    mx.eval(state.arrays(), metrics.arrays())
    assert bool(metrics.finite)
    guess = np.log(config.model.vocab_size)
    # With tied weights a block-free model favours the token it has just read, by up to initializer_range * D.
    favour = config.model.initializer_range * config.model.hidden_size
    assert 0.8 * guess < float(metrics.loss) < guess + favour
    still = {n for n, p in state.parameters.items() if bool(mx.array_equal(p, before[n]))}
    # What stands before an output projection that begins at zero gets no gradient in the first step.
    if not config.model.zero_init_outputs:
        assert {n for n in still if not n.endswith("k_proj.bias")} == set()
    assert "model.embed_tokens.weight" not in still
    assert len(still) < len(before)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_consistent(name: str) -> None:
    config = preset_config(name)
    assert RunConfig.model_validate(json.loads(json.dumps(config.model_dump(mode="json")))) == config
    assert config.data.dataset == ""
    assert config.model.vocab_size == 0
    assert config.data.max_seq_len <= config.model.max_position_embeddings
    assert warmup_steps(config.train) == config.train.warmup_steps
    assert PRESETS[name].__doc__
    if name != "transformer-2017":
        config_to_hf(config.model.model_copy(update={"vocab_size": 500}))  # what it trains can leave


def test_sizes_are_what_the_names_say() -> None:
    def count(name: str, vocab_size: int) -> int:
        return count_parameters(preset_config(name).model.model_copy(update={"vocab_size": vocab_size}))

    assert count("gpt2-124m", 50_257) == 124_439_808
    assert 9e6 < count("small-10m", 8_192) < 12e6
    assert 27e6 < count("story-30m", 8_192) < 33e6
    assert 0.8 * 124e6 < count("base-124m", 32_000) < 1.15 * 124e6


def test_the_reference_setups_have_the_references_sizes() -> None:
    """Layers, heads, width, context, batch: design of the published runs by character."""
    small, full = preset_config("shakespeare-char-cpu"), preset_config("shakespeare-char")
    for config, shape in ((small, (4, 4, 128, 64, 12, 0.0)), (full, (6, 6, 384, 256, 64, 0.2))):
        model, train = config.model, config.train
        assert shape == (
            model.num_hidden_layers,
            model.num_attention_heads,
            model.hidden_size,
            config.data.max_seq_len,
            train.batch_size * train.grad_accum_steps,
            model.dropout,
        )
    assert small.train.max_steps <= 2000


def test_the_2017_block() -> None:
    model = preset_config("transformer-2017").model
    assert (model.positions, model.norm, model.norm_position, model.hidden_act, model.mlp_gated) == (
        "sinusoidal", "layernorm", "post", "relu", False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "char", "CHAR-TINY", "char_tiny"])
def test_an_unknown_preset_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(ConfigError) as refused:
        preset_config(name)
    assert str(refused.value) == f"preset {name!r} does not exist; there are {', '.join([*PRESETS, *TUNING_PRESETS])}"
