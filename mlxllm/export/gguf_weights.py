"""A model as llama.cpp computes it: which of its architectures, its settings, and the weights in their names and order.

Shapes: H heads, d width of one head, E experts. Names are ours on one side (Hugging Face's, experts stacked), those of
llama.cpp's `src/llama-arch.cpp` on the other.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import mlx.core as mx
import numpy as np
import numpy.typing as npt

from mlxllm.config import ModelConfig
from mlxllm.errors import ModelError
from mlxllm.model.hf_config import architecture_of, why_no_architecture
from mlxllm.model.hf_weights import expected_shapes
from mlxllm.model.positions import rope_wavelengths

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Architecture:
    """What llama.cpp makes of one Hugging Face architecture."""

    name: str
    """`general.architecture`, which the keys of the settings begin with."""
    needs: Mapping[str, Any] = field(default_factory=dict)
    """Our field -> the only value that llama.cpp computes here, where Hugging Face has others."""
    interleaved: bool = False
    """It rotates neighbours (2i, 2i + 1) rather than halves (i, i + d/2)."""
    own_head_dim: bool = True
    """Heads may be wider or narrower than hidden_size / num_attention_heads."""
    fused_qkv: bool = False
    """Queries, keys and values are one matrix."""
    rope_scaling: tuple[str, ...] = ("linear",)
    still_every: int | None = None
    """Each such layer does not rotate."""


_SILU = {"hidden_act": "silu"}

ARCHITECTURES: dict[str, Architecture] = {
    "LlamaForCausalLM": Architecture("llama", _SILU, interleaved=True, rope_scaling=("linear", "llama3")),
    "SmolLM3ForCausalLM": Architecture(
        "smollm3", _SILU | {"attention_bias": False, "mlp_bias": False}, interleaved=True, still_every=4
    ),
    "MistralForCausalLM": Architecture("llama", _SILU, interleaved=True, rope_scaling=("linear", "llama3")),
    "MixtralForCausalLM": Architecture("llama", _SILU, interleaved=True, rope_scaling=("linear", "llama3")),
    "Qwen2ForCausalLM": Architecture("qwen2", _SILU, own_head_dim=False),
    "Qwen3ForCausalLM": Architecture("qwen3", _SILU | {"attention_bias": False}),
    "Qwen3MoeForCausalLM": Architecture("qwen3moe", _SILU | {"attention_bias": False, "norm_topk_prob": True}),
    "GPT2LMHeadModel": Architecture("gpt2", {"hidden_act": "gelu_new"}, fused_qkv=True, rope_scaling=()),
}

_PLACES = {
    "model.embed_tokens": "token_embd",
    "model.embed_positions": "position_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_PARTS = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate": "ffn_gate_inp",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "mlp.experts.gate_proj": "ffn_gate_exps",
    "mlp.experts.up_proj": "ffn_up_exps",
    "mlp.experts.down_proj": "ffn_down_exps",
}
_EXPERTS = "mlp.experts."
_QKV = ("q_proj", "k_proj", "v_proj")


def architecture_for(config: ModelConfig) -> Architecture:
    """The architecture of llama.cpp that computes what a model of `config` does.

    Raises:
        ModelError: there is none; the message names the fields.
    """
    name = architecture_of(config)
    if name is None:
        raise ModelError(f"llama.cpp has no architecture for this model: {why_no_architecture(config)}")
    found = ARCHITECTURES[name]
    wrong = [(key, value) for key, value in found.needs.items() if getattr(config, key) != value]
    if not found.own_head_dim and config.resolved_head_dim * config.num_attention_heads != config.hidden_size:
        wrong.append(("head_dim", config.hidden_size // config.num_attention_heads))
    if (every := found.still_every) is not None:
        rotating = tuple(int((layer + 1) % every != 0) for layer in range(config.num_hidden_layers))
        wrong += [("no_rope_layers", rotating)] if config.no_rope_layers != rotating else []
    scaling = config.rope_scaling
    if scaling is not None and config.positions == "rope" and scaling.rope_type not in found.rope_scaling:
        wrong.append(("rope_scaling", None))
    if wrong:
        needed = ", ".join(f"model.{key} = {value!r} (it is {_shown(config, key)})" for key, value in wrong)
        raise ModelError(
            f"llama.cpp computes its {found.name!r} architecture, which this {name} would be, only with {needed}; "
            f"export it with --format hf"
        )
    return found


def context_of(config: ModelConfig) -> tuple[int, str]:
    """The longest context in which llama.cpp computes the same, and a sentence where that is less than the model's.

    It has no sliding window for these architectures; up to its width a window makes no difference.
    """
    window, longest = config.sliding_window, config.max_position_embeddings
    if window is None or window >= longest:
        return longest, ""
    return window, (
        f"llama.cpp has no sliding window for this architecture: the file says a context of {window:,} tokens, the width "
        f"of the window, instead of {longest:,}"
    )


def settings_of(config: ModelConfig, architecture: Architecture) -> dict[str, int | float | str]:
    """The settings of a model, by their keys in the file without the name of the architecture before them."""
    context, _ = context_of(config)
    settings: dict[str, int | float | str] = {
        "block_count": config.num_hidden_layers,
        "context_length": context,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.moe_intermediate_size if config.num_experts else config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
    }
    eps = "layer_norm_epsilon" if config.norm == "layernorm" else "layer_norm_rms_epsilon"
    settings[f"attention.{eps}"] = float(config.norm_eps)
    if config.positions == "rope":
        width = config.resolved_head_dim
        settings |= {
            "attention.key_length": width,
            "attention.value_length": width,
            "rope.dimension_count": width,
            "rope.freq_base": float(config.rope_theta),
        }
        if config.rope_scaling is not None and config.rope_scaling.rope_type == "linear":
            settings |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(config.rope_scaling.factor)}
    if config.num_experts:
        settings |= {"expert_count": config.num_experts, "expert_used_count": config.num_experts_per_tok}
        if architecture.name != "llama":
            settings["expert_feed_forward_length"] = config.moe_intermediate_size
    return settings


@dataclass(frozen=True)
class Tensor:
    """One tensor of the file, computed when it is written: a model's weights need not be in memory twice."""

    name: str
    shape: tuple[int, ...]
    """As numpy has it; the file counts them from the last."""
    values: Callable[[], Values]


def tensors_of(config: ModelConfig, weights: Mapping[str, mx.array], architecture: Architecture) -> Iterator[Tensor]:
    """All tensors of the file.

    Args:
        config: of the model.
        weights: by our names, without adapters or packed matrices.
        architecture: from `architecture_for`.
    """
    if config.rope_scaling is not None and config.rope_scaling.rope_type == "llama3" and config.positions == "rope":
        plain = rope_wavelengths(config.model_copy(update={"rope_scaling": None}))
        factors = rope_wavelengths(config) / plain  # (d / 2,): by how much each pair turns slower
        yield _tensor("rope_freqs.weight", factors)
    for name, array in weights.items():
        place, leaf = (name, "weight") if _EXPERTS in name else name.rsplit(".", 1)
        if architecture.fused_qkv and ".self_attn." in place and place.endswith(_QKV):
            if place.endswith("q_proj"):
                parts = [weights[name.replace("q_proj", other)] for other in _QKV]
                yield _tensor(f"{_block(name)}.attn_qkv.{leaf}", mx.concatenate(parts, axis=0))
            continue
        if architecture.interleaved and place.endswith((".self_attn.q_proj", ".self_attn.k_proj")):
            array = interleaved(array, config.resolved_head_dim)
        yield _tensor(f"{_theirs(place)}.{leaf}", array)


def interleaved(array: mx.array, width: int) -> mx.array:
    """The rows of query or key weights (or biases) in the order in which pairs that turn together are neighbours.

    Args:
        array: (H d, in) or (H d,), pairs half a head apart.
        width: d.
    """
    halves = array.reshape(-1, 2, width // 2, *array.shape[1:])  # (H, 2, d / 2, ...)
    return halves.swapaxes(1, 2).reshape(array.shape)


def weights_from(config: ModelConfig, tensors: Mapping[str, Values], architecture: Architecture) -> dict[str, mx.array]:
    """Our weights out of a file's tensors: what `tensors_of` undoes.

    Raises:
        ModelError: one is missing, or of another shape.
    """
    weights = {}
    for name, shape in expected_shapes(config).items():
        place, leaf = (name, "weight") if _EXPERTS in name else name.rsplit(".", 1)
        part = place.rpartition(".")[2]
        fused = architecture.fused_qkv and part in _QKV
        theirs = f"{_block(name)}.attn_qkv.{leaf}" if fused else f"{_theirs(place)}.{leaf}"
        if theirs not in tensors:
            raise ModelError(f"the file lacks {theirs}, which this model has; export it again")
        values = tensors[theirs]
        if fused and values.shape[0] % 3 == 0:
            values = np.split(values, 3)[_QKV.index(part)]
        if values.shape != shape:
            raise ModelError(
                f"the file holds {theirs} of shape {values.shape}, and the model's is {shape}; export it again"
            )
        array = mx.array(values)
        if architecture.interleaved and part in ("q_proj", "k_proj"):
            pairs = array.reshape(-1, config.resolved_head_dim // 2, 2, *array.shape[1:])
            array = pairs.swapaxes(1, 2).reshape(array.shape)
        weights[name] = array
    return weights


def _tensor(name: str, array: mx.array) -> Tensor:
    return Tensor(name, tuple(array.shape), lambda: np.array(array.astype(mx.float32)))


def _theirs(place: str) -> str:
    if place in _PLACES:
        return _PLACES[place]
    return f"{_block(place)}.{_PARTS[place.split('.', 3)[3]]}"


def _block(name: str) -> str:
    """`blk.3` of `model.layers.3.self_attn.q_proj`."""
    return f"blk.{name.split('.', 3)[2]}"


def _shown(config: ModelConfig, key: str) -> str:
    value = getattr(config, key)
    if key == "head_dim":
        return repr(config.resolved_head_dim)
    return repr(value.rope_type) if key == "rope_scaling" else repr(value)
