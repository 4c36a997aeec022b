"""The models that can be talked to, told from files alone."""

import os
from pathlib import Path

import pytest

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.runs import Recorder, run_of
from tests.tui.chatting import chatting, life, run_with_checkpoints
from tests.tui.harness import screen_text, wait_for, wait_for_text
from tui.engine_replies import LoadedInfo
from tui.screens.chat.opening import failure, opening
from tui.talking.models import (
    check_model,
    exported_models,
    first_model,
    life_of,
    model_rows,
    sample_prompt_of,
    sampling_of,
    stage_name,
    untuned,
)


def test_runs_with_their_checkpoints_the_newest_first(mlxllm_home: Path) -> None:
    life()
    run_with_checkpoints("fresh")
    rows = {row.address: row for row in model_rows()}
    assert next(row.address for row in model_rows()) == "fresh"
    assert (rows["tales-base"].steps, rows["tales-base"].kind) == ((10, 20), "continues text")
    assert rows["tales-base"].at(10) == "tales-base@10"
    assert rows["fresh"].steps == ()
    assert not rows["fresh"].trains


@pytest.mark.parametrize("name", ["tales-base", "tales-base@10", "tales-base@best", "runs/tales-base"])
def test_the_run_behind_a_name(name: str, mlxllm_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    life()
    monkeypatch.chdir(mlxllm_home)
    run = run_of(name)
    assert run is not None
    assert run.name == "tales-base"
    check_model(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "give a run"),
        ("tales-bas", "tales-base"),
        ("owner/model", "hf download owner/model`"),
        ("./nowhere", "there is no run './nowhere'"),
        ("./file", "is a file"),
    ],
)
def test_what_is_no_model_is_told(
    name: str, told: str, mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=told):
        check_model(name)
    check_model("./folder")


def test_the_model_to_open_with(mlxllm_home: Path) -> None:
    assert first_model("") == ""
    life()
    run_with_checkpoints("fresh")
    assert first_model("") == "tales-dpo", "the newest one that has a checkpoint"
    assert first_model("tales-sft@30") == "tales-sft@30"
    assert first_model("gone") == "tales-dpo"


def test_a_life_and_what_came_before(mlxllm_home: Path) -> None:
    life()
    assert [stage.address for stage in life_of("tales-sft")] == ["tales-base@20", "tales-sft@30", "tales-dpo"]
    assert (untuned("tales-dpo"), untuned("tales-sft@30"), untuned("tales-base")) == (
        "tales-sft@30",
        "tales-base@20",
        "",
    )
    assert [stage_name(name) for name in ("tales-base", "tales-sft", "tales-dpo@40", "./x")] == [
        "base",
        "SFT",
        "DPO",
        "",
    ]
    assert life_of("./folder") == []


def test_how_its_maker_wants_it_sampled(mlxllm_home: Path, tmp_path: Path) -> None:
    said = '{"do_sample": true, "temperature": 0.6, "top_k": 20, "eos_token_id": 2}'
    (tmp_path / "model").mkdir()
    (tmp_path / "model/generation_config.json").write_text(said)
    asked = SampleConfig(temperature=0.6, top_k=20)
    assert sampling_of(str(tmp_path / "model")) == asked
    run_with_checkpoints("tuned", 1, prompt="")
    (mlxllm_home / "runs/tuned/tokenizer").mkdir(exist_ok=True)
    (mlxllm_home / "runs/tuned/tokenizer/generation_config.json").write_text(said)
    assert sampling_of("tuned") == asked
    (tmp_path / "model/generation_config.json").write_text("{")
    assert sampling_of(str(tmp_path / "model")) == SampleConfig()


def test_how_its_run_sampled(mlxllm_home: Path) -> None:
    run_with_checkpoints("calm", 1, prompt="Once", sample={"temperature": 0.5, "max_tokens": 60, "seed": 3})
    run_with_checkpoints("wrong", 1, prompt="", sample={"temperature": -1})
    usual = SampleConfig()
    assert sampling_of("calm") == usual.model_copy(update={"temperature": 0.5})
    assert sampling_of("wrong") == sampling_of("./folder") == usual
    assert (sample_prompt_of("calm@1"), sample_prompt_of("wrong"), sample_prompt_of("./x")) == ("Once", "", "")


def test_a_run_that_trains_and_has_no_checkpoint_is_talked_to_on_the_monitor(mlxllm_home: Path) -> None:
    run = run_with_checkpoints("fresh")
    error = ModelError("run 'fresh' has no checkpoint yet")
    assert "Monitor" not in failure("fresh", error)
    with run.lock(), Recorder(run, step=0, max_steps=10, about={"method": "pretrain"}) as recorder:
        recorder.write("train", step=1, loss=3.0, tokens=64, tok_per_sec=100.0)
        recorder.update(now=True)
        told = failure("fresh", error)
        recorder.finish("finished")
    assert "no checkpoint yet. fresh trains just now: the Monitor (4)" in told
    assert "m chooses another model" in failure("nothing", UserError("no"))


def test_a_first_line_is_offered_only_where_one_is_listed() -> None:
    loaded = LoadedInfo("m", "m", None, "chat", "m", 1, ["base", "sft"], "f", 64, 1000, [], "")
    assert "1 and enter" in opening(loaded, ["Who is Tom?"])
    assert opening(loaded, []) == "Ask something. It knows no more than what it has read."


def test_what_was_exported_and_can_be_loaded_the_newest_first(mlxllm_home: Path) -> None:
    assert exported_models() == []
    files = {
        "whole": ("config.json", "model.safetensors"),
        "newer": ("config.json", "model-00001-of-00002.safetensors"),
        "adapter": ("adapter_config.json", "adapter_model.safetensors"),
        "gguf": ("model.gguf", "Modelfile"),
        ".partial": ("config.json", "model.safetensors"),
    }
    for number, (name, inside) in enumerate(files.items()):
        folder = mlxllm_home / "exports" / name
        folder.mkdir(parents=True)
        for file in inside:
            (folder / file).write_text("")
        os.utime(folder, (number, number))
    (mlxllm_home / "exports" / "model.gguf").write_text("")
    assert exported_models() == [mlxllm_home / "exports" / name for name in ("newer", "whole")]


async def test_what_was_exported_is_chosen_like_a_run(mlxllm_home: Path) -> None:
    life()
    folder = mlxllm_home / "exports" / "whole-affine4"
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    async with chatting() as (pilot, screen):
        await wait_for_text(pilot, "1 Who is Tom?")
        await pilot.press("escape", "m")
        await wait_for_text(pilot, "whole-affine4  exported")
        await pilot.press(*"affine")
        await wait_for(pilot, lambda: "tales-sft" not in screen_text(pilot.app))
        await pilot.press("ctrl+o")
        await wait_for_text(pilot, "put the cursor on a run first")
        await pilot.press("enter")
        await wait_for(pilot, lambda: screen.twin[:2] == ("chat", "--model") and screen.twin[2].startswith(str(folder)))
