"""Which `ModelConfig` is which Hugging Face architecture, as tables: one `Family` each.

A field of ours is either fixed in a family or has a key in its config.json. `hf_config` and `hf_weights` read
the tables in both directions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SAME_EVERYWHERE = {name: name for name in ("vocab_size", "tie_word_embeddings", "initializer_range")}

_LLAMA_KEYS = {
    **_SAME_EVERYWHERE,
    "hidden_size": "hidden_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "head_dim": "head_dim",
    "intermediate_size": "intermediate_size",
    "max_position_embeddings": "max_position_embeddings",
    "hidden_act": "hidden_act",
    "norm_eps": "rms_norm_eps",
}
_LLAMA_FIXED: dict[str, Any] = {
    "positions": "rope",
    "norm": "rmsnorm",
    "norm_position": "pre",
    "mlp_gated": True,
    "no_rope_layers": (),
}
_DENSE = {"num_experts": 0}
_NO_BIAS = {"attention_bias": False, "attention_out_bias": False, "mlp_bias": False}
_ONE_ATTENTION_BIAS = {"attention_bias": "attention_bias", "attention_out_bias": "attention_bias"}
_LLAMA_DEFAULTS: dict[str, Any] = {
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-6,
    "initializer_range": 0.02,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_theta": 10000.0,
}
_EXPERTS = {
    "num_experts_per_tok": "num_experts_per_tok",
    "router_aux_loss_coef": "router_aux_loss_coef",
}


@dataclass(frozen=True)
class Rename:
    """Where in a checkpoint one of our arrays lies: `ours` in its name becomes `theirs`.

    `{expert}` in `theirs` stands for one matrix an expert, which we hold stacked as (E, out, in).
    """

    ours: str
    theirs: str
    transposed: bool = False
    """Their matrix is (in, out), where ours is (out, in)."""
    part: tuple[int, int] = (0, 1)
    """(i, n): ours is the i-th of n equal parts along their last axis."""


@dataclass(frozen=True)
class Family:
    """One Hugging Face architecture, as the part of our model that it covers."""

    architecture: str
    """The class that config.json names."""
    model_type: str
    fixed: Mapping[str, Any]
    """Our field -> the value that it always has here."""
    keys: Mapping[str, str]
    """Our field -> the key that holds it; two fields with one key are always equal here."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Key -> what it means to leave it out."""
    only: Mapping[str, Any] = field(default_factory=dict)
    """Key -> the one value of it that our model computes."""
    written: Mapping[str, Any] = field(default_factory=dict)
    """Key -> what is written so that transformers does not take a default of its own that fits one model only."""
    window: tuple[str, ...] = ()
    """Keys that decide about a sliding window: of `sliding_window`, `use_sliding_window` (must then be true) and
    `max_window_layers` (the first layer that has it)."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other spellings of keys."""
    renames: tuple[Rename, ...] = ()
    prefix: str = ""
    """What their names begin with, or not, depending on who wrote the file."""
    ignored: str = r".*\.rotary_emb\.inv_freq"
    """Names that may be there and hold nothing that was learned (regular expression)."""


FAMILIES: tuple[Family, ...] = (
    Family(
        architecture="LlamaForCausalLM",
        model_type="llama",
        fixed={**_LLAMA_FIXED, **_DENSE, "qk_norm": False, "sliding_window": None},
        keys={**_LLAMA_KEYS, **_ONE_ATTENTION_BIAS, "mlp_bias": "mlp_bias"},
        defaults=_LLAMA_DEFAULTS,
    ),
    Family(
        architecture="SmolLM3ForCausalLM",
        model_type="smollm3",
        fixed={
            **{name: value for name, value in _LLAMA_FIXED.items() if name != "no_rope_layers"},
            **_DENSE,
            "qk_norm": False,
            "sliding_window": None,
        },
        keys={
            **_LLAMA_KEYS,
            **_ONE_ATTENTION_BIAS,
            "mlp_bias": "mlp_bias",
            "no_rope_layers": "no_rope_layers",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "num_key_value_heads": 4,
            "rope_theta": 2e6,
            "tie_word_embeddings": True,
            "no_rope_layers": None,
        },
        only={"use_sliding_window": False},
        written={"pad_token_id": None, "bos_token_id": None, "eos_token_id": None},
    ),
    Family(
        architecture="MistralForCausalLM",
        model_type="mistral",
        fixed={**_LLAMA_FIXED, **_DENSE, **_NO_BIAS, "qk_norm": False},
        keys=_LLAMA_KEYS,
        defaults={**_LLAMA_DEFAULTS, "num_key_value_heads": 8, "sliding_window": 4096},
        window=("sliding_window",),
    ),
    Family(
        architecture="Qwen2ForCausalLM",
        model_type="qwen2",
        fixed={
            **_LLAMA_FIXED,
            **_DENSE,
            "qk_norm": False,
            "attention_bias": True,
            "attention_out_bias": False,
            "mlp_bias": False,
        },
        keys=_LLAMA_KEYS,
        defaults={**_LLAMA_DEFAULTS, "sliding_window": 4096, "max_window_layers": 28},
        window=("sliding_window", "use_sliding_window", "max_window_layers"),
    ),
    Family(
        architecture="Qwen3ForCausalLM",
        model_type="qwen3",
        fixed={**_LLAMA_FIXED, **_DENSE, "qk_norm": True, "mlp_bias": False},
        keys={**_LLAMA_KEYS, **_ONE_ATTENTION_BIAS},
        defaults={**_LLAMA_DEFAULTS, "head_dim": 128, "sliding_window": 4096, "max_window_layers": 28},
        window=("sliding_window", "use_sliding_window", "max_window_layers"),
    ),
    Family(
        architecture="Qwen3MoeForCausalLM",
        model_type="qwen3_moe",
        fixed={**_LLAMA_FIXED, "qk_norm": True, "mlp_bias": False},
        keys={
            **_LLAMA_KEYS,
            **_ONE_ATTENTION_BIAS,
            **_EXPERTS,
            "num_experts": "num_experts",
            "moe_intermediate_size": "moe_intermediate_size",
            "norm_topk_prob": "norm_topk_prob",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "num_key_value_heads": 4,
            "sliding_window": 4096,
            "norm_topk_prob": False,
            "router_aux_loss_coef": 0.001,
        },
        only={"decoder_sparse_step": 1, "mlp_only_layers": []},
        window=("sliding_window", "use_sliding_window"),
        aliases={"num_local_experts": "num_experts"},  # what transformers 5 writes
        renames=tuple(
            Rename(f".mlp.experts.{name}", f".mlp.experts.{{expert}}.{name}.weight")
            for name in ("gate_proj", "up_proj", "down_proj")
        ),
    ),
    Family(
        architecture="MixtralForCausalLM",
        model_type="mixtral",
        fixed={**_LLAMA_FIXED, **_NO_BIAS, "qk_norm": False, "norm_topk_prob": True},
        keys={
            **_LLAMA_KEYS,
            **_EXPERTS,
            "num_experts": "num_local_experts",
            "moe_intermediate_size": "intermediate_size",
        },
        defaults={
            **_LLAMA_DEFAULTS,
            "num_key_value_heads": 8,
            "rms_norm_eps": 1e-5,
            "rope_theta": 1e6,
            "sliding_window": None,
            "router_aux_loss_coef": 0.001,
            "num_experts_per_tok": 2,
            "num_local_experts": 8,
        },
        window=("sliding_window",),
        renames=(
            Rename(".mlp.gate.", ".block_sparse_moe.gate."),
            Rename(".mlp.experts.gate_proj", ".block_sparse_moe.experts.{expert}.w1.weight"),
            Rename(".mlp.experts.down_proj", ".block_sparse_moe.experts.{expert}.w2.weight"),
            Rename(".mlp.experts.up_proj", ".block_sparse_moe.experts.{expert}.w3.weight"),
        ),
    ),
    Family(
        architecture="GPT2LMHeadModel",
        model_type="gpt2",
        fixed={
            "positions": "learned",
            "norm": "layernorm",
            "norm_position": "pre",
            "mlp_gated": False,
            "qk_norm": False,
            "attention_bias": True,
            "attention_out_bias": True,
            "mlp_bias": True,
            "head_dim": None,
            "sliding_window": None,
            "num_experts": 0,
        },
        keys={
            **_SAME_EVERYWHERE,
            "hidden_size": "n_embd",
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head",
            "num_key_value_heads": "n_head",
            "intermediate_size": "n_inner",
            "max_position_embeddings": "n_positions",
            "hidden_act": "activation_function",
            "norm_eps": "layer_norm_epsilon",
        },
        defaults={
            "n_inner": None,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
            "initializer_range": 0.02,
            "tie_word_embeddings": True,
        },
        only={
            "scale_attn_weights": True,
            "scale_attn_by_inverse_layer_idx": False,
            "add_cross_attention": False,
        },
        renames=(
            Rename("model.embed_tokens", "wte"),
            Rename("model.embed_positions", "wpe"),
            Rename("model.norm", "ln_f"),
            Rename("model.layers.", "h."),
            Rename(".input_layernorm", ".ln_1"),
            Rename(".post_attention_layernorm", ".ln_2"),
            Rename(".self_attn.q_proj", ".attn.c_attn", transposed=True, part=(0, 3)),
            Rename(".self_attn.k_proj", ".attn.c_attn", transposed=True, part=(1, 3)),
            Rename(".self_attn.v_proj", ".attn.c_attn", transposed=True, part=(2, 3)),
            Rename(".self_attn.o_proj", ".attn.c_proj", transposed=True),
            Rename(".mlp.up_proj", ".mlp.c_fc", transposed=True),
            Rename(".mlp.down_proj", ".mlp.c_proj", transposed=True),
        ),
        prefix="transformer.",
        ignored=r"h\.\d+\.attn\.(bias|masked_bias)",
    ),
)
