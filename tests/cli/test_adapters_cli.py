"""Adapters as a user has them: trained, stacked by `--adapter`, fused, and refused where they do not belong."""

import re
import shutil
from pathlib import Path

import pytest

from mlxllm.estimate import count_parameters, count_trained
from mlxllm.model.adapters import adapters
from mlxllm.model.loading import load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.naming import read_run_config
from mlxllm.model.quantization import QuantizedLinear
from tests.cli.tuned import SHORT, finetuning_files
from tests.model.tiny import max_difference, token_ids
from tests.training import tiny
from tests.training.tiny import call, json_lines, sentence, succeeded


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and records, right and wrong, that no test changes."""
    return finetuning_files(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize(
    ("method", "flags"),
    [
        ("sft", ("--lora-rank", "4")),
        ("sft", ("--dora", "--lora-layers", "1")),
        ("dpo", ("--quantize", "affine4", "--lora-targets", "q_proj,up_proj")),
    ],
)
def test_what_is_trained_can_be_stacked_and_fused(
    method: str, flags: tuple[str, ...], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    records = {"sft": "talk.jsonl", "dpo": "pairs.jsonl"}[method]
    fast = ("--learning-rate", 0.05)
    succeeded(call(method, "--model", "base", "--data", records, *SHORT, *fast, *flags, "--run", "r"))
    ids, run, base = token_ids(2, 9), load_model("r"), load_model("base")
    assert run.history == ("base", method)
    assert max_difference(run.model(ids), base.model(ids)) > 0.01
    assert run.run_config is not None
    trained = sum(a.size for adapter in adapters(run.model).values() for a in (adapter.lora_a, adapter.lora_b))
    assert trained <= count_trained(run.run_config) <= trained + 2 * 96 * 7

    # The run's adapter on its base: the same, but for the rounding of a quantised base.
    for name in ("r", str(run.path)):
        stacked = load_model("base", adapter=name)
        assert stacked.history == ("base", method)
        quantised = any(isinstance(module, QuantizedLinear) for module in run.model.modules())
        assert max_difference(stacked.model(ids), run.model(ids)) < (1.0 if quantised else 1e-5)

    told = succeeded(call("fuse", "--model", "r", "--save-path", tmp_path / "merged", "--json"))
    [fused] = json_lines(told.stdout)
    assert told.stderr == ""
    assert fused["merged"] == len(adapters(run.model))
    assert fused["history"] == ["base", method]
    merged = load_model(str(tmp_path / "merged"))
    assert merged.history == ("base", method)
    assert not adapters(merged.model)
    assert sum(p.size for p in named_parameters(merged.model).values()) == fused["parameters"]
    assert max_difference(merged.model(ids), run.model(ids)) < 1e-4
    again = succeeded(call("fuse", "--model", "base", "--adapter", "r", "--save-path", tmp_path / "stacked"))
    assert again.stdout == ""
    assert "chat --model" in again.stderr.splitlines()[-1]
    told = "warning: the adapter r was trained on a base held in affine4, and here it is on plain weights"
    assert (told in again.stderr) == quantised
    assert max_difference(load_model(str(tmp_path / "stacked")).model(ids), stacked.model(ids)) < 1e-4


@pytest.mark.parametrize("form", ["peft", "mlx-adapter"])
def test_adapters_leave_alone(form: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    flags = ("--lora-rank", 4, "--set", "lora.rslora=true", "--learning-rate", 0.05, "--run", "r")
    succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, *flags))
    told = succeeded(call("export", "--model", "r", "--format", form, "--out", tmp_path / "adapter", "--json"))
    assert json_lines(told.stdout)[0]["format"] == form
    ids, run = token_ids(2, 9), load_model("r")
    stacked = load_model("base", adapter=str(tmp_path / "adapter"))
    assert max_difference(stacked.model(ids), run.model(ids)) < 1e-5
    assert str(files) not in (tmp_path / "adapter" / "adapter_config.json").read_text(), "nothing about this machine"
    # A stacked one leaves in the same way.
    ask = ("export", "--model", "base", "--format", form, "--out")
    again = succeeded(call(*ask, tmp_path / "again", "--adapter", tmp_path / "adapter"))
    assert "every number was read back; it belongs on its base" in " ".join(again.stderr.split())
    assert "base has no adapters to write: its weights are plain" in sentence(call(*ask, tmp_path / "no"), 2)
    assert "--readers is about whole models" in sentence(call(*ask, tmp_path / "no", "--readers", "mlxllm"), 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["adapter", "again"]


def test_what_has_to_be_known_about_the_base_is_said(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the commands that are said work."""
    monkeypatch.chdir(files)
    data = ("--data", "talk.jsonl", *SHORT, "--lora-rank", 2, "--lora-targets", "q_proj")
    succeeded(call("sft", "--model", "base", *data, "--quantize", "affine4", "--run", "below"))
    succeeded(call("sft", "--model", "base", "--adapter", "below", *data, "--run", "above"))
    ask = ("--prompt", "It is", "--max-tokens", 1)

    told = succeeded(call("export", "--model", "below", "--format", "peft", "--out", tmp_path / "peft")).stderr
    said = " ".join(told.split())
    rounding = f"it was trained on a base held in affine4; on plain weights of {files / 'base'} it is the same but for"
    assert f"note: {rounding}" in said
    assert f"chat --model {files / 'base'} --adapter {tmp_path / 'peft'}" in said
    succeeded(call("sample", "--model", files / "base", "--adapter", tmp_path / "peft", *ask))
    told = succeeded(call("export", "--model", "below", "--format", "mlx-adapter", "--out", tmp_path / "j", "--json"))
    note, where = json_lines(told.stdout)[0]["notes"]
    assert f"its base is the folder {files / 'base'}" in where
    assert note.startswith(rounding)
    assert told.stderr == ""

    told = succeeded(call("export", "--model", "above", "--format", "mlx-adapter", "--out", tmp_path / "two", "--json"))
    [note] = json_lines(told.stdout)[0]["notes"]
    assert f"it belongs on {files / 'base'} with the adapter below@2 merged into it" in note
    found = re.search("`mlxllm (.*) DIR`", note)
    assert found is not None
    succeeded(call(*found[1].split(), tmp_path / "first"))
    used = succeeded(call("sample", "--model", tmp_path / "first", "--adapter", tmp_path / "two", *ask))
    assert "warning: the adapter" in used.stderr
    assert "belongs on base with the adapter below@2 merged into it, and nothing here shows whether" in used.stderr
    merged = load_model(str(tmp_path / "first"), adapter=str(tmp_path / "two"))
    assert max_difference(merged.model(token_ids(2, 9)), load_model("above").model(token_ids(2, 9))) < 1e-4
    told = succeeded(call("export", "--model", "above", "--format", "peft", "--out", tmp_path / "three"))
    assert f"chat --model DIR --adapter {tmp_path / 'three'}" in " ".join(told.stderr.split())


def test_an_adapter_on_a_model_that_came_quantised(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    flags = ("--lora-rank", 2, "--learning-rate", 0.05)
    succeeded(call("sft", "--model", "packed", "--data", "talk.jsonl", *SHORT, *flags, "--run", "r"))
    ids, run, base = token_ids(2, 9), load_model("r"), load_model("packed")
    assert max_difference(run.model(ids), base.model(ids)) > 0.01
    succeeded(call("fuse", "--model", "r", "--save-path", tmp_path / "merged"))
    assert max_difference(load_model(str(tmp_path / "merged")).model(ids), run.model(ids)) < 1e-4


def test_a_run_that_adapters_sit_on_is_neither_renamed_nor_deleted_unasked(
    files: Path, mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    data = ("--data", "talk.jsonl", *SHORT)
    succeeded(call("sft", "--model", "base", *data, "--run", "below"))
    succeeded(call("runs", "rename", "below", "under"))
    succeeded(call("sft", "--model", "under", *data, "--lora-rank", 2, "--run", "above"))
    succeeded(call("sft", "--model", "under", *data, "--run", "whole"))
    said = sentence(call("runs", "rename", "under", "below"), 1)
    assert re.search(
        r"the adapters of run above sit on run 'under' .* `mlxllm fuse --model above --save-path DIR`", said
    )
    said = sentence(call("runs", "rm", "under"), 2)
    assert re.search(
        r"would delete run 'under' .*, without which run above cannot be used: nobody is there to ask", said
    )
    succeeded(call("runs", "rm", "above", "--yes"))
    assert "without which" not in sentence(call("runs", "rm", "under"), 2)
    succeeded(call("runs", "rename", "under", "below"))
    assert sorted(path.name for path in (mlxllm_home / "runs").iterdir()) == ["below", "whole"]


def test_how_much_is_trained_and_that_adapters_are_merged_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    first = succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--lora-rank", 2, "--run", "r"))
    run = load_model("r")
    assert run.run_config is not None
    trained, whole = count_trained(run.run_config), count_parameters(run.config)
    part = f"trains {trained:,} of {whole:,}"
    assert f"run r begins: {part} parameters, 2 steps" in " ".join(first.stderr.split())
    assert "are merged" not in first.stderr
    shown = succeeded(call("runs", "show", "r"))
    assert re.search(rf"parameters +{part}\n", shown.stdout)
    again = succeeded(call("dpo", "--model", "r", "--data", "pairs.jsonl", *SHORT, "--run", "s"))
    said = " ".join(again.stderr.split())
    assert f"the adapters of r are merged and all {whole:,} weights are trained; --lora-rank 2 trains an" in said
    assert f"run s begins: {whole:,} parameters" in said


def test_a_damaged_checkpoint_is_passed_over_aloud(
    files: Path, mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    data = ("--data", "talk.jsonl", *SHORT)
    succeeded(call("sft", "--model", "base", *data, "--lora-rank", 2, "--run", "r"))
    checkpoint = load_model("r").path
    weights = bytearray((checkpoint / "adapters.safetensors").read_bytes())
    weights[-5] ^= 1
    (checkpoint / "adapters.safetensors").write_bytes(weights)
    told = r"warning: the adapter of step 0 is used: \S+adapters.safetensors is damaged"
    for more in (("--dry-run",), ("--lora-rank", 2, "--run", "s")):
        assert re.search(told, succeeded(call("sft", "--model", "base", "--adapter", "r", *data, *more)).stderr)
    said = succeeded(call("sample", "--model", "base", "--adapter", "r", "--prompt", "a", "--max-tokens", 1))
    assert re.search(told, said.stderr)
    (checkpoint / "trainable.safetensors").write_bytes(b"")
    again = succeeded(call("sft", "--model", "r", *data, "--run", "t"))
    assert "warning: the checkpoint of step 0 is used: " in again.stderr


def test_fuse_refuses(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    said = sentence(call("fuse", "--model", "base", "--save-path", tmp_path / "new"), 2)
    assert "base has no adapters, so there is nothing to merge" in said
    said = sentence(call("fuse", "--model", "nowhere", "--save-path", tmp_path), 2)
    assert re.search(r"--save-path \S+ exists already; name a new folder", said)
    said = sentence(call("fuse", "--model", "base", "--adapter", "nowhere", "--save-path", tmp_path / "new"), 2)
    assert "there is no adapter 'nowhere'" in said
    assert not (tmp_path / "new").exists()


def test_adapters_that_do_not_belong_to_a_model(
    files: Path, mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--lora-rank", 2, "--run", "r"))
    succeeded(call("sft", "--model", "base", "--data", "talk.jsonl", *SHORT, "--run", "full"))
    say = ("--prompt", "Once", "--max-tokens", 2, "--temp", 0)

    def refused(code: int, message: str, model: str, adapter: object) -> None:
        more = {"sample": say, "chat": (), "sft": ("--data", "talk.jsonl"), "dpo": ("--data", "pairs.jsonl")}
        for command, options in more.items():
            assert re.search(message, sentence(call(command, "--model", model, "--adapter", adapter, *options), code))

    stacked = succeeded(call("sample", "--model", "base", "--adapter", "r", *say, "--json"))
    alone = succeeded(call("sample", "--model", "r", *say, "--json"))
    assert json_lines(stacked.stdout)[0]["token_ids"] == json_lines(alone.stdout)[0]["token_ids"]
    data = tiny.dataset(tmp_path / "squares")
    scores = [
        json_lines(succeeded(call("eval", *model, "--data", data, "--max-seq-len", 32, "--json")).stdout)[0]["results"]
        for model in (("--model", "base", "--adapter", "r"), ("--model", "r"), ("--model", "base"))
    ]
    assert scores[0]["all"]["loss"] == pytest.approx(scores[1]["all"]["loss"], abs=1e-6)
    assert scores[0]["all"]["loss"] != pytest.approx(scores[2]["all"]["loss"], abs=1e-6)
    refused(1, r"was trained on \S+base with weights \w{12}, and these are \w{12}; give the model", "full", "r")
    refused(1, r"was trained on \S+base with weights", "odd", "r")
    refused(2, r"run 'full' trained all weights, not an adapter; use it as --model full", "base", "full")
    refused(1, r"run 'r' has no checkpoint of step 9; there are the steps", "base", "r@9")
    refused(2, r"there is no adapter 'nowhere'; give a folder with adapters.safetensors", "base", "nowhere")
    refused(1, r"talk.jsonl is a file; an adapter is a folder with", "base", "./talk.jsonl")
    refused(1, r"odd holds no adapter: neither adapters.safetensors", "base", "./odd")

    # Another on top of it knows of both.
    both = ("--model", "base", "--adapter", "r", "--data", "pairs.jsonl", *SHORT)
    succeeded(call("dpo", *both, "--lora-rank", 2, "--run", "second"))
    assert load_model("second").history == ("base", "sft", "dpo")
    refused(
        1, r"was trained on \S+base and the adapter r@2 with .* stack on each other: take the run", "base", "second"
    )

    checkpoint = load_model("r").path
    for name, damage, message in (
        (
            "json",
            lambda folder: (folder / "adapter_config.json").write_text("{"),
            r"adapter_config.json.* is not .*JSON",
        ),
        ("other", lambda folder: (folder / "adapter_config.json").unlink(), r"adapter_config.json"),
    ):
        copy = tmp_path / name
        shutil.copytree(checkpoint, copy)
        (copy / "manifest.json").unlink()
        damage(copy)
        refused(1, message, "base", copy)
    copy = tmp_path / "copy"
    shutil.copytree(checkpoint, copy)
    weights = bytearray((copy / "adapters.safetensors").read_bytes())
    weights[-5] ^= 1
    (copy / "adapters.safetensors").write_bytes(weights)
    refused(1, r"copy cannot be used: .*adapters.safetensors is damaged: .*; take another checkpoint", "base", copy)
    assert read_run_config(mlxllm_home / "runs" / "r").lora is not None
