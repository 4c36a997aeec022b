"""Quantised models: packed as mlx-lm does, read by both, used by everything that takes a model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxllm.config import LoraConfig
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.export.divergence import divergence
from mlxllm.export.quantized import MODES, format_of, write_quantized
from mlxllm.model.adapters import fused
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_modules
from mlxllm.model.quantization import QuantizedEmbedding, QuantizedExperts, QuantizedLinear
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.model.test_hf_folder import VOCAB, adapted
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

WIDE: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 128, "moe_intermediate_size": 64}
WIDE |= {"initializer_range": 0.15, "tie_word_embeddings": False}
MIXTRAL = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3-tied": {"qk_norm": True, "head_dim": 32, "tie_word_embeddings": True},
    "qwen2": {"attention_bias": True},
    "qwen3-moe": {**MIXTRAL, "qk_norm": True},
    "mixtral": MIXTRAL,
    "gpt2": {**VARIANTS["gpt2"], "intermediate_size": 256, "tie_word_embeddings": True, "hidden_act": "gelu_new"},
}
FORMATS = [("affine", 4), ("affine", 5), ("affine", 8), ("mxfp4", 4), ("nvfp4", 4)]
CASES = [(shape, *FORMATS[0]) for shape in SHAPES] + [("qwen3-moe", *each) for each in FORMATS[1:]]
TEXT = list(b"Ein Satz, and another one: 1, 2, 3.")


def model_of(folder: Path, **changes: Any) -> LoadedModel:
    save_folder(tiny_model(vocab_size=VOCAB, **{**WIDE, **changes}), ByteTokenizer(), ("base", "sft"), folder)
    return load_model(str(folder))


def packed_layers(model: Transformer) -> set[str]:
    kinds = QuantizedLinear | QuantizedEmbedding | QuantizedExperts
    return {name for name, module in named_modules(model).items() if isinstance(module, kinds)}


@pytest.mark.parametrize(("shape", "mode", "bits"), CASES)
def test_what_is_packed_comes_back(shape: str, mode: str, bits: int, tmp_path: Path) -> None:
    loaded, ids = model_of(tmp_path / "model", **SHAPES[shape]), token_ids(2, 9)
    told = write_quantized(loaded, tmp_path / "deep" / "packed", mode=mode, bits=bits, token_ids=TEXT)
    again = load_model(str(tmp_path / "deep" / "packed"))
    assert (again.history, again.config) == (("base", "sft"), loaded.config)
    packed = packed_layers(again.model)
    if shape == "gpt2":  # one packed matrix there is three here
        assert not packed
        assert told.packed == 2 + 2 * 4
    else:
        assert "model.embed_tokens" in packed
        assert ("lm_head" in packed) == (not loaded.config.tie_word_embeddings)
        assert len(packed) > 2 * 4
    assert max_difference(again.model(ids), loaded.model(ids)) > 0
    assert told.loss is not None
    assert 0 < told.loss.kl < (0.01 if bits == 8 else 1.0), "eight bits are nearly the whole weights"
    assert told.loss == divergence(loaded.model, again.model, TEXT)
    assert told.bytes_after < told.bytes_before / 2
    assert told.bytes_after / told.bytes_before == pytest.approx(told.bits_per_weight / 32)
    assert (told.plain, told.kept) == ((), ())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["packed"], "nothing half-made stays"


def test_choices_stand_in_the_config(tmp_path: Path) -> None:
    loaded = model_of(tmp_path / "model", **SHAPES["qwen3-moe"])
    told = write_quantized(loaded, tmp_path / "packed", mode="nvfp4", keep=("lm_head", "layers.0.self_attn.v_proj"))
    raw = json.loads((tmp_path / "packed" / "config.json").read_text())
    router = {"group_size": 64, "bits": 8, "mode": "affine"}
    assert raw["quantization"] == raw["quantization_config"]
    assert raw["quantization"] == {
        "group_size": 16,
        "bits": 4,
        "mode": "nvfp4",
        "lm_head": False,
        "model.layers.0.self_attn.v_proj": False,
        "model.layers.0.mlp.gate": router,
        "model.layers.1.mlp.gate": router,
    }
    assert set(told.kept) == {"lm_head", "model.layers.0.self_attn.v_proj"}
    again = load_model(str(tmp_path / "packed"))
    assert not packed_layers(again.model) & set(told.kept)
    assert mx.array_equal(again.model.lm_head.weight, loaded.model.lm_head.weight)


def test_rows_that_are_no_whole_number_of_groups_stay_plain(tmp_path: Path) -> None:
    loaded = model_of(tmp_path / "model", intermediate_size=72)
    told = write_quantized(loaded, tmp_path / "packed")
    assert told.plain == ("model.layers.0.mlp.down_proj", "model.layers.1.mlp.down_proj")
    assert (
        max_difference(load_model(str(tmp_path / "packed")).model(token_ids(1, 5)), loaded.model(token_ids(1, 5))) > 0
    )
    narrow = model_of(tmp_path / "narrow", hidden_size=24, num_attention_heads=2, intermediate_size=40)
    with pytest.raises(ConfigError, match="no matrix of this model can be packed: rows of 24 weights"):
        write_quantized(narrow, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_adapters_are_merged_and_a_dtype_is_taken(tmp_path: Path) -> None:
    loaded = model_of(tmp_path / "model")
    run = replace(loaded, model=adapted(loaded.model, LoraConfig(rank=4, quantize="affine4")))
    ids = token_ids(2, 9)
    told = write_quantized(run, tmp_path / "packed", mode="affine", bits=8, dtype=mx.bfloat16)
    again = load_model(str(tmp_path / "packed"))
    assert again.model(ids).dtype == mx.bfloat16
    assert told.loss is None
    merged = fused(run.model)
    assert divergence(merged, again.model, TEXT).kl < 0.02
    assert divergence(merged, load_model(str(tmp_path / "model")).model, TEXT).kl > 0.02


def test_refusals(tmp_path: Path) -> None:
    loaded = model_of(tmp_path / "model")
    with pytest.raises(ModelError, match="model exists already; name a new folder"):
        write_quantized(loaded, tmp_path / "model")
    with pytest.raises(ConfigError, match=r"--keep q_poj fits no matrix of this model; it has embed_tokens, q_proj"):
        write_quantized(loaded, tmp_path / "out", keep=("q_poj",))
    write_quantized(loaded, tmp_path / "packed")
    with pytest.raises(ConfigError, match="are quantised already; begin with the model as it was before"):
        write_quantized(load_model(str(tmp_path / "packed")), tmp_path / "out")
    odd = replace(loaded, config=loaded.config.model_copy(update={"norm": "layernorm"}))
    with pytest.raises(ModelError, match="cannot be quantised for mlx-lm: no Hugging Face architecture"):
        write_quantized(odd, tmp_path / "out")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the model to \S+file/out: .*choose another folder"):
        write_quantized(loaded, tmp_path / "file" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model", "packed"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (("int4", None, None), "--mode is 'int4'; known are affine, mxfp4, nvfp4"),
        (("mxfp4", 8, None), "--bits is 8, and mxfp4 has 4; use that, or --mode affine"),
        (("affine", 7, None), "--bits is 7, and affine has 2, 3, 4, 5, 6 or 8; use one of these"),
        (("affine", 4, 16), "--group-size is 16, and affine has 32, 64 or 128; leave it out"),
        (("nvfp4", 4, 32), "--group-size is 32, and nvfp4 has 16; leave it out"),
    ],
)
def test_formats_that_mlx_does_not_have(asked: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        format_of(*asked)


def test_every_format_is_one_that_mlx_has() -> None:
    weights = mx.random.normal((4, 128))
    for mode, choices in MODES.items():
        for bits, sizes in choices.items():
            assert format_of(mode, bits, None).group_size == sizes[0]
            for size in sizes:
                mx.eval(mx.quantize(weights, size, bits, mode))


# With the peers.


@pytest.mark.peers
@pytest.mark.parametrize(("shape", "mode", "bits"), CASES)
def test_mlx_lm_computes_our_model(shape: str, mode: str, bits: int, tmp_path: Path) -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    loaded, ids = model_of(tmp_path / "model", **SHAPES[shape]), token_ids(2, 9)
    keep = "h.1.attn.c_proj" if shape == "gpt2" else "layers.1.self_attn.o_proj"
    write_quantized(loaded, tmp_path / "packed", mode=mode, bits=bits, keep=(keep,))
    theirs, _ = utils.load_model(tmp_path / "packed")
    ours = load_model(str(tmp_path / "packed"))
    assert max_difference(theirs(ids), ours.model(ids)) < 1e-3


@pytest.mark.peers
@pytest.mark.parametrize(("mode", "bits"), FORMATS)
def test_the_bytes_are_those_that_mlx_lm_writes(mode: str, bits: int, tmp_path: Path) -> None:
    utils = pytest.importorskip("mlx_lm.utils")
    loaded = model_of(tmp_path / "model", **SHAPES["qwen3-moe"])
    write_quantized(loaded, tmp_path / "packed", mode=mode, bits=bits)
    model, config = utils.load_model(tmp_path / "model")
    model, config = utils.quantize_model(model, config, None, bits, mode=mode)
    (tmp_path / "theirs").mkdir()
    utils.save_model(tmp_path / "theirs", model)
    ours, theirs = (mx.load(str(tmp_path / name / "model.safetensors")) for name in ("packed", "theirs"))
    assert isinstance(ours, dict)
    assert isinstance(theirs, dict)
    assert ours.keys() == theirs.keys()
    assert all(mx.array_equal(ours[name], theirs[name]) for name in ours)
    said = json.loads((tmp_path / "packed" / "config.json").read_text())["quantization"]
    for key, value in config["quantization"].items():
        default = {name: said[name] for name in ("mode", "bits", "group_size")}
        assert said.get(key, default) in (value, {"mode": "affine", **value} if isinstance(value, dict) else value)


@pytest.mark.peers
@pytest.mark.parametrize("packed", [False, True])
def test_a_gpt2_that_mlx_lm_converted(packed: bool, tmp_path: Path) -> None:
    """Under names of its own, and with matrices turned around."""
    utils = pytest.importorskip("mlx_lm.utils")
    loaded, ids = model_of(tmp_path / "model", **SHAPES["gpt2"]), token_ids(2, 9)
    model, config = utils.load_model(tmp_path / "model")
    if packed:
        model, config = utils.quantize_model(model, config, 64, 8)
    (tmp_path / "theirs").mkdir()
    utils.save_model(tmp_path / "theirs", model)
    (tmp_path / "theirs" / "config.json").write_text(json.dumps(config))
    loaded.tokenizer.save(tmp_path / "theirs" / "tokenizer")
    assert "model.h.0.attn.c_attn.weight" in mx.load(str(tmp_path / "theirs" / "model.safetensors"))
    assert max_difference(load_model(str(tmp_path / "theirs")).model(ids), model(ids)) < 1e-4
