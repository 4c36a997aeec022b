"""Adapters as files: what is saved comes back, and what does not belong together is refused in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from mlxllm.config import LORA_TARGETS, LoraConfig
from mlxllm.errors import ModelError, UserError
from mlxllm.model.adapter_files import load_adapter, read_adapter, save_adapter
from mlxllm.model.adapters import adapt, adapters, has_adapters, spec_of
from mlxllm.model.module import named_parameters, set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from tests.model.tiny import VARIANTS, max_difference, tiny_model, token_ids

MIXTRAL = {"num_experts": 4, "moe_intermediate_size": 24}


def adapted(lora: LoraConfig, **changes: Any) -> Transformer:
    model = tiny_model(**changes)
    adapt(model, lora)
    rng = np.random.default_rng(5)
    weights = trainable_parameters(model)
    set_parameters(model, {n: w + mx.array(0.1 * rng.normal(size=w.shape), mx.float32) for n, w in weights.items()})
    return model


@pytest.fixture(name="folder")
def saved(tmp_path: Path) -> Path:
    """A LoRA adapter of rank 4 on the last block of a tiny Llama."""
    folder = tmp_path / "adapter"
    save_adapter(adapted(LoraConfig(rank=4, layers=1)), folder, base_name="tiny", base_fingerprint="f" * 64)
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_saved_comes_back(variant: str, tmp_path: Path) -> None:
    lora = LoraConfig(rank=4, alpha=5, rslora=True, layers=1, dropout=0.25)
    model, ids = adapted(lora, **VARIANTS[variant]), token_ids(2, 9)
    save_adapter(model, tmp_path)
    again = tiny_model(**VARIANTS[variant])
    load_adapter(again, tmp_path)
    assert mx.array_equal(again(ids), model(ids))
    assert adapters(again).keys() == adapters(model).keys()
    assert trainable_parameters(again).keys() == trainable_parameters(model).keys()
    assert spec_of(again) == spec_of(model)


@pytest.mark.parametrize("changes", [{}, MIXTRAL])
def test_dora_comes_back(changes: dict[str, Any], tmp_path: Path) -> None:
    model, ids = adapted(LoraConfig(method="dora", targets=LORA_TARGETS[:4]), **changes), token_ids(2, 9)
    save_adapter(model, tmp_path)
    again = tiny_model(**changes)
    load_adapter(again, tmp_path)
    assert max_difference(again(ids), model(ids)) < 1e-5


def test_an_adapter_of_a_plain_base_goes_on_the_packed_one(tmp_path: Path) -> None:
    wide = {"hidden_size": 64, "intermediate_size": 96, "initializer_range": 0.15}
    model, ids = adapted(LoraConfig(rank=4, quantize="affine8"), **wide), token_ids(2, 9)
    save_adapter(model, tmp_path)
    plain = tiny_model(**wide)
    load_adapter(plain, tmp_path)
    assert max_difference(plain(ids), model(ids)) < 0.5
    assert max_difference(plain(ids), tiny_model(**wide)(ids)) > 0.5


def test_the_files_are_those_of_mlx_lm(folder: Path) -> None:
    assert sorted(path.name for path in folder.iterdir()) == ["adapter_config.json", "adapters.safetensors"]
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["fine_tune_type"] == "lora"
    assert config["num_layers"] == 1
    assert config["lora_parameters"]["rank"] == 4
    assert config["lora_parameters"]["scale"] == 4.0
    assert "self_attn.q_proj" in config["lora_parameters"]["keys"]
    shapes = {name: tuple(array.shape) for name, array in mx.load(str(folder / "adapters.safetensors")).items()}
    assert shapes["model.layers.1.mlp.down_proj.lora_a"] == (40, 4)
    assert shapes["model.layers.1.mlp.down_proj.lora_b"] == (4, 32)
    assert len(shapes) == 14


def test_experts_are_named_as_in_mlx_lm(tmp_path: Path) -> None:
    for changes, module in (({"qk_norm": True, **MIXTRAL}, "mlp"), (MIXTRAL, "block_sparse_moe")):
        save_adapter(adapted(LoraConfig(rank=4, targets=("up_proj",)), **changes), tmp_path)
        assert set(mx.load(str(tmp_path / "adapters.safetensors"))) == {
            f"model.layers.{i}.{module}.switch_mlp.up_proj.{leaf}" for i in range(2) for leaf in ("lora_a", "lora_b")
        }


def test_equal_adapters_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_adapter(adapted(LoraConfig()), tmp_path / name)
    first, second = ((tmp_path / name / "adapters.safetensors").read_bytes() for name in ("a", "b"))
    assert first == second


# As others write them


def test_mlx_lm_names_neither_keys_nor_base(folder: Path) -> None:
    """Its own adapters say only rank, scale and dropout; which matrices have one is seen from the arrays."""
    model, ids = adapted(LoraConfig(rank=4, layers=1)), token_ids(2, 9)
    settings = {"fine_tune_type": "lora", "num_layers": 1, "lora_parameters": {"rank": 4, "scale": 4.0, "dropout": 0.0}}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    again = tiny_model()
    stored = load_adapter(again, folder, base_fingerprint="0" * 64)
    assert (stored.base_name, stored.base_fingerprint) == (None, None)
    assert mx.array_equal(again(ids), model(ids))


@pytest.mark.parametrize("method", ["lora", "dora"])
@pytest.mark.parametrize("rslora", [False, True])
def test_peft_files_are_read(method: str, rslora: bool, tmp_path: Path) -> None:
    lora = LoraConfig.model_validate({"method": method, "rank": 4, "alpha": 6, "rslora": rslora})
    model, ids = adapted(lora), token_ids(2, 9)
    arrays: dict[str, mx.array] = {}
    for path, adapter in adapters(model).items():
        name = f"base_model.model.{path}"
        arrays |= {f"{name}.lora_A.weight": adapter.lora_a.T, f"{name}.lora_B.weight": adapter.lora_b.T}
        if method == "dora":
            arrays[f"{name}.lora_magnitude_vector"] = adapter.lengths
    mx.save_safetensors(str(tmp_path / "adapter_model.safetensors"), arrays, {"format": "pt"})
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "use_rslora": rslora, "use_dora": method == "dora"}
    settings |= {"lora_dropout": 0.0, "base_model_name_or_path": "someone/tiny", "rank_pattern": {}}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    again = tiny_model()
    assert load_adapter(again, tmp_path).base_name == "someone/tiny"
    assert max_difference(again(ids), model(ids)) < 1e-5


# What does not belong together


def refused(folder: Path, model: Transformer | None = None, **options: Any) -> str:
    """The sentence; the model is left as it was."""
    model = model or tiny_model()
    before = named_parameters(model).keys()
    with pytest.raises(ModelError) as error:
        load_adapter(model, folder, **options)
    assert not has_adapters(model)
    assert named_parameters(model).keys() == before == trainable_parameters(model).keys()
    return str(error.value)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"hidden_size": 16}, "made for another model"),
        ({"num_hidden_layers": 1}, "has an adapter on model.layers.1."),
        ({"num_hidden_layers": 3}, "lacks the adapter of model.layers.2."),
        ({"mlp_gated": False}, "has an adapter on model.layers.1.mlp.gate_proj"),
        (MIXTRAL, "has an adapter on model.layers.1.mlp."),
        ({"intermediate_size": 48}, "of shape (40, 4) where this model and rank 4 need (48, 4)"),
    ],
)
def test_another_model_is_refused(folder: Path, changes: dict[str, Any], part: str) -> None:
    message = refused(folder, tiny_model(**changes))
    assert part in message, message
    assert "adapters.safetensors" in message


def test_a_model_of_the_same_shape_with_other_weights_is_refused(folder: Path) -> None:
    message = refused(folder, base_fingerprint="0" * 64)
    assert all(part in message for part in ("trained on tiny", "ffffffffffff", "000000000000", "give the model"))
    load_adapter(tiny_model(), folder, base_fingerprint="f" * 64)


def test_no_adapter_at_all(tmp_path: Path) -> None:
    assert "there is no folder" in refused(tmp_path / "nowhere")
    assert "holds no adapter: neither adapters.safetensors" in refused(tmp_path)
    (tmp_path / "adapters.safetensors").write_bytes(b"x")
    assert "adapter_config.json is missing" in refused(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert "is not a usable safetensors file" in refused(tmp_path)


def change_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        change(config)
        path.write_text(json.dumps(config))

    return apply


def change_arrays(change: Callable[[dict[str, mx.array]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "adapters.safetensors"
        arrays = mx.load(str(path))
        mx.eval(arrays)
        change(arrays)
        mx.save_safetensors(str(path), arrays)

    return apply


Q = "model.layers.1.self_attn.q_proj"


@pytest.mark.parametrize(
    ("damage", "parts"),
    [
        (change_config(lambda c: c.update(fine_tune_type="full")), ["fine_tune_type 'full'", "lora and dora"]),
        (change_config(lambda c: c.pop("lora_parameters")), ["lacks lora_parameters"]),
        (change_config(lambda c: c["lora_parameters"].update(rank=None)), ["rank = None", "a number above 0"]),
        (change_config(lambda c: c["lora_parameters"].update(scale="x")), ["scale = 'x'"]),
        (change_config(lambda c: c["lora_parameters"].update(dropout=2)), ["a dropout of 2"]),
        (change_config(lambda c: c["lora_parameters"].update(rank=8)), ["rank 8 need (40, 8)"]),
        (change_config(lambda c: c.update(num_layers=2)), ["lacks the adapter of model.layers.0."]),
        (
            change_config(lambda c: c.update(num_layers=3)),
            ["the last 3 blocks have adapters, and this model has 2; it was"],
        ),
        (change_config(lambda c: c.update(num_layers="all")), ["num_layers = 'all'", "-1 all"]),
        (
            change_config(lambda c: (c.update(num_layers=-1), c["lora_parameters"].pop("keys"))),
            ["no adapter on block 0"],
        ),
        (change_config(lambda c: c.update(fine_tune_type="dora")), ["lacks", ".m;"]),
        (change_arrays(lambda a: a.pop(f"{Q}.lora_b")), [f"lacks {Q}.lora_b", "not whole"]),
        (change_arrays(lambda a: [a.pop(f"{Q}.{n}") for n in ("lora_a", "lora_b")]), [f"lacks the adapter of {Q}"]),
        (change_arrays(lambda a: a.update({f"{Q}.weight": mx.zeros(3)})), [f"{Q}.weight", "no array of an adapter"]),
        (change_arrays(lambda a: a.update({f"{Q}.m": mx.zeros(3)})), [f"{Q}.m", "belongs to dora"]),
        (change_arrays(lambda a: a.update({"lm_head.lora_a": mx.zeros((3, 3))})), ["lm_head", "cannot adapt"]),
        (change_arrays(lambda a: a.update({f"{Q}.lora_a": mx.zeros((4, 32))})), ["of shape (4, 32)", "need (32, 4)"]),
    ],
)
def test_damaged_files_are_one_sentence(folder: Path, damage: Callable[[Path], None], parts: list[str]) -> None:
    damage(folder)
    message = refused(folder)
    assert all(part in message for part in parts), message
    assert str(folder) in message


def test_adapters_of_a_model_with_other_blocks(tmp_path: Path) -> None:
    """Where the files do not name matrices, the blocks tell: mlx-lm counts from the last, -1 and PEFT mean all."""
    model = adapted(LoraConfig(rank=4))
    save_adapter(model, tmp_path)
    change_config(lambda c: c["lora_parameters"].pop("keys"))(tmp_path)
    deeper, all_blocks = tiny_model(num_hidden_layers=4), change_config(lambda c: c.update(num_layers=-1))
    message = refused(tmp_path, deeper)
    assert (
        "adapter on block 0, and by adapter_config.json beside it those of a model with 4 blocks are on 2 to" in message
    )
    all_blocks(tmp_path)
    assert "has no adapter on block 2, and by" in refused(tmp_path, deeper)
    load_adapter(tiny_model(), tmp_path)

    arrays = mx.load(str(tmp_path / "adapters.safetensors"))
    leaves = {"lora_a": "lora_A.weight", "lora_b": "lora_B.weight"}
    named = {f"base_model.model.{n.rpartition('.')[0]}.{leaves[n.rpartition('.')[2]]}": a.T for n, a in arrays.items()}
    (tmp_path / "adapters.safetensors").unlink()
    mx.save_safetensors(str(tmp_path / "adapter_model.safetensors"), named)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": list(LORA_TARGETS)}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    assert "has no adapter on block 2" in refused(tmp_path, deeper)
    load_adapter(tiny_model(), tmp_path)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings | {"layers_to_transform": [0, 1]}))
    load_adapter(deeper, tmp_path)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"peft_type": "IA3"}, ["peft_type 'IA3'"]),
        ({"rank_pattern": {"q_proj": 2}}, ["rank_pattern", "merge the adapter with PEFT"]),
        ({"r": 0}, ["r = 0"]),
        ({}, ["holds what", "no array of a LoRA adapter"]),
    ],
)
def test_peft_files_that_cannot_be_used_are_one_sentence(
    tmp_path: Path, settings: dict[str, Any], parts: list[str]
) -> None:
    mx.save_safetensors(str(tmp_path / "adapter_model.safetensors"), {"what": mx.zeros(1)})
    known = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (tmp_path / "adapter_config.json").write_text(json.dumps(known | settings))
    message = refused(tmp_path)
    assert all(part in message for part in parts), message


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write the adapter to"):
        save_adapter(adapted(LoraConfig(rank=1)), tmp_path / "file")


def test_the_base_is_known_before_it_is_loaded(folder: Path) -> None:
    stored = read_adapter(folder, tiny_model().config)
    assert (stored.base_name, stored.base_fingerprint) == ("tiny", "f" * 64)
