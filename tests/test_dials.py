"""The size dial gives shapes that can be built, exported and said on a command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm import dials
from mlxllm.config import ModelConfig, RunConfig
from mlxllm.estimate import block_parameters
from mlxllm.presets import PRESETS, preset_config
from mlxllm.settings import build_config


@pytest.mark.parametrize("preset", PRESETS)
def test_every_position_is_as_large_as_it_says_and_grows_with_the_dial(preset: str) -> None:
    config = preset_config(preset)
    own = block_parameters(config.model)
    found = dials.sizes(config)
    assert any(size.factor == 1 and not size.changes for size in found)
    shares = [block_parameters(dials.apply(config, size).model) / own for size in found]
    assert shares == sorted(set(shares))
    for size, share in zip(found, shares, strict=True):
        assert share == pytest.approx(size.factor, rel=0.4)
    assert len(found) >= 4, "a preset that can be made smaller and larger"


@pytest.mark.parametrize("preset", PRESETS)
def test_heads_keep_their_width_and_sizes_stay_multiples_of_32(preset: str) -> None:
    before = preset_config(preset).model
    for size in dials.sizes(preset_config(preset)):
        model = dials.apply(preset_config(preset), size).model
        assert model.resolved_head_dim == before.resolved_head_dim
        assert model.hidden_size == model.num_attention_heads * model.resolved_head_dim
        assert model.num_attention_heads * before.num_key_value_heads == (
            model.num_key_value_heads * before.num_attention_heads
        )
        if size.changes:
            assert model.hidden_size % 32 == 0
            assert "model.intermediate_size" not in size.changes or model.intermediate_size % 32 == 0


@pytest.mark.parametrize("preset", ["char-tiny", "moe-small", "transformer-2017"])
def test_a_position_is_the_same_as_its_settings_on_the_command_line(preset: str) -> None:
    for size in dials.sizes(preset_config(preset)):
        settings = [f"{key}={value}" for key, value in size.changes.items()]
        assert build_config(preset=preset, settings=settings) == dials.apply(preset_config(preset), size)


@given(
    heads=st.sampled_from([1, 2, 4, 6, 8]),
    shared=st.sampled_from([1, 2]),
    head=st.sampled_from([32, 64]),
    blocks=st.integers(1, 16),
)
def test_any_shape_can_be_scaled(heads: int, shared: int, head: int, blocks: int) -> None:
    model = ModelConfig(
        hidden_size=heads * shared * head,
        num_hidden_layers=blocks,
        num_attention_heads=heads * shared,
        num_key_value_heads=heads,
        intermediate_size=heads * shared * head * 2,
    )
    found = dials.sizes(RunConfig(model=model))
    assert [size.factor for size in found] == sorted({size.factor for size in found})
    assert 1.0 in [size.factor for size in found]


def test_labels_are_words() -> None:
    assert [size.label for size in dials.sizes(preset_config("small-10m"))] == ["x1/4", "x1/2", "x1", "x2", "x4"]
    assert dials.time_label(None) == "the preset's own steps"
    assert [dials.time_label(m) for m in (5, 60, 480)] == ["5 min", "1 h", "8 h, over night"]
