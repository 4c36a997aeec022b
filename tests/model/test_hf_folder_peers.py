"""Folders between mlx-lm and us: what it has quantised, what we have merged."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxllm.config import LoraConfig
from mlxllm.model.adapters import fused
from mlxllm.model.hf_folder import load_hf_folder
from mlxllm.model.quantization import QuantizedEmbedding, QuantizedLinear
from mlxllm.model.quantized_models import is_quantized
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.model.test_hf_folder import VOCAB, WIDE, adapted
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

pytestmark = pytest.mark.peers

LORAS = {"lora": LoraConfig(rank=4), "dora": LoraConfig(method="dora"), "qlora": LoraConfig(quantize="affine4")}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
@pytest.mark.parametrize(
    ("mode", "variant"), [("affine", "llama"), ("mxfp4", "llama"), ("nvfp4", "llama"), ("affine", "experts")]
)
def test_a_folder_that_mlx_lm_quantised(mode: str, variant: str, dtype: mx.Dtype, tmp_path: Path) -> None:
    """The folder that it converts to 4 bits: config.json, weights, logits."""
    utils = pytest.importorskip("mlx_lm.utils")
    changes: dict[str, Any] = {**VARIANTS[variant], **WIDE, "intermediate_size": 128, "moe_intermediate_size": 64}
    changes["tie_word_embeddings"] = False
    source, ids = tiny_model(vocab_size=VOCAB, **changes), token_ids(2, 9)
    save_folder(source, ByteTokenizer(), ("base",), tmp_path / "model")
    theirs, config = utils.load_model(tmp_path / "model")
    theirs.set_dtype(dtype)
    theirs, config = utils.quantize_model(theirs, config, None, None, mode=mode)
    (tmp_path / "packed").mkdir()
    utils.save_model(tmp_path / "packed", theirs)
    utils.save_config(config, tmp_path / "packed/config.json")
    assert {"quantization", "quantization_config"} <= json.loads((tmp_path / "packed/config.json").read_text()).keys()

    assert load_hf_folder(tmp_path / "packed")[0](ids).dtype == dtype
    # Compared in float32: half precision alone moves these logits by 0.2.
    ours, _, _ = load_hf_folder(tmp_path / "packed", dtype=mx.float32)
    theirs, _ = utils.load_model(tmp_path / "packed")
    theirs.set_dtype(mx.float32)
    assert is_quantized(ours)
    assert max_difference(ours(ids), source(ids)) > 0.01, "four bits are not the whole weights"
    assert max_difference(ours(ids), theirs(ids)) < 1e-3


@pytest.mark.parametrize("mode", ["affine", "mxfp4"])
def test_choices_by_layer_and_a_packed_head_that_is_the_embedding(mode: str, tmp_path: Path) -> None:
    """As mlx-community has them: some layers in other bits, some in none, the tied embedding packed."""
    utils = pytest.importorskip("mlx_lm.utils")
    changes = {**WIDE, "intermediate_size": 128, "tie_word_embeddings": True}
    save_folder(tiny_model(vocab_size=VOCAB, **changes), ByteTokenizer(), ("base",), tmp_path / "model")

    def choose(path: str, module: Any) -> bool | dict[str, Any]:
        if not hasattr(module, "to_quantized") or path.endswith("o_proj"):
            return False
        return {"bits": 8, "group_size": 32, "mode": "affine"} if path.endswith("down_proj") else True

    theirs, config = utils.load_model(tmp_path / "model")
    theirs, config = utils.quantize_model(theirs, config, None, None, mode=mode, quant_predicate=choose)
    (tmp_path / "packed").mkdir()
    utils.save_model(tmp_path / "packed", theirs)
    utils.save_config(config, tmp_path / "packed/config.json")
    noted = json.loads((tmp_path / "packed/config.json").read_text())["quantization"]
    assert noted["model.layers.0.mlp.down_proj"]["bits"] == 8

    ours, _, _ = load_hf_folder(tmp_path / "packed", dtype=mx.float32)
    assert isinstance(ours.model.embed_tokens, QuantizedEmbedding)
    assert isinstance(ours.model.layers[0].mlp.down_proj, QuantizedLinear)
    assert not isinstance(ours.model.layers[0].self_attn.o_proj, QuantizedLinear)
    theirs, _ = utils.load_model(tmp_path / "packed")
    theirs.set_dtype(mx.float32)
    ids = token_ids(2, 9)
    assert max_difference(ours(ids), theirs(ids)) < 1e-3


@pytest.mark.parametrize(
    ("variant", "lora"),
    [(v, lora) for v in ("llama", "qwen3", "gpt2") for lora in LORAS] + [("experts", "lora"), ("experts", "qlora")],
)
def test_mlx_lm_computes_what_we_merged(variant: str, lora: str, tmp_path: Path) -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    changes = {**VARIANTS[variant], "hidden_size": 64, "intermediate_size": 256, "moe_intermediate_size": 64}
    model, ids = adapted(tiny_model(vocab_size=VOCAB, **changes), LORAS[lora]), token_ids(2, 9)
    save_folder(fused(model), ByteTokenizer(), ("base", "sft"), tmp_path / "merged")
    theirs, _ = utils.load_model(tmp_path / "merged")
    assert max_difference(theirs(ids), model(ids)) < 1e-4
