"""Folders that we write are opened by ourselves as what they were, whole or not at all."""

import json
from pathlib import Path
from types import SimpleNamespace

import mlx.core as mx
import pytest

from mlxllm.errors import ModelError, UserError
from mlxllm.export.hf import write_hf
from mlxllm.model.loading import load_model
from tests.export.tiny import random_model
from tests.model.families_data import POINTS

IDS = mx.array([[7, 100, 3, 42, 260, 9]])


def difference(a: mx.array, b: mx.array) -> float:
    return mx.abs(a.astype(mx.float32) - b.astype(mx.float32)).max().item()


@pytest.mark.parametrize("point", POINTS)
def test_every_architecture_comes_back(point: str, tmp_path: Path) -> None:
    source = random_model(point, "bpe", ("base", "sft"))
    write_hf(source, tmp_path / "deep" / "model")
    back = load_model(str(tmp_path / "deep" / "model"))
    assert difference(back.model(IDS), source.model(IDS)) < (1e-4 if "gpt2" in point else 1e-6)
    assert back.tokenizer.fingerprint == source.tokenizer.fingerprint
    assert back.history == ("base", "sft")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"], "nothing half-made stays"


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_what_lies_in_the_folder(kind: str, tmp_path: Path) -> None:
    write_hf(random_model("qwen3", kind, ("base", "dpo")), tmp_path / "tuned")
    names = {path.name for path in (tmp_path / "tuned").iterdir()}
    assert names == {
        *"config.json generation_config.json model.safetensors tokenizer.json tokenizer_config.json".split(),
        *"chat_template.jinja README.md tokenizer".split(),
    }
    assert json.loads((tmp_path / "tuned/generation_config.json").read_text())["eos_token_id"] == [4, 0]
    write_hf(random_model("qwen3", kind), tmp_path / "base")
    assert {path.name for path in (tmp_path / "base").iterdir()} == names - {"chat_template.jinja"}
    assert json.loads((tmp_path / "base/config.json").read_text())["eos_token_id"] == 0


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_hf(random_model("qwen3-moe", "bpe", ("base", "sft")), tmp_path / name, max_shard_size=20_000)
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes(), file


def test_weights_are_cut_into_files(tmp_path: Path) -> None:
    source = random_model("llama", "bpe")
    write_hf(source, tmp_path / "model", max_shard_size=30_000)
    parts = sorted(tmp_path.glob("model/model-*-of-*.safetensors"))
    index = json.loads((tmp_path / "model/model.safetensors.index.json").read_text())
    assert len(parts) == len(set(index["weight_map"].values())) > 2
    assert index["metadata"]["total_size"] == sum(
        array.nbytes for part in parts for array in mx.load(str(part)).values()
    )
    assert not (tmp_path / "model/model.safetensors").exists()
    assert difference(load_model(str(tmp_path / "model")).model(IDS), source.model(IDS)) == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_are_cast(dtype: str, tmp_path: Path) -> None:
    source = random_model("llama-untied-biases")
    write_hf(source, tmp_path / "model", dtype=getattr(mx, dtype))
    raw = json.loads((tmp_path / "model/config.json").read_text())
    assert raw["dtype"] == raw["torch_dtype"] == dtype
    weights = mx.load(str(tmp_path / "model/model.safetensors"))
    assert {str(array.dtype) for array in weights.values()} == {f"mlx.core.{dtype}"}
    assert source.model.model.embed_tokens.weight.dtype == mx.float32, "the model itself is left as it was"


def test_a_failed_check_leaves_nothing(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        assert (folder / "model.safetensors").is_file()
        raise UserError("they differ")

    with pytest.raises(UserError, match="they differ"):
        write_hf(random_model(), tmp_path / "new" / "model", check=refuse)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"no Hugging Face architecture.*model\.positions"):
        write_hf(random_model(positions="sinusoidal"), tmp_path / "model")
    (tmp_path / "model").mkdir()
    with pytest.raises(ModelError, match="model exists already; name a new folder"):
        write_hf(random_model(), tmp_path / "model")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write the model to \S+file/model: .*choose another folder"):
        write_hf(random_model(), tmp_path / "file" / "model")
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(UserError, match=r"it takes 107.8 kB, and 1.0 kB are free there; make room"):
        write_hf(random_model(), tmp_path / "other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]
