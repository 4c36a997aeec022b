"""Model folders: what is written comes back whole, with its history; adapters on top; matrices that came packed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LoraConfig
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.model.adapter_files import save_adapter
from mlxllm.model.adapters import adapt, fused, has_adapters
from mlxllm.model.hf_folder import load_hf_folder
from mlxllm.model.loading import load_model, load_model_tokenizer, load_plain, refuse_packed
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.quantized_models import dense_weights, is_quantized
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.export.tiny import save_folder
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

VOCAB = ByteTokenizer().vocab_size
WIDE = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 96, "initializer_range": 0.15}
HF_VARIANTS = [name for name in VARIANTS if name in ("llama", "qwen3", "gpt2", "llama3-scaling", "experts")]


def save(path: Path, history: tuple[str, ...] = ("base",), **changes: Any) -> Transformer:
    model = tiny_model(vocab_size=VOCAB, **changes)
    save_folder(model, ByteTokenizer(), history, path)
    return model


def adapted(base: Transformer, lora: LoraConfig) -> Transformer:
    """`base` with an adapter that has been moved off its beginning."""
    adapt(base, lora)
    rng = np.random.default_rng(5)
    weights = trainable_parameters(base)
    set_parameters(base, {n: w + mx.array(0.1 * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})
    return base


def quantise(folder: Path, form: dict[str, Any], but: tuple[str, ...] = ()) -> None:
    """Pack the matrices of a folder as mlx-lm does, with its settings in config.json twice."""
    weights = mx.load(str(folder / "model.safetensors"))
    assert isinstance(weights, dict)
    packed: dict[str, mx.array] = {}
    for name, array in weights.items():
        layer = name.removesuffix(".weight")
        if array.ndim < 2 or layer in but:
            packed[name] = array
            continue
        matrix, scales, *biases = mx.quantize(array, form["group_size"], form["bits"], form.get("mode", "affine"))
        packed |= {f"{layer}.weight": matrix, f"{layer}.scales": scales}
        packed |= {f"{layer}.biases": biases[0]} if biases else {}
    mx.eval(packed)
    mx.save_safetensors(str(folder / "model.safetensors"), packed, {"format": "mlx"})
    settings = {**form, **dict.fromkeys(but, False)}
    raw = json.loads((folder / "config.json").read_text())
    raw |= {"quantization": settings, "quantization_config": settings}
    (folder / "config.json").write_text(json.dumps(raw))


@pytest.mark.parametrize("variant", HF_VARIANTS)
def test_what_is_saved_comes_back(variant: str, tmp_path: Path) -> None:
    model, ids = save(tmp_path / "deep" / "model", ("base", "sft", "dpo"), **VARIANTS[variant]), token_ids(2, 9)
    loaded = load_model(str(tmp_path / "deep" / "model"))
    # A transposed matrix is multiplied in another order.
    assert max_difference(loaded.model(ids), model(ids)) <= (1e-5 if variant == "gpt2" else 0)
    assert (loaded.history, loaded.kind, loaded.step, loaded.adapter) == (("base", "sft", "dpo"), "dpo", None, None)
    assert loaded.tokenizer.fingerprint == ByteTokenizer().fingerprint
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"], "nothing half-made stays"


def test_equal_weights_give_equal_files(tmp_path: Path) -> None:
    save(tmp_path / "a")
    save(tmp_path / "b")
    for name in ("model.safetensors", "config.json", "tokenizer/tokenizer_config.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("noted", [None, [], {"history": []}, {"history": "sft"}, {"other": 1}])
def test_a_folder_without_a_usable_note_is_a_base_model(noted: Any, tmp_path: Path) -> None:
    save(tmp_path / "model")
    raw = json.loads((tmp_path / "model/config.json").read_text())
    (tmp_path / "model/config.json").write_text(json.dumps({**raw, "mlxllm": noted}))
    assert load_model(str(tmp_path / "model")).history == ("base",)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no Hugging Face architecture.*model\.positions"):
        save(tmp_path / "model", **VARIANTS["transformer-2017"])
    save(tmp_path / "model")
    with pytest.raises(ModelError, match="model exists already; name a new folder"):
        save(tmp_path / "model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the model to \S+file/model: .*choose another folder"):
        save(tmp_path / "file" / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]


@pytest.mark.parametrize("lora", [LoraConfig(rank=4), LoraConfig(method="dora", rank=4, layers=1)], ids=str)
def test_an_adapter_is_stacked_by_its_folder(lora: LoraConfig, tmp_path: Path) -> None:
    ids = token_ids(2, 9)
    save(tmp_path / "model")
    base = load_model(str(tmp_path / "model"))
    model = adapted(load_model(str(tmp_path / "model")).model, lora)
    save_adapter(model, tmp_path / "adapter", base_fingerprint=base.fingerprint)
    loaded = load_model(str(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert max_difference(base.model(ids), model(ids)) > 0.1
    assert max_difference(loaded.model(ids), model(ids)) < 1e-5
    assert (loaded.adapter, loaded.kind, loaded.model.training) == (tmp_path / "adapter", "sft", False)
    assert loaded.fingerprint != base.fingerprint
    # Merged and written, it is still the same model, and one more adapter goes on top of the first.
    plain = fused(loaded.model)
    assert not has_adapters(plain)
    assert max_difference(plain(ids), model(ids)) < 1e-4
    save_folder(plain, loaded.tokenizer, loaded.history, tmp_path / "merged")
    merged = load_model(str(tmp_path / "merged"))
    assert merged.kind == "sft"
    assert max_difference(merged.model(ids), model(ids)) < 1e-4
    second = adapted(merged.model, lora)
    save_adapter(second, tmp_path / "second")
    again = load_model(str(tmp_path / "merged"), adapter=str(tmp_path / "second"))
    assert max_difference(again.model(ids), second(ids)) < 1e-5


def with_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


MISMATCHES: dict[str, tuple[Callable[[Path], Any], type[UserError], str]] = {
    "other weights": (
        lambda a: with_json(a / "adapter_config.json", base_fingerprint="0" * 64, model="tale"),
        ModelError,
        r"was trained on tale with weights 000000000000, and these are \w{12}; give the model that it was trained on",
    ),
    "other shapes": (
        lambda a: save_adapter(adapted(tiny_model(hidden_size=16), LoraConfig(rank=4)), a),
        ModelError,
        r"lora_b of shape \(4, 16\) where this model and rank 4 need \(4, 32\); it was made for another model",
    ),
    "other blocks": (
        lambda a: save_adapter(adapted(tiny_model(num_hidden_layers=3), LoraConfig(rank=4)), a),
        ModelError,
        r"says that the last 3 blocks have adapters, and this model has 2; it was made for",
    ),
    "cut off": (
        lambda a: (a / "adapters.safetensors").write_bytes((a / "adapters.safetensors").read_bytes()[:-100]),
        ModelError,
        r"is not a usable safetensors file: .*download or copy it again",
    ),
    "no config": (lambda a: (a / "adapter_config.json").unlink(), ModelError, r"adapter_config.json is missing"),
    "no arrays": (lambda a: (a / "adapters.safetensors").unlink(), ModelError, r"holds no adapter: neither"),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_an_adapter_that_does_not_fit_ends_in_a_sentence(case: str, tmp_path: Path) -> None:
    spoil, error, message = MISMATCHES[case]
    save(tmp_path / "model")
    save_adapter(adapted(load_model(str(tmp_path / "model")).model, LoraConfig(rank=4)), tmp_path / "adapter")
    assert load_model(str(tmp_path / "model"), adapter=str(tmp_path / "adapter")).adapter is not None
    spoil(tmp_path / "adapter")
    with pytest.raises(error, match=message) as caught:
        load_model(str(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nowhere", ConfigError, r"there is no adapter 'nowhere'; give a folder with adapters.safetensors"),
        ("./file", ModelError, r"file is a file; an adapter is a folder with adapters.safetensors"),
        ("./model", ModelError, r"model holds no adapter: neither adapters.safetensors"),
        ("./model@3", ConfigError, r"model is not a run, so it has no checkpoint @3; leave @3 out"),
    ],
)
def test_names_of_no_adapter(
    name: str, error: type[UserError], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "model")
    (tmp_path / "file").write_text("")
    with pytest.raises(error, match=message):
        load_model("./model", adapter=name)


FORMS: dict[str, dict[str, Any]] = {
    "4 bits": {"group_size": 32, "bits": 4},
    "8 bits, named": {"group_size": 64, "bits": 8, "mode": "affine"},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_quantised_folder_computes_what_its_unpacked_weights_do(form: str, dtype: mx.Dtype, tmp_path: Path) -> None:
    changes = {**WIDE, "intermediate_size": 128}
    source, ids = save(tmp_path / "model", tie_word_embeddings=False, **changes), token_ids(2, 9)
    quantise(tmp_path / "model", FORMS[form], but=("model.layers.0.self_attn.q_proj",))
    loaded = load_model(str(tmp_path / "model"), dtype=dtype)
    assert is_quantized(loaded.model)
    assert (tmp_path / "model/model.safetensors").stat().st_size < 0.5 * 4 * sum(
        p.size for p in named_parameters(source).values()
    )
    plain = Transformer(loaded.config)
    plain.load_weights(list(dense_weights(loaded.model).items()))
    plain.eval()
    assert max_difference(loaded.model(ids), plain(ids)) < (1e-4 if dtype == mx.float32 else 0.1)
    assert max_difference(loaded.model(ids), source(ids)) > 0
    kept = "model.layers.0.self_attn.q_proj.weight"
    assert mx.array_equal(named_parameters(loaded.model)[kept], named_parameters(source)[kept].astype(dtype))
    assert loaded.model.model.layers[0].input_layernorm.weight.dtype == dtype


MIXTURES: dict[str, dict[str, Any]] = {
    "qwen3": {**WIDE, "num_experts": 4, "moe_intermediate_size": 64, "qk_norm": True},
    "mixtral": {**WIDE, "num_experts": 4, "moe_intermediate_size": 64},
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("family", MIXTURES)
def test_experts_as_mlx_lm_stacks_them(family: str, packed: bool, tmp_path: Path) -> None:
    source, ids = save(tmp_path / "model", **MIXTURES[family]), token_ids(2, 9)
    file, block = tmp_path / "model/model.safetensors", {"qwen3": "mlp", "mixtral": "block_sparse_moe"}[family]
    weights = mx.load(str(file))
    assert isinstance(weights, dict)
    stacked = {name: array for name, array in weights.items() if ".experts." not in name}
    assert len(stacked) == len(weights) - 2 * 3 * 4
    for name, array in named_parameters(source).items():
        if ".experts." in name:
            stacked[name.replace(".mlp.experts.", f".{block}.switch_mlp.") + ".weight"] = array
    mx.eval(stacked)
    mx.save_safetensors(str(file), stacked, {"format": "mlx"})
    if not packed:
        assert mx.array_equal(load_model(str(tmp_path / "model")).model(ids), source(ids))
        return
    quantise(tmp_path / "model", FORMS["8 bits, named"])
    loaded = load_plain(str(tmp_path / "model"))
    packed_bytes = sum(w.nbytes for n, w in named_parameters(loaded.model).items() if ".experts." in n)
    assert packed_bytes < 0.3 * sum(w.nbytes for n, w in named_parameters(source).items() if ".experts." in n)
    assert 0 < max_difference(loaded.model(ids), source(ids)) < 0.5
    before = loaded.model(ids)
    model = adapted(loaded.model, LoraConfig(rank=4))
    assert max_difference(model(ids), before) > 0.1
    assert max_difference(fused(model)(ids), model(ids)) < 1e-3


def test_a_quantised_folder_takes_adapters_but_no_full_training(tmp_path: Path) -> None:
    save(tmp_path / "model", **WIDE)
    quantise(tmp_path / "model", FORMS["4 bits"])
    loaded, ids = load_plain(str(tmp_path / "model")), token_ids(2, 9)
    with pytest.raises(ConfigError, match=r"model are quantised, .*train an adapter on them \(--lora-rank 8\)"):
        refuse_packed(loaded)
    before = {n: w for n, w in named_parameters(loaded.model).items() if ".layers." in n}
    model = adapted(loaded.model, LoraConfig(rank=4))
    save_adapter(model, tmp_path / "adapter", base_fingerprint=loaded.fingerprint)
    again = load_model(str(tmp_path / "model"), adapter=str(tmp_path / "adapter"))
    assert max_difference(again.model(ids), model(ids)) < 1e-5
    assert max_difference(fused(again.model)(ids), model(ids)) < 1e-4
    after = {n.replace(".linear.", "."): w for n, w in named_parameters(again.model).items()}
    assert all(mx.array_equal(after[n], w) for n, w in before.items())
    save_folder(fused(again.model), again.tokenizer, again.history, tmp_path / "plain")
    refuse_packed(load_model(str(tmp_path / "plain")))


def test_quantised_folders_that_cannot_be_used(tmp_path: Path) -> None:
    save(tmp_path / "model", **WIDE)
    quantise(tmp_path / "model", FORMS["4 bits"])
    config = tmp_path / "model/config.json"
    raw = json.loads(config.read_text())

    def expect(message: str, **changes: Any) -> None:
        config.write_text(json.dumps({k: v for k, v in {**raw, **changes}.items() if v is not None}))
        with pytest.raises(ModelError, match=message) as caught:
            load_hf_folder(tmp_path / "model")
        assert "\n" not in str(caught.value)

    expect(r"config.json asks for quantization with mode 'affine', bits 7", quantization={"bits": 7, "group_size": 32})
    expect(r"are not what affine with 8 bits and groups of 32 gives", quantization={"bits": 8, "group_size": 32})
    expect(r"are quantised \(quantization_config\), in a form", quantization=None)
    expect(r"holds model.embed_tokens.weight of shape", quantization=None, quantization_config=None)


def test_the_tokenizer_alone(tmp_path: Path) -> None:
    save(tmp_path / "model")
    (tmp_path / "model/model.safetensors").unlink()
    assert load_model_tokenizer(str(tmp_path / "model"))[0].fingerprint == ByteTokenizer().fingerprint
    with pytest.raises(ConfigError, match="there is no run 'nowhere'"):
        load_model_tokenizer("nowhere")
