"""Checkpoints: damaged ones are passed over, the best and the newest are kept, a model's weights are a beginning."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import DataError
from mlxllm.model.checkpoint_files import (
    best_path,
    checkpoint_path,
    find_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)
from mlxllm.runs import RunDirectory, read_state
from mlxllm.training.checkpoint import load_checkpoint, save_checkpoint
from tests.training import tiny
from tests.training.tiny import recipe

# Damage


def damage(path: Path, how: str) -> None:
    raw = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(raw[: len(raw) // 2])
    elif how == "flipped":
        raw[len(raw) * 3 // 4] ^= 1
        path.write_bytes(raw)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("model.safetensors", "truncated"),
        ("model.safetensors", "flipped"),
        ("optimizer.safetensors", "flipped"),
        ("trainer.json", "missing"),
        ("manifest.json", "truncated"),
        ("manifest.json", "missing"),
    ],
)
def test_a_damaged_newest_checkpoint_is_passed_over(data: Path, tmp_path: Path, name: str, how: str) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    settings = recipe(data, "adamw", checkpoint_every=4)
    tiny.train(whole, settings)
    tiny.train(run, settings, tiny.Listener(tiny.saved_at(8)))
    damage(checkpoint_path(run, 8) / name, how)
    listener = tiny.Listener()
    tiny.go_on(run, listener)
    assert listener.of("train")[0]["step"] == 5
    for step in (4, 8, 12):
        tiny.assert_same_checkpoint(whole, run, step)


def test_without_a_whole_checkpoint_a_run_begins_again(data: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    tiny.train(whole, recipe(data, "adamw"))
    tiny.train(run, recipe(data, "adamw"))
    for checkpoint in list_checkpoints(run):
        damage(checkpoint.path / "model.safetensors", "flipped")
    tiny.go_on(run)
    tiny.assert_same_checkpoint(whole, run, 12)


def test_damaged_checkpoints_never_push_out_whole_ones(data: Path, tmp_path: Path) -> None:
    """What is kept is counted among the checkpoints up to now, not among damaged ones of later steps."""
    run = tmp_path / "run"
    settings = recipe(data, "adamw", checkpoint_every=2)
    tiny.train(run, settings.with_values(train={"keep_checkpoints": 6}), tiny.Listener(tiny.saved_at(10)))
    raw = json.loads((run / "config.json").read_text())
    raw["train"].update(keep_checkpoints=2, checkpoint_every=3)
    (run / "config.json").write_text(json.dumps(raw))
    for step in (6, 8, 10):
        damage(checkpoint_path(run, step) / "model.safetensors", "flipped")
    tiny.go_on(run, tiny.Listener(lambda e: e["kind"] == "run_started"))  # stopped at once, which saves
    assert find_checkpoint(run, "last").step == 4
    tiny.go_on(run, tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 5))
    assert find_checkpoint(run, "last").step in (5, 6, 7)


def test_half_written_checkpoints_are_cleared_away(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.train(run, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(6)))
    partial = run / "checkpoints" / ".step-00000009.partial"
    partial.mkdir()
    (partial / "model.safetensors").write_bytes(b"half")
    assert [c.step for c in list_checkpoints(run)] == [6]
    tiny.go_on(run)
    assert not partial.exists()


# What is kept


def test_best_and_newest_checkpoints_are_kept(data: Path, tmp_path: Path) -> None:
    """A rate that ruins the model after a while, so that the best one is not among the newest."""
    run = tmp_path / "run"
    settings = recipe(
        data, "lion", max_steps=20, checkpoint_every=2, eval_every=2, keep_checkpoints=2, learning_rate=1.0,
        schedule="constant", warmup_steps=10, max_grad_norm=0,
    )  # fmt: skip
    listener = tiny.Listener()
    tiny.train(run, settings, listener)
    losses = {e["step"]: e["loss"] for e in listener.of("val")}
    best = min(losses, key=losses.__getitem__)
    assert 0 < best < 18, losses
    assert [c.step for c in list_checkpoints(run)] == [best, 18, 20]
    assert find_checkpoint(run, "best").step == best
    assert json.loads(best_path(run).read_text())["val_loss"] == losses[best]
    assert [e["step"] for e in listener.of("checkpoint_saved") if e["best"]][-1] == best


def test_a_kill_between_checkpoint_and_best_mark_loses_no_best(data: Path, tmp_path: Path) -> None:
    settings = recipe(data, "adamw", eval_every=3, checkpoint_every=3)
    run = tmp_path / "run"
    tiny.train(run, settings, tiny.Listener(tiny.saved_at(6)))
    assert find_checkpoint(run, "best").step == 6
    best_path(run).write_text(json.dumps({"step": 3, "val_loss": 5.0}))  # the kill came before this was replaced
    tiny.go_on(run, tiny.Listener(lambda e: e["kind"] == "run_started"))
    assert find_checkpoint(run, "best").step == 6


def test_saving_twice_leaves_the_first(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.train(run, recipe(data, "adamw"))
    state, progress = load_checkpoint(checkpoint_path(run, 12))
    before = {p: p.stat().st_mtime_ns for p in checkpoint_path(run, 12).iterdir()}
    save_checkpoint(run, state, progress)
    assert {p: p.stat().st_mtime_ns for p in checkpoint_path(run, 12).iterdir()} == before
    damage(checkpoint_path(run, 12) / "model.safetensors", "flipped")
    save_checkpoint(run, state, progress)
    assert verify_checkpoint(checkpoint_path(run, 12)) is None


# Beginning with another model


def test_training_from_a_run_begins_with_its_weights(data: Path, tmp_path: Path) -> None:
    tiny.train(tmp_path / "first", recipe(data, "muon"))
    listener = tiny.Listener(lambda e: e["kind"] == "run_started")
    settings = recipe(data, "adamw", seed=9)
    tiny.train(tmp_path / "second", settings, listener, model_name=str(tmp_path / "first"))
    tiny.assert_same_checkpoint_of(tmp_path / "first", 12, tmp_path / "second", 0)
    state = read_state(RunDirectory(tmp_path / "second"))
    assert state is not None
    assert state.about["model"] == f"{tmp_path / 'first'}@12"


def test_a_run_from_a_model_that_is_gone_still_resumes(data: Path, tmp_path: Path) -> None:
    """Killed before anything but the configuration was there: it must not begin with other weights."""
    tiny.train(tmp_path / "first", recipe(data, "muon"))
    settings = recipe(data, "adamw", checkpoint_every=0)
    tiny.train(tmp_path / "whole", settings, model_name=str(tmp_path / "first"))
    run, killed = tmp_path / "second", tmp_path / "killed"

    class Copying(tiny.Listener):
        def __call__(self, event: dict[str, Any]) -> None:
            if event["kind"] == "run_started":  # what a SIGKILL would leave now
                shutil.copytree(run, killed, ignore=shutil.ignore_patterns("state.json", "events.jsonl"))

    tiny.train(run, settings, Copying(), model_name=str(tmp_path / "first"))
    tiny.assert_same_checkpoint(tmp_path / "whole", run, 12)
    shutil.rmtree(tmp_path / "first")
    tiny.go_on(killed)
    tiny.assert_same_checkpoint(tmp_path / "whole", killed, 12)


def test_weights_that_a_killed_start_left_are_not_taken_for_this_run(data: Path, tmp_path: Path) -> None:
    tiny.train(tmp_path / "first", recipe(data, "muon"))
    settings = recipe(data, "adamw")
    tiny.train(
        tmp_path / "run",
        settings,
        tiny.Listener(lambda e: e["kind"] == "run_started"),
        model_name=str(tmp_path / "first"),
    )
    RunDirectory(tmp_path / "run").config.unlink()
    tiny.train(tmp_path / "run", settings, tiny.Listener(lambda e: e["kind"] == "run_started"))
    files = [tiny.checkpoint_bytes(tmp_path / r, s, "model.safetensors") for r, s in (("first", 12), ("run", 0))]
    assert files[0] != files[1]


def test_a_model_with_another_tokenizer_is_refused(data: Path, tmp_path: Path) -> None:
    from mlxllm.data.build import build_dataset
    from mlxllm.data.sources import open_source
    from mlxllm.tokenizer.char import CharTokenizer

    tiny.train(tmp_path / "first", recipe(data, "muon"))
    source = tmp_path / "t.txt"
    source.write_text(tiny.text())
    other = CharTokenizer(sorted(set(tiny.text())))
    build_dataset(tmp_path / "chars", [(open_source(f"text:{source}"), None)], other, val_split=0.1)
    with pytest.raises(DataError, match="was made with another tokenizer"):
        tiny.train(tmp_path / "second", tiny.config(tmp_path / "chars"), model_name=str(tmp_path / "first"))
