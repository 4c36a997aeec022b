"""mlx-lm loads our adapters and gives our logits, and the other way round."""

import json
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LORA_TARGETS, LoraConfig
from mlxllm.model.adapter_files import load_adapter, save_adapter
from mlxllm.model.adapters import adapt
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.quantized_models import packed_in, unpacked, use_packed
from mlxllm.model.transformer import Transformer
from tests.model.tiny import max_difference, tiny_model, token_ids

pytestmark = pytest.mark.peers

TOLERANCE = 1e-4
MOE = {"num_experts": 4, "moe_intermediate_size": 24}

CASES: dict[str, tuple[dict[str, Any], LoraConfig]] = {
    "llama": ({}, LoraConfig(rank=4)),
    "llama-rslora-last-block": ({"tie_word_embeddings": False}, LoraConfig(rank=4, rslora=True, layers=1)),
    "llama-dora": ({}, LoraConfig(method="dora", rank=4)),
    "qwen3-two-targets": ({"qk_norm": True, "head_dim": 16}, LoraConfig(rank=3, targets=("q_proj", "down_proj"))),
    "qwen3-moe": ({"qk_norm": True, "head_dim": 8, **MOE}, LoraConfig(rank=4)),
    "mixtral": (MOE, LoraConfig(rank=4)),
    "mixtral-dora-attention": (MOE, LoraConfig(method="dora", targets=LORA_TARGETS[:4])),
}


def write_model(model: Transformer, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    weights = weights_to_hf(model.config, named_parameters(model))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})


def theirs_from(folder: Path) -> Any:
    utils = pytest.importorskip("mlx_lm.utils")
    model, _ = utils.load_model(folder)
    model.eval()
    return model


def randomised(model: Any, weights: dict[str, mx.array]) -> None:
    rng = np.random.default_rng(5)
    set_parameters(model, {n: w + mx.array(0.1 * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})


@pytest.mark.parametrize("case", CASES)
def test_mlx_lm_computes_our_adapted_model(case: str, tmp_path: Path) -> None:
    tuner = pytest.importorskip("mlx_lm.tuner.utils")
    changes, lora = CASES[case]
    model, ids = tiny_model(**changes), token_ids(2, 9)
    write_model(model, tmp_path / "model")
    base = model(ids)
    adapt(model, lora)
    randomised(model, trainable_parameters(model))
    save_adapter(model, tmp_path / "adapter", base_name="tiny")

    theirs = tuner.load_adapters(theirs_from(tmp_path / "model"), str(tmp_path / "adapter"))
    theirs.eval()
    assert max_difference(model(ids), base) > 0.1
    assert max_difference(theirs(ids), model(ids)) < TOLERANCE


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("keys", [None, ["self_attn.v_proj", "mlp.up_proj"]])
def test_we_compute_the_model_that_mlx_lm_adapted(method: str, keys: list[str] | None, tmp_path: Path) -> None:
    tuner = pytest.importorskip("mlx_lm.tuner.utils")
    from mlx.utils import tree_flatten

    model, ids = tiny_model(), token_ids(2, 9)
    base = model(ids)
    write_model(model, tmp_path / "model")
    theirs = theirs_from(tmp_path / "model")
    parameters = {"rank": 4, "scale": 3.0, "dropout": 0.0} | ({"keys": keys} if keys else {})
    theirs.freeze()
    tuner.linear_to_lora_layers(theirs, 1, parameters, use_dora=method == "dora")
    moving = dict(tree_flatten(theirs.trainable_parameters()))
    randomised(theirs, moving)
    theirs.eval()
    folder = tmp_path / "adapter"
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), dict(tree_flatten(theirs.trainable_parameters())))
    settings = {"fine_tune_type": method, "num_layers": 1, "lora_parameters": parameters}
    (folder / "adapter_config.json").write_text(json.dumps(settings))

    load_adapter(model, folder)
    assert max_difference(model(ids), base) > 0.1
    assert max_difference(theirs(ids), model(ids)) < TOLERANCE


@pytest.mark.parametrize("mode", ["affine", "mxfp4", "nvfp4"])
def test_models_that_mlx_lm_quantised(mode: str, tmp_path: Path) -> None:
    """The folder that it saves, as packed matrices and with a DoRA adapter that it loads on top."""
    utils = pytest.importorskip("mlx_lm.utils")
    tuner = pytest.importorskip("mlx_lm.tuner.utils")
    from mlx.utils import tree_flatten

    source, ids = tiny_model(hidden_size=64, intermediate_size=128, initializer_range=0.15), token_ids(2, 9)
    write_model(source, tmp_path / "model")
    theirs = theirs_from(tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    theirs, config = utils.quantize_model(theirs, config, {"affine": 64, "mxfp4": 32, "nvfp4": 16}[mode], 4, mode=mode)
    weights = dict(tree_flatten(theirs.parameters()))

    packed = packed_in(weights, config["quantization"], "the folder")
    assert {"model.embed_tokens", "model.layers.1.mlp.up_proj"} <= packed.keys()
    model = Transformer(source.config)
    model.load_weights(list(unpacked(weights, packed, mx.float32).items()))
    use_packed(model, packed, mx.float32)
    model.eval()
    assert max_difference(theirs(ids), model(ids)) < 1e-3

    adapt(model, LoraConfig(method="dora", rank=4))
    randomised(model, trainable_parameters(model))
    save_adapter(model, tmp_path / "adapter")
    theirs = tuner.load_adapters(theirs, str(tmp_path / "adapter"))
    theirs.eval()
    assert max_difference(theirs(ids), model(ids)) < 1e-3
