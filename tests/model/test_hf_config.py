"""config.json to ModelConfig and back: published ones, both spellings of transformers, and what is refused."""

import copy
from typing import Any

import pytest

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.model.hf_config import architecture_of, config_from_hf, config_to_hf, why_no_architecture
from mlxllm.model.hf_weights import expected_shapes
from tests.model.families_data import POINTS, PUBLISHED
from tests.model.tiny import tiny_config


def published(name: str, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PUBLISHED[name][0]), **changes}


def without(raw: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in raw.items() if key not in keys}


def count(config: ModelConfig) -> int:
    total = 0
    for shape in expected_shapes(config).values():
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_have_the_published_number_of_parameters(name: str) -> None:
    raw, parameters = PUBLISHED[name]
    config = config_from_hf(raw)
    assert count(config) == parameters
    assert config.dropout == 0


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_configs_come_back(name: str) -> None:
    raw, _ = PUBLISHED[name]
    config = config_from_hf(raw)
    written = config_to_hf(config)
    assert written["architectures"] == raw["architectures"]
    same = config.model_copy(update={"head_dim": written.get("head_dim")})  # which may have been left out
    assert config_from_hf(written) == same
    assert same.resolved_head_dim == config.resolved_head_dim
    for key in written.keys() & raw.keys() - {"max_window_layers", "sliding_window"}:  # idle without a window
        assert written[key] == raw[key], key


@pytest.mark.parametrize("point", POINTS)
def test_points_of_a_family_are_known_and_come_back(point: str) -> None:
    architecture, changes = POINTS[point]
    config = tiny_config(**changes)
    assert architecture_of(config) == architecture
    back = config_from_hf(config_to_hf(config))
    assert config_to_hf(back) == config_to_hf(config)
    assert expected_shapes(back) == expected_shapes(config)
    same = ("rope_theta", "rope_scaling", "sliding_window", "hidden_act", "norm_eps", "tie_word_embeddings")
    assert [getattr(back, name) for name in same] == [getattr(config, name) for name in same]


def test_training_settings_do_not_decide_the_architecture() -> None:
    config = tiny_config(dropout=0.2, initializer_range=0.1, zero_init_outputs=True, router_aux_loss_coef=0.5)
    assert architecture_of(config) == "LlamaForCausalLM"
    assert architecture_of(tiny_config(norm_topk_prob=False, num_experts_per_tok=7)) == "LlamaForCausalLM"


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"positions": "sinusoidal"}, ["positions", "'sinusoidal'"]),
        ({"positions": "none"}, ["positions"]),
        ({"norm": "layernorm"}, ["norm"]),
        ({"norm_position": "post"}, ["norm_position = 'pre'", "'post'"]),
        ({"mlp_gated": False}, ["mlp_gated"]),
        ({"attention_out_bias": True}, ["attention_out_bias"]),
        ({"qk_norm": True, "mlp_bias": True}, ["mlp_bias"]),
        (
            {"num_experts": 2, "moe_intermediate_size": 8, "norm_topk_prob": False},
            ["norm_topk_prob = True", "False"],
        ),
        (
            {"positions": "learned", "norm": "layernorm", "mlp_gated": False, "attention_bias": True},
            ["GPT2LMHeadModel"],
        ),
    ],
)
def test_no_architecture_is_said_with_the_field(changes: dict[str, Any], fields: list[str]) -> None:
    config = tiny_config(**changes)
    assert architecture_of(config) is None
    reason = why_no_architecture(config)
    assert all(field in reason for field in fields), reason
    with pytest.raises(ModelError, match="no Hugging Face architecture"):
        config_to_hf(config)


def test_rope_of_transformers_5_is_that_of_4() -> None:
    old = published("Llama-3.2-1B")
    new = without(old, "rope_theta", "rope_scaling")
    new["rope_parameters"] = {**old["rope_scaling"], "rope_theta": old["rope_theta"]}
    assert config_from_hf(new) == config_from_hf(old)
    plain = without(published("Qwen3-0.6B"), "rope_theta")
    plain["rope_parameters"] = {"rope_type": "default", "rope_theta": 1000000}
    assert config_from_hf(plain) == config_from_hf(published("Qwen3-0.6B"))


def test_other_spellings() -> None:
    raw = published("Qwen3-30B-A3B")
    renamed = without(raw, "num_experts") | {"num_local_experts": 128}
    assert config_from_hf(renamed) == config_from_hf(raw)
    raw = published("Llama-3.2-1B")
    assert config_from_hf(without(raw, "architectures")) == config_from_hf(raw)  # model_type alone
    legacy = published("Mistral-7B-v0.1", rope_scaling={"type": "linear", "factor": 2.0})
    scaling = config_from_hf(legacy).rope_scaling
    assert scaling is not None
    assert (scaling.rope_type, scaling.factor) == ("linear", 2.0)
    assert config_from_hf(published("gpt2", activation_function="gelu_pytorch_tanh")).hidden_act == "gelu_new"
    assert config_from_hf(published("Llama-3.2-1B", hidden_act="swish")).hidden_act == "silu"


def test_what_it_means_to_leave_a_key_out() -> None:
    llama = config_from_hf(
        without(
            published("Llama-3.2-1B"),
            "num_key_value_heads",
            "head_dim",
            "rope_theta",
            "rope_scaling",
            "tie_word_embeddings",
        )
    )
    assert llama.num_key_value_heads == llama.num_attention_heads
    assert (llama.resolved_head_dim, llama.rope_theta, llama.tie_word_embeddings) == (64, 10000.0, False)
    assert config_from_hf(without(published("Mistral-7B-v0.1"), "sliding_window")).sliding_window == 4096
    assert config_from_hf(without(published("Mixtral-8x7B-v0.1"), "rope_theta")).rope_theta == 1e6
    assert config_from_hf(without(published("Qwen3-0.6B"), "head_dim")).head_dim == 128
    gpt2 = config_from_hf(published("gpt2"))
    assert (gpt2.intermediate_size, gpt2.tie_word_embeddings) == (3072, True)
    assert config_from_hf(published("gpt2", n_inner=100)).intermediate_size == 100


@pytest.mark.parametrize(
    ("changes", "window"),
    [
        ({"use_sliding_window": False, "sliding_window": 64, "max_window_layers": 0}, None),
        ({"use_sliding_window": True, "sliding_window": None}, None),
        ({"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 0}, 64),
        ({"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 28}, None),
        (
            {"use_sliding_window": True, "sliding_window": 64, "layer_types": ["sliding_attention"] * 28},
            64,
        ),
        ({"use_sliding_window": True, "sliding_window": 64, "layer_types": ["full_attention"] * 28}, None),
    ],
)
def test_qwens_window_needs_its_switch(changes: dict[str, Any], window: int | None) -> None:
    assert config_from_hf(published("Qwen3-0.6B", **changes)).sliding_window == window


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        (
            "gpt2",
            {"architectures": ["PhiForCausalLM"]},
            r"'PhiForCausalLM'.*known are LlamaForCausalLM.*GPT2LMHeadModel",
        ),
        ("gpt2", {"architectures": ["GPT2ForSequenceClassification"]}, r"'GPT2ForSequenceClassification'"),
        ("gpt2", {"architectures": None, "model_type": None}, r"names no architecture"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, r"scale_attn_by_inverse_layer_idx = True"),
        ("gpt2", {"scale_attn_weights": False}, r"scale_attn_weights = False.*only True"),
        ("gpt2", {"add_cross_attention": True}, r"add_cross_attention"),
        ("gpt2", {"activation_function": "tanh"}, r"activation_function = 'tanh'.*known are silu"),
        ("Llama-3.2-1B", {"hidden_act": "mish"}, r"hidden_act = 'mish'"),
        ("Llama-3.2-1B", {"partial_rotary_factor": 0.5}, r"partial_rotary_factor = 0.5"),
        (
            "Llama-3.2-1B",
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            r"partial_rotary_factor = 0.5",
        ),
        ("Llama-3.2-1B", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, r"rope_scaling.rope_type = 'yarn'"),
        ("Llama-3.2-1B", {"rope_scaling": {"rope_type": "llama3", "factor": 4.0}}, r"lacks the key rope_scaling.low"),
        (
            "Llama-3.2-1B",
            {"rope_parameters": {"full_attention": {"rope_theta": 1.0}}},
            r"rope_parameters.*all layers must rotate",
        ),
        ("Llama-3.2-1B", {"quantization_config": {"bits": 4}}, r"quantised \(quantization_config\).*as it was before"),
        ("Llama-3.2-1B", {"quantization_config": {"quant_method": "fp8"}}, r"quantised by fp8 \(quantization_config\)"),
        ("Llama-3.2-1B", {"quantization_config": {"quant_method": "gptq"}}, r"quantised by gptq \(quantization"),
        ("Llama-3.2-1B", {"quantization_config": {"quant_method": "awq"}}, r"quantised by awq \(quantization"),
        ("Llama-3.2-1B", {"architectures": ["My"], "auto_map": {"a": "b"}}, r"'My', .*auto_map points to is never run"),
        ("Llama-3.2-1B", {"architectures": ["My"], "model_file": "m.py"}, r"'My', .*model_file points to is never run"),
        ("Llama-3.2-1B", {"hidden_size": "wide"}, r"hidden_size"),
        ("Llama-3.2-1B", {"num_key_value_heads": 5}, r"not a multiple of num_key_value_heads 5"),
        ("Llama-3.2-1B", {"rms_norm_eps": -1}, r"rms_norm_eps"),
        ("Qwen3-30B-A3B", {"decoder_sparse_step": 2}, r"decoder_sparse_step = 2"),
        ("Qwen3-30B-A3B", {"mlp_only_layers": [0]}, r"mlp_only_layers = \[0\]"),
        (
            "Qwen3-0.6B",
            {"use_sliding_window": True, "sliding_window": 64, "max_window_layers": 14},
            r"max_window_layers = 14.*all layers must have the window, or none",
        ),
        (
            "Mistral-7B-v0.1",
            {"layer_types": ["sliding_attention", "full_attention"] * 16},
            r"layer_types = .*one kind",
        ),
    ],
)
def test_refused_with_the_name_of_the_key(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        config_from_hf(published(name, **changes))


@pytest.mark.parametrize("key", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=f"LlamaForCausalLM lacks the key '{key}'"):
        config_from_hf(without(published("Llama-3.2-1B"), key))
