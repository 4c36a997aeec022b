"""What can be done to runs in their table, with our own commands as children."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest
from textual.widgets import Input

from mlxllm import paths
from mlxllm.runs import Recorder, RunDirectory
from tests.training.tiny import call, dataset, succeeded
from tests.tui.harness import crashed_run, new_app, screen_text, wait_for, wait_for_text
from tests.tui.table_of_runs import (
    SIZE,
    Asked,
    look_often,
    open_runs,
    order,
    plain_run,
    three_runs,
    wait_for_question,
    wait_for_toast,
)
from tui import commands
from tui.screens.runs.evaluating import EvaluateDialog, in_words, scores_of
from tui.screens.runs.exporting import PACKED, ExportDialog, outcome
from tui.screens.runs.screen import RunsScreen
from tui.widgets.rows import Rows


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    look_often(monkeypatch)


# Changing.


async def test_rename() -> None:
    three_runs()
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 3)
        await pilot.press("down", "b", "space", "R")
        await wait_for_question(pilot, "What should middle be called?")
        entry = app.screen.query_one(Input)
        for name, said in (("new", "already; choose another name"), ("a b", "is not usable")):
            entry.value = name
            await pilot.press("enter")
            await wait_for_question(pilot, said)
        entry.value = "kept"
        await pilot.press("enter")
        await wait_for_text(pilot, "> ●◆ kept")
        assert (paths.folder("runs") / "kept").is_dir()
        assert (screen.baseline, screen.marked) == ("kept", ["kept"])


async def test_delete_asks_and_says_what_goes() -> None:
    three_runs()
    plain_run("adapter", 4000, lora={"rank": 2}, base_model="old@8")
    (paths.folder("runs") / "old/checkpoints/step-00000008/model.safetensors").write_bytes(bytes(2_500_000))
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 4)
        await pilot.press("end", "D")
        await wait_for_question(pilot, "Delete old with all checkpoints, 2.5 MB?")
        await wait_for_text(pilot, "adapter")
        await wait_for_text(pilot, "$ mlxllm runs rm old --yes")
        await pilot.press("n")
        await wait_for(pilot, lambda: isinstance(app.screen, RunsScreen))
        assert (paths.folder("runs") / "old").exists()
        await pilot.press("space", "up", "space", "D")
        await wait_for_question(pilot, "Delete 2 runs (old and middle)")
        await pilot.press("y")
        await wait_for(pilot, lambda: order(pilot) == ["adapter", "new"])
        assert sorted(path.name for path in paths.folder("runs").iterdir()) == ["adapter", "new"]


async def test_an_active_run_is_neither_deleted_nor_renamed_nor_resumed(monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunDirectory.create(paths.folder("runs") / "live")
    run.config.write_text("{}")
    app = new_app()
    asked = Asked(app, monkeypatch)
    with run.lock(), Recorder(run, step=0, max_steps=9, about={"method": "pretrain"}) as recorder:
        recorder.write("train", 1, loss=3.0)
        async with app.run_test(size=SIZE, notifications=True) as pilot:
            await open_runs(pilot, 1)
            for key, said in (
                ("D", "live is training; stop it in the Monitor first"),
                ("R", "so it cannot be renamed"),
                ("r", "live is running already; enter watches it"),
                ("c", "live is training: watch it with enter"),
            ):
                await pilot.press(key)
                await wait_for_toast(pilot, said)
            assert run.exists
            recorder.write("paused", 1)
            await wait_for_text(pilot, "‖ paused")
            await pilot.press("r")
            await wait_for(pilot, lambda: [r.name for r in recorder.inbox.poll()] == ["resume"])
            await wait_for_toast(pilot, "live goes on")  # the command has ended
    assert asked.calls == []


async def test_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_run("done", 1000)
    crashed_run("broken")
    app = new_app()
    asked = Asked(app, monkeypatch)
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 2)
        await pilot.press("r")
        await wait_for_question(pilot, "broken: crashed at step 1 of 10. Go on from its last checkpoint?")
        await pilot.press("y")
        await wait_for(pilot, lambda: len(asked.calls) == 2)
        assert asked.calls == [("launch", "broken", ("resume", "broken")), ("monitor", "broken")]
        await pilot.press("down", "r")
        await wait_for_question(pilot, "done finished at step 8. How much further should it train?")
        entry = app.screen.query_one(Input)
        for typed, told in (("8", "8 of what? Write 8 min, or 8 steps"), ("step 8", "step 8 is done already")):
            entry.value = typed
            await pilot.press("enter")
            await wait_for_question(pilot, told)
        entry.value = "5 min"
        await pilot.press("enter")
        await wait_for(pilot, lambda: len(asked.calls) == 4)
        assert asked.calls[2] == ("launch", "done", ("resume", "done", "--minutes", "5"))


# Models.


async def test_what_needs_a_model_says_where_there_is_none() -> None:
    plain_run("bare", 1000, checkpoint=False)
    plain_run("adapter", 2000, checkpoint=False, lora={"rank": 2})
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        await open_runs(pilot, 2)
        for key, said in (
            ("c", "adapter has no checkpoint, so there is no model"),
            ("e", "adapter has no checkpoint yet, so there is nothing to evaluate"),
            ("E", "adapter has no checkpoint yet, so there is nothing to export"),
        ):
            await pilot.press(key)
            await wait_for_toast(pilot, said)
        await pilot.press("down", "E")
        await wait_for_toast(pilot, "bare has no checkpoint yet, so there is nothing to export")
        plain_run("whole", 3000)
        await wait_for(pilot, lambda: len(order(pilot)) == 3)
        await pilot.press("home", "e")
        await wait_for_question(pilot, "No dataset is here yet; 2 makes one.")
        assert app.screen.focused is app.screen.query_one("#tasks"), "questions can be asked all the same"


async def test_the_export_dialog(mlxllm_home: Path) -> None:
    plain_run("whole", 1000)
    plain_run("adapter", 2000, lora={"rank": 2})
    exports = mlxllm_home / "exports"
    (exports / "adapter").mkdir(parents=True)
    app = new_app()
    started: list[tuple[str, ...]] = []
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 2)
        app.run_job = lambda args, *_: started.append(tuple(args))  # type: ignore[method-assign, assignment, return-value]
        await pilot.press("E")
        await wait_for(pilot, lambda: isinstance(app.screen, ExportDialog))
        entry = app.screen.query_one(Input)
        await wait_for(pilot, lambda: entry.value == str(exports / "adapter-2"))  # the first is taken
        await wait_for_text(pilot, "[hf] gguf  peft  mlx-adapter")
        for name in ("gguf", "peft", "mlx-adapter"):
            await pilot.press("right")
            await wait_for(pilot, lambda name=name: entry.value == str(exports / f"adapter-{name}"))
            await wait_for_text(pilot, f"[{name}]")
        await wait_for_text(pilot, "The adapters alone, as mlx-lm loads them on their base.")
        entry.value = "./mine"
        await pilot.press("left")
        await wait_for_text(pilot, "--out ./mine --format peft")
        for typed, told in (("", "give the name of a folder"), (str(exports / "adapter"), "exists already")):
            entry.value = typed
            await pilot.pause(0.1)  # a change of the field takes the last complaint away
            await pilot.press("enter")
            await wait_for_question(pilot, told)
        entry.value = "./mine"
        await pilot.press("enter")
        args = ("export", "--model", "adapter", "--out", "./mine", "--format", "peft")
        await wait_for(pilot, lambda: started == [(*args, "--json")])
        assert screen.twin == args
        # All weights were trained: no adapters to take out.
        await pilot.press("down", "E")
        await wait_for(pilot, lambda: isinstance(app.screen, ExportDialog))
        await wait_for_text(pilot, "[hf] gguf")
        assert "peft" not in screen_text(app)
        await pilot.press("escape")
        await wait_for(pilot, lambda: app.screen is screen)
    assert len(started) == 1


async def test_an_export_is_packed_and_taken_to_ollama(mlxllm_home: Path) -> None:
    plain_run("whole", 1000)
    exports = mlxllm_home / "exports"
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 1)
        started: list[tuple[str, ...]] = []
        app.run_job = lambda args, *_: started.append(tuple(args))  # type: ignore[method-assign, assignment, return-value]
        await pilot.press("E")
        await wait_for_text(pilot, "[plain] affine4  affine8  mxfp4  nvfp4")
        assert "Ollama" not in screen_text(app)
        await pilot.press("tab", "right")
        await wait_for_text(pilot, "4 bits a weight, in groups of 64")
        entry = app.screen.query_one(Input)
        await wait_for(pilot, lambda: entry.value == str(exports / "whole-affine4"))
        await pilot.press("shift+tab", "right")
        await wait_for_text(pilot, "[f16] q8_0  q5_1")
        await pilot.press("tab", "right", "tab", "right")
        await wait_for_text(pilot, "[Modelfile]")
        await wait_for(pilot, lambda: entry.value == str(exports / "whole-gguf-q8_0"))
        entry.value = "./it"
        await wait_for_text(pilot, "--out ./it --format gguf --quantize q8_0")
        assert "--modelfile" in screen_text(app)
        await pilot.press("enter")
        how = ("--format", "gguf", "--quantize", "q8_0", "--modelfile")
        args = ("export", "--model", "whole", "--out", "./it", *how)
        await wait_for(pilot, lambda: started == [(*args, "--json")])
        assert screen.twin == args


def test_the_dialog_offers_what_the_command_takes() -> None:
    from mlxllm.export.formats import FORMATS

    for name, kinds in PACKED.items():
        assert tuple(kinds)[1:] == FORMATS[name].quantizations
    assert not [name for name, form in FORMATS.items() if form.quantizations and name not in PACKED]
    told = outcome("/x/it", {"rows": [{"reader": "gguf", "status": "passed"}]}, "my run")
    assert told.endswith("by gguf; ollama create 'my run' -f /x/it/Modelfile takes it from there")


def test_what_is_said_of_an_export() -> None:
    """Who has looked at it, and what the command noted."""
    rows = [{"reader": "gguf", "status": "passed"}, {"reader": "llama.cpp", "status": "not installed"}]
    said = {"rows": rows, "notes": ["the matrix that makes the logits is q8_0", "and more"]}
    told = "to out, read back unchanged by gguf; the matrix that makes the logits is q8_0; and more"
    assert (outcome("out", said), outcome("out", {"passed": None}), outcome("out", None)) == (told, "to out", "to out")


@pytest.mark.slow
async def test_evaluate_and_export_a_real_run(mlxllm_home: Path, tmp_path: Path) -> None:
    (mlxllm_home / "datasets").mkdir()
    dataset(mlxllm_home / "datasets" / "squares")
    tiny = ("--set", "model.hidden_size=32", "--set", "model.num_hidden_layers=1", "--max-steps", 1)
    quick = ("--set", "train.eval_every=0", "--set", "train.sample_every=0")
    succeeded(call("train", "--preset", "char-tiny", "--data", "squares", "--run", "base", *tiny, *quick))
    talk = tmp_path / "talk.jsonl"
    talk.write_text('{"prompt": "What is 2 squared?", "completion": "It is 4."}\n')
    lora = ("--lora-rank", 2, "--max-steps", 1, *quick)
    succeeded(call("sft", "--model", "base", "--data", talk, "--run", "adapter", *lora))
    app = new_app()
    async with app.run_test(size=(120, 24), notifications=True) as pilot:
        screen = await open_runs(pilot, 2)
        await pilot.press("E")
        await wait_for_text(pilot, "adapters are merged into the weights.")
        folder = mlxllm_home / "exports" / "adapter"
        await wait_for(pilot, lambda: app.screen.query_one(Input).value == str(folder))
        await pilot.press("enter")
        await wait_for_text(pilot, "exporting")
        assert screen.twin == ("export", "--model", "adapter", "--out", str(folder), "--format", "hf")
        await pilot.press("e")
        await wait_for_question(pilot, "A dataset, whose held-out text is scored: squares.")
        assert app.screen.query_one(Input).value == "squares", "that of the run that it came from"
        app.screen.query_one(Input).value = "nothing"
        await pilot.pause(0.1)  # a change of the field takes the last complaint away
        await pilot.press("enter")
        await wait_for_question(pilot, "there is no dataset 'nothing'")
        app.screen.query_one(Input).value = "squares"
        await pilot.pause(0.1)  # a change of the field takes the last complaint away
        await pilot.press("enter")
        await wait_for_text(pilot, "evaluating")
        await wait_for(pilot, lambda: "adapter" in screen.scores)
        await wait_for_text(pilot, "evaluated on squares at step 1: loss")
        async with asyncio.timeout(120):  # every library that is installed reads it back
            while screen.exports:
                await pilot.pause(0.1)
        assert (folder / "model.safetensors").exists()
        await wait_for_toast(pilot, f"adapter is exported: to {folder}, read back unchanged by mlxllm")
        await wait_for_text(pilot, "exported to ")
        screen.set_focus(screen.query_one(Rows))
        screen.twin = commands.export("adapter", str(folder), "hf")
        await pilot.press("y")
        await wait_for_toast(pilot, "copied: mlxllm export --model adapter --out")
        await pilot.press("down")
        await wait_for(pilot, lambda: "evaluated on" not in screen_text(app))
        await pilot.press("up")
        await wait_for_text(pilot, "evaluated on squares")


async def test_the_evaluate_dialog(mlxllm_home: Path, tmp_path: Path) -> None:
    plain_run("whole", 1000)
    (mlxllm_home / "datasets").mkdir()
    dataset(mlxllm_home / "datasets" / "squares")
    app = new_app()
    started: list[tuple[str, ...]] = []
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 1)
        app.run_job = lambda args, *_: started.append(tuple(args))  # type: ignore[method-assign, assignment, return-value]
        await pilot.press("e")
        await wait_for(pilot, lambda: isinstance(app.screen, EvaluateDialog))
        data, tasks, limit = (app.screen.query_one(f"#{name}", Input) for name in ("data", "tasks", "limit"))
        data.value = ""
        for typed, most, told in (
            ("", "", "name a dataset, or questions, or both"),
            ("arc_easy,,piqa", "", "between two commas is empty"),
            (f"{tmp_path}/none.jsonl", "", "there is no "),
            ("arc_easy", "0", "'0' is no number of items"),
        ):
            tasks.value, limit.value = typed, most
            await pilot.pause(0.1)  # a change of the field takes the last complaint away
            await pilot.press("enter")
            await wait_for_question(pilot, told)
        limit.value = "20"
        await wait_for_text(pilot, "$ mlxllm eval --model whole --tasks arc_easy --limit 20 --json")
        await pilot.press("enter")
        args = ("eval", "--model", "whole", "--tasks", "arc_easy", "--limit", "20", "--json")
        await wait_for(pilot, lambda: started == [args])
        assert screen.twin == args


def test_what_is_said_of_scores() -> None:
    """Of a dataset all of its text counts; tasks have their metrics, each with its standard error."""
    text = {"loss": 1.0, "perplexity": 2.718, "bits_per_byte": None, "windows": 3}
    task = {"acc": 0.45, "acc_stderr": 0.1141, "alias": None, "samples": 1200, "step": 60}
    found = scores_of({"all": text, "web": {**text, "loss": 9.0}, "piqa": task}, "mine")
    assert {name: in_words(score) for name, score in found.items()} == {
        "mine": "loss 1, perplexity 2.718",
        "piqa": "acc 0.45 ± 0.11 (1,200 items)",
    }


async def test_the_report_of_a_run_is_written_and_found(mlxllm_home: Path) -> None:
    run = plain_run("whole", 1000)
    app = new_app()
    async with app.run_test(size=(120, 24), notifications=True) as pilot:
        screen = await open_runs(pilot, 1)
        await pilot.press("w")
        assert screen.twin == ("report", "whole")
        async with asyncio.timeout(60):
            while not screen.pages:
                await pilot.pause(0.1)
        page = run.path / "report" / "report.html"
        assert "whole" in page.read_text()
        await wait_for_toast(pilot, f"the report of whole is written: open {page} in a browser")
        await wait_for_text(pilot, "report ")
        shutil.rmtree(page.parent)
        page.parent.write_text("a file where the folder should be")
        await pilot.press("w")
        await wait_for_toast(pilot, "✗ no report of whole could be written: ")
        assert screen.reports == {}


async def test_an_evaluation_that_fails_or_is_stopped(
    mlxllm_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_run("hollow", 1000)  # its checkpoint is no checkpoint
    (mlxllm_home / "datasets").mkdir()
    dataset(mlxllm_home / "datasets" / "squares")
    app = new_app()
    async with app.run_test(size=SIZE, notifications=True) as pilot:
        screen = await open_runs(pilot, 1)
        await pilot.press("e")
        await wait_for_question(pilot, "held-out text is scored: squares.")
        await pilot.press("enter")
        await wait_for_toast(pilot, "✗ hollow could not be evaluated")
        assert screen.evaluations == {}
        # The next one would fail as quickly, and could not be stopped: it does not get beyond the start of Python.
        (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(600)")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
        await pilot.press("e")
        await wait_for_question(pilot, "held-out text is scored: squares.")
        await pilot.press("enter")
        await wait_for(pilot, lambda: "hollow" in screen.evaluations)
        await pilot.press("e")
        await wait_for_question(pilot, "hollow is being evaluated. Stop that?")
        job = screen.evaluations["hollow"]
        await pilot.press("y")
        await wait_for(pilot, lambda: job.returncode is not None)
        assert screen.scores == {}
