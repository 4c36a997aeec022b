"""GGUF files: every tensor is found again, settings and tokens are what llama.cpp asks for; no llama.cpp is needed."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import gguf
import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LoraConfig
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.export.gguf import write_gguf
from mlxllm.export.gguf_types import TYPES, type_for
from mlxllm.export.gguf_weights import ARCHITECTURES, context_of
from mlxllm.model.adapters import fused
from mlxllm.model.families import FAMILIES
from mlxllm.model.loading import LoadedModel
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.model.families_data import POINTS
from tests.model.test_hf_folder import adapted
from tests.model.tiny import tiny_config, tiny_model

REFUSED = {"qwen3-moe": "norm_topk_prob", "gpt2-untied": "hidden_act"}
TOLERANCE = {"f32": 0.0, "f16": 1e-3, "bf16": 1e-2, "q8_0": 0.01, "q4_0": 0.2}


def loaded_as(model: Transformer, folder: Path, tokenizer: Tokenizer | None = None, *stages: str) -> LoadedModel:
    """A model as `load_model` gives it, from a folder without a chat template."""
    folder.mkdir(exist_ok=True)
    made = tokenizer or ByteTokenizer()
    return LoadedModel(model, model.config, made, folder, "m", folder, None, stages or ("base",), ())


def tiny(name: str, **changes: Any) -> Transformer:
    return tiny_model(**{**POINTS[name][1], "vocab_size": 261, **changes})


def tensors_in(file: Path) -> dict[str, np.ndarray]:
    """Name -> numbers, in the shapes of numpy."""
    found = {}
    for tensor in gguf.GGUFReader(file).tensors:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        found[tensor.name] = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    return found


def field(file: Path, key: str) -> Any:
    found = gguf.GGUFReader(file).get_field(key)
    return None if found is None else found.contents()


def test_every_family_has_an_architecture_of_llama_cpp() -> None:
    assert ARCHITECTURES.keys() == {family.architecture for family in FAMILIES}
    known = set(gguf.MODEL_ARCH_NAMES.values())
    assert {architecture.name for architecture in ARCHITECTURES.values()} <= known


@pytest.mark.parametrize("name", POINTS)
def test_names_are_those_that_the_architecture_has(name: str, tmp_path: Path) -> None:
    """Of gguf's own tables, and each of the model's weights is in the file once."""
    model = tiny(name)
    if name in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[name]):
            write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
        return
    told = write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype="f32")
    arch = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == told.architecture)
    expected = {gguf.TENSOR_NAMES[kind] for kind in gguf.MODEL_TENSORS[arch]}
    found = tensors_in(tmp_path / "m.gguf")
    for tensor in found:
        plain = ".".join("{bid}" if part.isdigit() else part for part in tensor.rpartition(".")[0].split("."))
        assert plain in expected
    found.pop("rope_freqs.weight", None)
    assert sum(values.size for values in found.values()) == told.parameters
    assert told.parameters == sum(weight.size for weight in named_parameters(model).values())
    assert field(tmp_path / "m.gguf", "general.architecture") == told.architecture


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["llama-untied-biases", "qwen3", "mixtral", "gpt2"])
def test_weights_are_found_again(name: str, dtype: str, tmp_path: Path) -> None:
    """Dequantised, and with the order of rows undone: halves of a head are neighbours in the llama architecture."""
    model = tiny(name, hidden_size=64, intermediate_size=96, moe_intermediate_size=32, head_dim=None)
    write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype=dtype)
    found, ours = tensors_in(tmp_path / "m.gguf"), named_parameters(model)
    width = model.config.resolved_head_dim
    attention = "model.layers.1.self_attn"

    def same(theirs: np.ndarray, name: str) -> None:
        wanted = np.array(ours[name])
        assert theirs.shape == wanted.shape
        assert np.abs(theirs - wanted).max() <= TOLERANCE[dtype] * np.abs(wanted).max()

    same(found["token_embd.weight"], "model.embed_tokens.weight")
    same(found["blk.1.attn_output.weight"], f"{attention}.o_proj.weight")
    if name == "gpt2":
        parts = np.split(found["blk.1.attn_qkv.weight"], 3)
        for part, which in zip(parts, "qkv", strict=True):
            same(part, f"{attention}.{which}_proj.weight")
        same(found["position_embd.weight"], "model.embed_positions.weight")
    else:
        for which in "qk":
            for leaf in ("weight", "bias") if name == "llama-untied-biases" else ("weight",):
                theirs = found[f"blk.1.attn_{which}.{leaf}"]
                if name != "qwen3":
                    heads = theirs.reshape(-1, width // 2, 2, *theirs.shape[1:])
                    theirs = np.concatenate([heads[:, :, 0], heads[:, :, 1]], axis=1).reshape(theirs.shape)
                same(theirs, f"{attention}.{which}_proj.{leaf}")
        same(found["blk.1.attn_v.weight"], f"{attention}.v_proj.weight")
    if name == "mixtral":
        same(found["blk.0.ffn_down_exps.weight"], "model.layers.0.mlp.experts.down_proj")
        assert np.array_equal(found["blk.0.ffn_gate_inp.weight"], ours["model.layers.0.mlp.gate.weight"])
        assert field(tmp_path / "m.gguf", "llama.expert_used_count") == model.config.num_experts_per_tok
    assert np.array_equal(found["output_norm.weight"], ours["model.norm.weight"]), "norms stay as they are"


@pytest.mark.parametrize("dtype", TYPES)
def test_every_format(dtype: str, tmp_path: Path) -> None:
    """A type for the file and for each tensor; what has no whole blocks stays f16, the head keeps 8 bits."""
    model = tiny("llama", hidden_size=256, intermediate_size=288, num_hidden_layers=1)
    told = write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype=dtype.upper())
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    types = {tensor.name: tensor.tensor_type.name.lower() for tensor in reader.tensors}
    assert told.bytes == (tmp_path / "m.gguf").stat().st_size
    assert sum(told.tensors.values()) == len(types)
    assert types["blk.0.attn_q.weight"] == told.dtype == dtype
    eight = dtype == "q8_0"  # of a small model some matrices are then f16
    assert types["token_embd.weight"] == ("f16" if eight else dtype if TYPES[dtype].bits > 8 else "q8_0")
    assert types["output_norm.weight"] == "f32"
    whole = 288 % TYPES[dtype].block == 0 and not eight
    assert types["blk.0.ffn_down.weight"] == (dtype if whole else "f16")
    assert any("stay f16" in note for note in told.notes) is not whole
    assert any("logits" in note for note in told.notes) is (TYPES[dtype].bits < 9)
    assert field(tmp_path / "m.gguf", "general.file_type") == gguf.LlamaFileType[TYPES[dtype].file_type]


def test_what_the_package_cannot_write_is_refused(tmp_path: Path) -> None:
    writable = set()
    for kind in gguf.GGMLQuantizationType:
        try:
            gguf.quants.quantize(np.zeros((1, 256), np.float32), kind)
        except (NotImplementedError, KeyError):
            continue
        writable.add(kind.name)
    assert {kind.ggml for kind in TYPES.values()} == writable, "all that it can, and no others"
    with pytest.raises(ConfigError, match=r"not as .q4_k_m.*llama-quantize"):
        write_gguf(loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / "m.gguf", dtype="q4_k_m")


def test_routers_and_positions_stay_float32() -> None:
    q4 = TYPES["q4_0"]
    assert type_for("blk.0.ffn_gate_inp.weight", (8, 64), q4, head="output.weight").name == "f32"
    assert type_for("position_embd.weight", (8, 64), TYPES["f16"], head="output.weight").name == "f32"
    assert type_for("output.weight", (8, 64), q4, head="output.weight").name == "q8_0"
    assert type_for("token_embd.weight", (8, 64), q4, head="output.weight").name == "q4_0"


def test_small_models_keep_more_in_q8_0() -> None:
    q8 = TYPES["q8_0"]
    for tensor in ("output.weight", "blk.0.ffn_down.weight", "blk.0.attn_output.weight", "blk.3.ffn_down_exps.weight"):
        assert type_for(tensor, (8, 64), q8, head="output.weight", small=True).name == "f16"
        assert type_for(tensor, (8, 64), q8, head="output.weight").name == "q8_0"
        assert type_for(tensor, (8, 64), TYPES["q5_0"], head="", small=True).name == "q5_0"
    assert type_for("blk.0.attn_q.weight", (8, 64), q8, head="output.weight", small=True).name == "q8_0"


def test_settings_and_stretched_positions(tmp_path: Path) -> None:
    model = tiny("llama3")
    write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "a.gguf", dtype="f32")
    factors = tensors_in(tmp_path / "a.gguf")["rope_freqs.weight"]
    assert factors.shape == (model.config.resolved_head_dim // 2,)
    # The first pair's wave is 2 pi long, between 16 / 4 and 16 / 1, so it is slowed by a part of the factor only.
    share = (16 / (2 * math.pi) - 1) / (4 - 1)
    assert factors[0] == pytest.approx(1 / ((1 - share) / 4 + share))
    assert factors[-1] == pytest.approx(4)
    write_gguf(loaded_as(tiny("llama-linear"), tmp_path / "m"), tmp_path / "b.gguf", dtype="f32")
    assert field(tmp_path / "b.gguf", "llama.rope.scaling.type") == "linear"
    assert field(tmp_path / "b.gguf", "llama.rope.scaling.factor") == 2
    assert field(tmp_path / "b.gguf", "llama.context_length") == 128
    assert field(tmp_path / "b.gguf", "llama.attention.head_count_kv") == 2
    assert field(tmp_path / "b.gguf", "llama.vocab_size") == 261


def test_a_window_shortens_the_context(tmp_path: Path) -> None:
    """llama.cpp would attend to all positions; within the window that is the same."""
    told = write_gguf(loaded_as(tiny("mistral"), tmp_path / "m"), tmp_path / "m.gguf")
    assert field(tmp_path / "m.gguf", "llama.context_length") == 5
    assert any("sliding window" in note for note in told.notes)
    assert context_of(tiny_config(sliding_window=500)) == (128, "")


@pytest.mark.parametrize(
    ("changes", "field_name"),
    [
        ({"positions": "none"}, "positions"),
        ({"qk_norm": True, "attention_bias": True, "attention_out_bias": True}, "attention_bias"),
        ({"attention_bias": True, "head_dim": 12}, "head_dim"),
        ({"attention_bias": True, "rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "rope_scaling"),
        ({"hidden_act": "gelu"}, "hidden_act"),
        ({"no_rope_layers": (0, 1)}, "no_rope_layers"),
    ],
)
def test_what_llama_cpp_has_no_word_for(changes: dict[str, Any], field_name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=field_name):
        write_gguf(loaded_as(tiny("llama", **changes), tmp_path / "m"), tmp_path / "m.gguf")


def test_adapters_are_merged(tmp_path: Path) -> None:
    model = adapted(tiny("llama"), LoraConfig(rank=4))
    write_gguf(loaded_as(model, tmp_path / "m"), tmp_path / "m.gguf", dtype="f32")
    merged = named_parameters(fused(model))
    value = np.array(merged["model.layers.0.self_attn.v_proj.weight"])
    assert np.array_equal(tensors_in(tmp_path / "m.gguf")["blk.0.attn_v.weight"], value)


def test_the_template_of_a_chat_model(tmp_path: Path) -> None:
    write_gguf(loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / "base.gguf", about="91 % wiki", licence="mit")
    assert field(tmp_path / "base.gguf", "tokenizer.chat_template") is None
    assert field(tmp_path / "base.gguf", "general.description") == "91 % wiki"
    assert field(tmp_path / "base.gguf", "general.license") == "mit"
    write_gguf(loaded_as(tiny("llama"), tmp_path / "m", None, "base", "sft"), tmp_path / "own.gguf")
    assert "<|assistant|>" in field(tmp_path / "own.gguf", "tokenizer.chat_template")
    (tmp_path / "m/chat_template.jinja").write_text("{{ messages }}")
    (tmp_path / "m/tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>"}))
    write_gguf(loaded_as(tiny("llama"), tmp_path / "m", None, "base", "sft"), tmp_path / "theirs.gguf")
    assert field(tmp_path / "theirs.gguf", "tokenizer.chat_template") == "{{ messages }}"


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    for name in "ab":
        write_gguf(loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / f"{name}.gguf", dtype="q8_0")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by a check that fails, nor by a full disk, nor by numbers that do not fit."""
    loaded, out = loaded_as(tiny("llama"), tmp_path / "m"), tmp_path / "out/m.gguf"

    def refuse(file: Path) -> None:
        assert file.parent == out.parent
        assert file.stat().st_size > 1000
        raise ModelError("another model")

    with pytest.raises(ModelError, match="another model"):
        write_gguf(loaded, out, check=refuse)
    assert list(out.parent.iterdir()) == []

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(gguf.GGUFWriter, "write_tensor_data", full)
        with pytest.raises(UserError, match="No space left on device; make room there"):
            write_gguf(loaded, out)
    assert list(out.parent.iterdir()) == []

    large = tiny("llama")
    large.model.embed_tokens.weight = large.model.embed_tokens.weight * mx.array(1e6)
    with pytest.raises(ModelError, match=r"token_embd.weight reach .* float16 ends at 65,504; write bf16 or f32"):
        write_gguf(loaded_as(large, tmp_path / "m"), out)
    large.model.norm.weight = large.model.norm.weight * mx.array(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        write_gguf(loaded_as(large, tmp_path / "m"), out, dtype="f32")
    assert list(out.parent.iterdir()) == []

    write_gguf(loaded, out)
    before = out.read_bytes()
    with pytest.raises(ModelError, match="exists already"):
        write_gguf(loaded, out, dtype="f32")
    assert out.read_bytes() == before


def test_characters_beyond_the_embedding(tmp_path: Path) -> None:
    """Rows of the embedding that no id of the tokenizer reaches are tokens that stand for nothing."""
    tokenizer = CharTokenizer("abc ")
    write_gguf(loaded_as(tiny("llama", vocab_size=268), tmp_path / "m", tokenizer), tmp_path / "m.gguf")
    tokens = field(tmp_path / "m.gguf", "tokenizer.ggml.tokens")
    assert len(tokens) == len(set(tokens)) == 268
    assert tokens[261:] == [" ", "a", "b", "c", "[PAD265]", "[PAD266]", "[PAD267]"]
    assert field(tmp_path / "m.gguf", "tokenizer.ggml.token_type")[260:] == [6, 4, 1, 1, 1, 5, 5, 5]
