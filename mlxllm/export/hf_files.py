"""config.json and generation_config.json of an export: one content that transformers 4 and 5 and mlx-lm all understand."""

from collections.abc import Sequence
from typing import Any

import mlx.core as mx

from mlxllm.config import ModelConfig
from mlxllm.export.tokenizers import is_own
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_folder import BASE
from mlxllm.tokenizer import Tokenizer

CONFIG_FILE = "config.json"
GENERATION_FILE = "generation_config.json"
OURS = "mlxllm"
"""Key of config.json for what nobody else reads: {"history": the stages that made the model}."""

DTYPES = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
"""What weights can be written in."""


def dtype_name(dtype: mx.Dtype) -> str:
    """`float32` and so on."""
    return str(dtype).removeprefix("mlx.core.")


def stop_ids(tokenizer: Tokenizer, history: Sequence[str]) -> tuple[int, ...]:
    """The ids that end what the model writes: of an answer first, where it was tuned to give answers."""
    if not is_own(tokenizer):
        return tokenizer.stop_ids
    return (tokenizer.eot_id,) if history[-1] == BASE else (tokenizer.special_ids["<|end|>"], tokenizer.eot_id)


def model_config(config: ModelConfig, dtype: mx.Dtype, tokenizer: Tokenizer, history: Sequence[str]) -> dict[str, Any]:
    """The content of config.json.

    Where readers look for a value under different keys it stands under all of them: transformers 5 has rotary positions in
    `rope_parameters` and `num_local_experts`, transformers 4 and mlx-lm have `rope_theta`, `rope_scaling` and
    `num_experts`; mlx-lm wants GPT-2's `n_ctx`. `layer_types` is left out: mlx-lm 0.32 does not open a model whose layers
    all have a window if it is told so.

    Args:
        config: the model's shape.
        dtype: of the weights.
        tokenizer: theirs or ours, for the ids that end a text.
        history: the stages that made the model.

    Raises:
        ModelError: no Hugging Face architecture has this config; the message names the fields.
    """
    raw = config_to_hf(config)
    if "n_positions" in raw:
        raw["n_ctx"] = raw["n_positions"]
    if config.positions == "rope":
        raw["rope_parameters"] = {"rope_theta": config.rope_theta} | (raw["rope_scaling"] or {"rope_type": "default"})
    if "num_experts" in raw:
        raw["num_local_experts"] = raw["num_experts"]
    return raw | {
        "bos_token_id": tokenizer.prefix_ids[0] if tokenizer.prefix_ids else None,
        **_ends(tokenizer, history),
        "dtype": dtype_name(dtype),
        "torch_dtype": dtype_name(dtype),
        "use_cache": True,
        OURS: {"history": list(history)},
    }


def generation_config(tokenizer: Tokenizer, history: Sequence[str]) -> dict[str, Any]:
    """The content of generation_config.json: where a text ends, and nothing about how tokens are chosen."""
    return _ends(tokenizer, history)


def _ends(tokenizer: Tokenizer, history: Sequence[str]) -> dict[str, Any]:
    ends = stop_ids(tokenizer, history)
    return {"eos_token_id": list(ends) if len(ends) > 1 else ends[0], "pad_token_id": tokenizer.eot_id}
