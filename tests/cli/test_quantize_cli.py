"""`mlxllm quantize`: the whole command, and everything that takes a model on what it wrote."""

import json
import re
from pathlib import Path

import pytest

from mlxllm.model.loading import load_model
from mlxllm.model.quantized_models import is_quantized
from tests.cli.tuned import SETTINGS, SHORT, finetuning_files
from tests.training.tiny import call, dataset, json_lines, sentence, succeeded


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finetuning_files(tmp_path_factory.mktemp("files"))


def test_everything_works_on_what_it_writes(
    files: Path, mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    packed = tmp_path / "packed"
    told = succeeded(call("quantize", "--model", "base", "--out", packed, "--mode", "nvfp4", "--keep", "v_proj"))
    said = " ".join(told.stderr.split())
    assert "mlxllm" in told.stdout
    assert "passed" in told.stdout
    assert "packed as nvfp4 with 4 bits in groups of 16" in said
    assert "model.layers.0.self_attn.v_proj, model.layers.1.self_attn.v_proj stay plain, as you asked" in said
    assert "loss on the sample text: KL 0." in said
    assert f"try it: mlxllm sample --model {packed}" in said
    assert is_quantized(load_model(str(packed)).model)

    asked = ("--max-tokens", 8, "--temp", 0, "--json")
    [sampled] = json_lines(succeeded(call("sample", "--model", packed, "--prompt", "It is", *asked)).stdout)
    assert len(sampled["token_ids"]) == 8
    (mlxllm_home / "datasets").mkdir()
    dataset(mlxllm_home / "datasets" / "squares")
    [scored] = json_lines(succeeded(call("eval", "--model", packed, "--data", "squares", "--json")).stdout)
    assert scored["results"]["all"]["loss"] > 0
    lora = ("--lora-rank", 2, *SHORT, *SETTINGS, "--run", "tuned")
    succeeded(call("sft", "--model", packed, "--data", "talk.jsonl", *lora))
    tuned = load_model("tuned")
    assert tuned.history == ("base", "sft")
    assert is_quantized(tuned.model)
    # And what was tuned on packed weights is merged, and packed again.
    told = succeeded(
        call("quantize", "--model", "tuned", "--out", tmp_path / "again", "--bits", 8, "--no-verify", "--json")
    )
    [done] = json_lines(told.stdout)
    assert told.stderr == ""
    assert (done["mode"], done["bits"], done["group_size"], done["plain"]) == (
        "affine",
        8,
        64,
        [
            "model.layers.0.mlp.down_proj",
            "model.layers.1.mlp.down_proj",
        ],
    )
    assert done["bytes_after"] < done["bytes_before"] / 2
    assert 0 < done["loss"]["kl"] < 0.05
    assert json.loads((tmp_path / "again" / "config.json").read_text())["quantization"]["bits"] == 8
    assert load_model(str(tmp_path / "again")).history == ("base", "sft")


def test_few_bits_are_warned_of(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    ask = ("quantize", "--model", "base", "--no-verify", "--out")
    two = " ".join(succeeded(call(*ask, tmp_path / "two", "--bits", 2)).stderr.split())
    assert re.search(
        r"warning: only \d+\.\d% of the favourites stay with 2 bits, so it is hardly the same model; take", two
    )
    [five] = json_lines(succeeded(call(*ask, tmp_path / "five", "--bits", 5, "--json")).stdout)
    assert five["loss"]["top_equal"] > 0.5
    assert [note for note in five["notes"] if "favourites" in note] == []
    assert load_model(str(tmp_path / "five")).model.model.embed_tokens.packed.format.bits == 5
    left = succeeded(call("export", "--model", "base", "--quantize", "affine8", "--no-verify", "--out", tmp_path / "h"))
    plain = "note: model.layers.0.mlp.down_proj, model.layers.1.mlp.down_proj stay plain: their rows are no whole"
    assert plain in " ".join(left.stderr.split())


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "base", "--out", "base"), "--out base exists already; name a new folder"),
        (("--model", "base", "--out", "o", "--mode", "int4"), "--mode is 'int4'; known are affine, mxfp4, nvfp4"),
        (("--model", "base", "--out", "o", "--bits", 8, "--mode", "nvfp4"), "--bits is 8, and nvfp4 has 4"),
        (("--model", "base", "--out", "o", "--dtype", "int8"), "--dtype is 'int8'; it should be one of float32"),
        (("--model", "base", "--out", "o", "--keep", "nose"), "--keep nose fits no matrix of this model"),
        (("--model", "packed", "--out", "o"), "the weights of packed are quantised already"),
    ],
)
def test_what_cannot_be(flags: tuple[str, ...], said: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert said in sentence(call("quantize", *flags), 2)
    assert not (files / "o").exists()
