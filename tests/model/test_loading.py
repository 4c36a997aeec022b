"""load_model: every way to name a model, and every way in which one can be unusable."""

import json
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from mlxllm.config import RunConfig
from mlxllm.errors import ConfigError, DataError, ModelError, RunError, UserError
from mlxllm.model.checkpoint_files import (
    CHECKPOINT_FILES,
    MANIFEST_FILE,
    MODEL_FILE,
    OPTIMIZER_FILE,
    TRAINER_FILE,
    best_path,
    checkpoint_path,
)
from mlxllm.model.hf_config import config_to_hf
from mlxllm.model.hf_weights import weights_to_hf
from mlxllm.model.loading import load_hf_folder, load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.model.weight_files import INDEX_FILE
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.model.tiny import max_difference, tiny_config, tiny_model, token_ids

BYTE_VOCAB = ByteTokenizer().vocab_size


def write_checkpoint(run: Path, step: int, model: Transformer, trainer: dict[str, Any] | None = None) -> None:
    path = checkpoint_path(run, step)
    path.mkdir(parents=True)
    mx.save_safetensors(str(path / MODEL_FILE), named_parameters(model))
    mx.save_safetensors(str(path / OPTIMIZER_FILE), {"step": mx.array(step)})
    (path / TRAINER_FILE).write_text(json.dumps({"step": step, **(trainer or {})}))
    write_manifest(path)


def write_manifest(path: Path) -> None:
    contents = {name: (path / name).read_bytes() for name in CHECKPOINT_FILES}
    files = {name: {"sha256": sha256(c).hexdigest(), "bytes": len(c)} for name, c in contents.items()}
    (path / MANIFEST_FILE).write_text(json.dumps({"files": files}))


def run_model(seed: int) -> Transformer:
    return tiny_model(seed, vocab_size=BYTE_VOCAB, dropout=0.1)


@pytest.fixture
def run(mlxllm_home: Path) -> Path:
    """A run called `tale` with checkpoints of steps 10, 20 and 30, from the seeds 10, 20 and 30; 20 is the best."""
    path = mlxllm_home / "runs" / "tale"
    path.mkdir(parents=True)
    config = RunConfig(model=tiny_config(vocab_size=BYTE_VOCAB, dropout=0.1))
    (path / "config.json").write_text(config.model_dump_json())
    ByteTokenizer().save(path / "tokenizer")
    for step in (10, 20, 30):
        write_checkpoint(path, step, run_model(step))
    best_path(path).write_text('{"step": 20, "val_loss": 1.0}')
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in Hugging Face's form with our tokenizer in it."""
    return write_folder(tmp_path / "exported")


def write_folder(path: Path, **changes: Any) -> Path:
    path.mkdir()
    model = tiny_model(vocab_size=BYTE_VOCAB, **changes)
    (path / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    mx.save_safetensors(str(path / MODEL_FILE), weights_to_hf(model.config, named_parameters(model)))
    ByteTokenizer().save(path / "tokenizer")
    return path


def is_model(found: Transformer, seed: int) -> bool:
    ids = token_ids(1, 9)
    return max_difference(found(ids), run_model(seed)(ids)) == 0


@pytest.mark.parametrize(("suffix", "step"), [("", 30), ("@last", 30), ("@best", 20), ("@10", 10), ("@000020", 20)])
def test_a_run_by_name_and_by_path(run: Path, suffix: str, step: int) -> None:
    for name in (f"tale{suffix}", f"{run}{suffix}"):
        loaded = load_model(name)
        assert (loaded.step, loaded.name, loaded.path) == (step, name, checkpoint_path(run, step))
        assert is_model(loaded.model, step)  # also: no dropout
        assert loaded.tokenizer.decode(loaded.tokenizer.encode("né")) == "né"
        assert loaded.config == loaded.model.config == tiny_config(vocab_size=BYTE_VOCAB, dropout=0.1)
        assert loaded.run_config is not None
        assert loaded.run_config.model == loaded.config
        assert loaded.fingerprint == sha256((loaded.path / MODEL_FILE).read_bytes()).hexdigest()


def test_a_checkpoint_by_path(run: Path) -> None:
    assert load_model(str(checkpoint_path(run, 10))).step == 10


def test_the_checkpoint_of_step_zero_is_not_the_last(run: Path) -> None:
    write_checkpoint(run, 0, run_model(5))
    assert load_model("tale@0").step == 0
    assert load_model("tale").step == 30


def test_a_damaged_last_checkpoint_is_passed_over(run: Path) -> None:
    (checkpoint_path(run, 30) / MODEL_FILE).write_bytes(b"\0" * 100)
    assert is_model(load_model("tale").model, 20)
    with pytest.raises(RunError, match=r"checkpoint 30 of run 'tale' cannot be used.*steps 10, 20"):
        load_model("tale@30")


def test_the_model_outlives_its_checkpoint(run: Path) -> None:
    loaded = load_model("tale@10")
    shutil.rmtree(loaded.path)
    assert is_model(loaded.model, 10)


def test_history_is_what_the_trainer_noted(run: Path) -> None:
    assert load_model("tale").history == ("base",)
    assert load_model("tale").kind == "base"
    write_checkpoint(run, 40, run_model(0), {"history": ["base", "sft"]})
    assert load_model("tale").history == ("base", "sft")
    assert load_model("tale").kind == "sft"


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float16])
def test_weights_are_cast(run: Path, folder: Path, dtype: mx.Dtype) -> None:
    for name in ("tale", str(folder)):
        weights = named_parameters(load_model(name, dtype=dtype).model)
        assert {weight.dtype for weight in weights.values()} == {dtype}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("tael", ConfigError, r"there is no run 'tael'.*tale"),
        ("tael@best", ConfigError, r"there is no run 'tael'.*tale"),
        ("tale@newest", ConfigError, r"asks for the checkpoint 'newest'; write tale@STEP.*or tale@best"),
        ("tale@-1", ConfigError, r"asks for the checkpoint '-1'"),
        ("tale@15", RunError, r"no checkpoint of step 15; there are the steps 10, 20, 30"),
        (
            "someone/model",
            DataError,
            r"from the Hub because HF_HUB_OFFLINE is set, and there is no folder someone/model here; unset it, or go online",
        ),
        ("", ConfigError, r"'' names no model; give a run .*, a folder with a model, or OWNER/NAME"),
        ("@5", ConfigError, r"'@5' names no model"),
    ],
)
def test_names_that_mean_nothing(run: Path, name: str, error: type[UserError], message: str) -> None:
    with pytest.raises(error, match=message):
        load_model(name)


def test_damaged_runs(run: Path) -> None:
    config = (run / "config.json").read_text()
    raw = json.loads(config)
    broken: list[tuple[Any, str]] = [
        (
            {**raw, "model": {**raw["model"], "hidden_size": 0}},
            r"config.json is not a config .*: model.hidden_size is 0, but it should be greater than 0; was the run made with",
        ),
        ({**raw, "future": 1}, r"config.json is not a config .*: the setting future is not known; .*another version"),
        ([], r"run 'tale' cannot be used: .*config.json does not hold a JSON object"),
        (
            {**raw, "model": {**raw["model"], "hidden_size": 64}},
            r"model.safetensors holds model.embed_tokens.weight of shape \(261, 32\) where .* makes it \(261, 64\)",
        ),
        ({**raw, "model": {**raw["model"], "vocab_size": 200}}, r"\(261, 32\) where config.json makes it \(200, 32\)"),
        ({**raw, "model": {**raw["model"], "qk_norm": True}}, r"lacks model.layers.0.self_attn.q_norm.weight"),
    ]
    for value, message in broken:
        (run / "config.json").write_text(json.dumps(value))
        with pytest.raises(UserError, match=message) as caught:
            load_model("tale")
        assert "\n" not in str(caught.value)
    (run / "config.json").write_text(config[:100])
    with pytest.raises(RunError, match=r"run 'tale' cannot be used: .*config.json is not valid JSON"):
        load_model("tale")
    (run / "config.json").unlink()
    with pytest.raises(RunError, match=r"config.json is missing"):
        load_model("tale")


def test_run_with_a_damaged_or_foreign_tokenizer(run: Path) -> None:
    shutil.rmtree(run / "tokenizer")
    with pytest.raises(DataError, match="there is no tokenizer"):
        load_model("tale")


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path: Path) -> None:
    model = build_model(tiny_config(vocab_size=100))
    (tmp_path / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    mx.save_safetensors(str(tmp_path / MODEL_FILE), named_parameters(model))
    ByteTokenizer().save(tmp_path / "tokenizer")
    with pytest.raises(ModelError, match=r"has 261 ids, its model 100: they do not belong together"):
        load_model(str(tmp_path))


@pytest.mark.parametrize(("rows", "fits"), [(261, True), (512, True), (513, False)])
def test_a_tokenizer_with_far_fewer_ids_than_the_model_is_refused(tmp_path: Path, rows: int, fits: bool) -> None:
    model = build_model(tiny_config(vocab_size=rows))
    (tmp_path / "config.json").write_text(json.dumps(config_to_hf(model.config)))
    mx.save_safetensors(str(tmp_path / MODEL_FILE), named_parameters(model))
    ByteTokenizer().save(tmp_path / "tokenizer")
    if fits:
        load_model(str(tmp_path))
        return
    with pytest.raises(ModelError, match=r"has 261 ids, its model 513, .* they do not belong together"):
        load_model(str(tmp_path))


def test_a_folder(folder: Path) -> None:
    loaded = load_model(str(folder))
    assert (loaded.step, loaded.path, loaded.history, loaded.run_config) == (None, folder, ("base",), None)
    assert is_model(loaded.model, 0)
    with pytest.raises(ConfigError, match="is not a run, so it has no checkpoint @5; leave @5 out"):
        load_model(f"{folder}@5")


@pytest.mark.parametrize("changes", [{"attention_bias": True}, {"num_experts": 3, "moe_intermediate_size": 8}])
def test_a_folder_of_another_family(tmp_path: Path, changes: dict[str, Any]) -> None:
    loaded = load_model(str(write_folder(tmp_path / "model", **changes)))
    ids = token_ids(1, 9)
    assert max_difference(loaded.model(ids), tiny_model(vocab_size=BYTE_VOCAB, **changes)(ids)) == 0


def split_into_shards(folder: Path) -> dict[str, str]:
    weights = mx.load(str(folder / MODEL_FILE))
    assert isinstance(weights, dict)
    mx.eval(weights)
    (folder / MODEL_FILE).unlink()
    weight_map = {name: f"model-0000{1 + i % 3}-of-00003.safetensors" for i, name in enumerate(sorted(weights))}
    for file in set(weight_map.values()):
        mx.save_safetensors(str(folder / file), {n: weights[n] for n, f in weight_map.items() if f == file})
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return weight_map


def test_a_sharded_folder(folder: Path) -> None:
    whole = load_model(str(folder)).fingerprint
    split_into_shards(folder)
    loaded = load_model(str(folder))
    assert is_model(loaded.model, 0)
    assert len(loaded.weight_files) == 3
    assert loaded.fingerprint != whole
    assert loaded.fingerprint == load_model(str(folder)).fingerprint


def test_a_missing_or_foreign_shard(folder: Path) -> None:
    weight_map = split_into_shards(folder)
    (folder / "model-00002-of-00003.safetensors").rename(folder / "elsewhere")
    with pytest.raises(ModelError, match=r"lacks model-00002-of-00003.safetensors, one of the 3 files"):
        load_model(str(folder))
    for bad in ({}, {"a": "../other.safetensors"}, [1]):
        (folder / INDEX_FILE).write_text(json.dumps({"weight_map": bad}))
        with pytest.raises(ModelError, match="names no usable files"):
            load_model(str(folder))
    (folder / INDEX_FILE).unlink()
    with pytest.raises(ModelError, match=r"holds 2 .safetensors files but no model.safetensors.index.json"):
        load_model(str(folder))
    assert weight_map


def test_one_file_of_any_name_will_do(folder: Path) -> None:
    (folder / MODEL_FILE).rename(folder / "weights.safetensors")
    assert is_model(load_model(str(folder)).model, 0)


def header_of(file: Path) -> tuple[dict[str, Any], bytes]:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + size]), content[8 + size :]


def with_header(file: Path, header: dict[str, Any], data: bytes) -> None:
    encoded = json.dumps(header).encode()
    file.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)


def test_damaged_weights_end_in_a_sentence(folder: Path) -> None:
    file = folder / MODEL_FILE
    good = file.read_bytes()
    header, data = header_of(file)
    name = "model.norm.weight"

    def expect(message: str) -> None:
        with pytest.raises(ModelError, match=message) as caught:
            load_model(str(folder))
        assert "\n" not in str(caught.value)

    unusable = r"model.safetensors is not a usable safetensors file: .*download or copy it again"
    for content in (b"", b"abc", good[:-1], good[:5000], b"\xff" * 64, good + b"x"):
        file.write_bytes(content)
        expect(unusable)
    for changed in (
        {"shape": [-32], "dtype": "F32", "data_offsets": header[name]["data_offsets"]},
        {"shape": [33], "dtype": "F32", "data_offsets": header[name]["data_offsets"]},
        {"shape": [32], "dtype": "F99", "data_offsets": header[name]["data_offsets"]},
        {"shape": [32], "dtype": "F32", "data_offsets": [0, 10**12]},
    ):
        with_header(file, {**header, name: changed}, data)
        expect(unusable)
    with_header(file, header, data)
    assert is_model(load_model(str(folder)).model, 0)


def test_a_folder_without_weights_config_or_tokenizer(folder: Path) -> None:
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    with pytest.raises(ModelError, match=r"the tokenizer of the model .* cannot be used: .*exported/tokenizer"):
        load_model(str(folder))
    (folder / "tokenizer").rmdir()
    with pytest.raises(ModelError, match=r"the tokenizer of the model .* cannot be used: .*tokenizer_config.json"):
        load_model(str(folder))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(ModelError, match=r"tokenizer_config.json was not written by mlxllm"):
        load_model(str(folder))
    assert load_hf_folder(folder)[1].vocab_size == BYTE_VOCAB  # the model itself can be used
    (folder / MODEL_FILE).unlink()
    with pytest.raises(ModelError, match=r"holds no .safetensors file"):
        load_hf_folder(folder)
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"weights as a pickle, which can run any code"):
        load_hf_folder(folder)
    (folder / "config.json").write_text('{"architectures": ["BertModel"]}')
    with pytest.raises(ModelError, match=r"exported: config.json names the architecture 'BertModel'"):
        load_hf_folder(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(
        ModelError, match=r"^\S+config.json does not hold a JSON object; copy the config.json of the model"
    ):
        load_hf_folder(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is neither a run nor a model: it holds no config.json"):
        load_hf_folder(folder)


def test_our_tokenizer_may_lie_beside_the_weights(folder: Path) -> None:
    for file in (folder / "tokenizer").iterdir():
        file.rename(folder / file.name)
    (folder / "tokenizer").rmdir()
    assert load_model(str(folder)).tokenizer.kind == "byte"


def test_a_file_is_no_model(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"model.safetensors is a file.*give that folder"):
        load_model(str(folder / MODEL_FILE))


def test_gguf_is_written_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.gguf").write_bytes(b"GGUF")
    for name in (tmp_path / "out" / "model.gguf", tmp_path / "out"):
        with pytest.raises(
            ModelError,
            match=r"GGUF file.*, which mlxllm writes but does not read; give the model that it was made from: a run, or a f",
        ):
            load_model(str(name))


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a run nor a model"):
        load_model(str(tmp_path))
