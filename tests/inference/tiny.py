"""Small random models with a byte tokenizer, and folders that `--model` can name."""

import json
from pathlib import Path

import mlx.core as mx
from mlx.utils import tree_flatten

import mlxllm.inference  # noqa: F401  (prepares MLX)
from mlxllm.config import ModelConfig
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.tokenizer import FIRST_BYTE_ID
from mlxllm.tokenizer.byte import ByteTokenizer

TOKENIZER = ByteTokenizer()


def tiny(seed: int = 0, **changes: object) -> Transformer:
    """A two-layer model whose weights are so large that it changes its mind from token to token."""
    shape = {
        "vocab_size": TOKENIZER.vocab_size,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 64,
        "initializer_range": 0.4,
    }
    return build_model(ModelConfig.model_validate({**shape, **changes}), seed)


def writing_letters(seed: int = 0, letters: bytes = b"abcdefghijklm nopqrstuvwxyz") -> Transformer:
    """A tiny model that writes these bytes and hardly any others: its head knows no others."""
    model = tiny(seed, tie_word_embeddings=False)
    known = mx.zeros((TOKENIZER.vocab_size, 1))
    known[mx.array([FIRST_BYTE_ID + b for b in letters])] = 8.0
    model.lm_head.weight = model.lm_head.weight * known
    return model


def writing_answers(seed: int = 0) -> Transformer:
    """The same, but it also ends what it writes: of its tokens one in about thirty is `<|end|>`."""
    model = writing_letters(seed)
    end, other = TOKENIZER.special_ids["<|end|>"], FIRST_BYTE_ID + ord("a")
    rows = mx.arange(TOKENIZER.vocab_size)[:, None] == end
    model.lm_head.weight = mx.where(rows, -model.lm_head.weight[other], model.lm_head.weight)
    return model


def write_folder(path: Path, model: Transformer) -> Path:
    """Save as a folder in Hugging Face's form with our tokenizer in it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(path / "model.safetensors"), weights_to_hf(model.config, weights))
    TOKENIZER.save(path / "tokenizer")
    return path
