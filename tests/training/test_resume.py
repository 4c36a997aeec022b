"""Resume is exact: a run that was interrupted ends with the bytes of one that was not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import ConfigError, DataError, RunError
from mlxllm.model.checkpoint_files import checkpoint_path, find_checkpoint, list_checkpoints
from mlxllm.runs import RunDirectory, read_events, request
from mlxllm.settings import parse_config
from mlxllm.tokenizer import load_tokenizer
from mlxllm.training.checkpoint import load_checkpoint
from mlxllm.training.schedules import decay_start
from tests.training import tiny
from tests.training.tiny import RECIPES, recipe


def check_12_equal_6_and_6(tmp_path: Path, settings: Any) -> None:
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    assert tiny.train(whole, settings).status == "finished"
    stopped = tiny.train(halves, settings, tiny.Listener(tiny.saved_at(6), signal=15))
    assert (stopped.status, stopped.signal) == ("stopped", 15)
    assert [c.step for c in list_checkpoints(halves)] == [6]
    resumed = tiny.Listener()
    assert tiny.go_on(halves, resumed).status == "finished"
    assert [e["step"] for e in resumed.of("train")] == list(range(7, 13))
    for step in (6, 12):
        tiny.assert_same_checkpoint(whole, halves, step)
    before, after = (load_checkpoint(checkpoint_path(whole, s))[0].parameters for s in (6, 12))
    assert any(bool((before[n] != after[n]).any()) for n in before), "the second half trained nothing"


@pytest.mark.parametrize("name", RECIPES)
def test_12_steps_equal_6_and_6(data: Path, tmp_path: Path, name: str) -> None:
    check_12_equal_6_and_6(tmp_path, recipe(data, name))


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["muon, dropout, accumulation", "lion"])
def test_12_steps_equal_6_and_6_compiled(data: Path, tmp_path: Path, name: str) -> None:
    # On the CPU each fused expression costs a call of the compiler: one layer has them all.
    check_12_equal_6_and_6(tmp_path, recipe(data, name).with_values(model={"num_hidden_layers": 1}))


def test_equal_runs_write_equal_files(data: Path, tmp_path: Path) -> None:
    settings = recipe(data, "muon, dropout, accumulation")
    for name in ("one", "an-other"):
        tiny.train(tmp_path / name, settings)
    tiny.assert_same_checkpoint(tmp_path / "one", tmp_path / "an-other", 12)
    tiny.train(tmp_path / "seeded", settings.with_values(train={"seed": 7}))
    files = [tiny.checkpoint_bytes(tmp_path / n, 12, "model.safetensors") for n in ("one", "seeded")]
    assert files[0] != files[1]


def test_what_happens_between_steps_changes_nothing(data: Path, tmp_path: Path) -> None:
    """Validations, samples, checkpoints at other steps, a pause, and questions by control files."""
    settings = recipe(data, "adamw, dropout")
    tiny.train(tmp_path / "quiet", settings.with_values(train={"checkpoint_every": 0}))
    busy = RunDirectory(tmp_path / "busy")

    class Busy(tiny.Listener):
        def __call__(self, event: dict[str, Any]) -> None:
            super().__call__(event)
            if event["kind"] == "train" and event["step"] == 5:
                for name in ("sample", "checkpoint", "pause"):
                    request(busy, name, {"prompt": "1 sq"} if name == "sample" else None)
            if event["kind"] == "paused":
                request(busy, "resume")

    every = {"eval_every": 2, "sample_every": 3, "sample_prompt": "3 squared", "checkpoint_every": 5}
    listener = Busy()
    tiny.train(busy.path, settings.with_values(train=every), listener)
    assert len(listener.of("val")) == 7
    assert len(listener.of("sample")) == 6
    assert len(listener.of("paused")) == len(listener.of("resumed")) == 1
    tiny.assert_same_checkpoint(tmp_path / "quiet", busy.path, 12, "model.safetensors", "optimizer.safetensors")


def test_a_resumed_run_has_each_step_once_in_its_events(data: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    settings = recipe(data, "muon", eval_every=4)
    tiny.train(run.path, settings, tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 9))
    shutil.rmtree(list_checkpoints(run.path)[-1].path)  # as if killed before it was written
    tiny.go_on(run.path)
    events = read_events(run.events)
    assert [e["step"] for e in events if e["kind"] == "train"] == list(range(1, 13))
    assert [e["step"] for e in events if e["kind"] == "val"] == [0, 4, 8, 12]
    assert [e["tokens"] for e in events if e["kind"] == "train"] == [64 * n for n in range(1, 13)]


def test_a_finished_run_is_left_as_it_is(data: Path, tmp_path: Path) -> None:
    tiny.train(tmp_path / "run", recipe(data, "muon"))
    before = tiny.checkpoint_bytes(tmp_path / "run", 12)
    listener = tiny.Listener()
    assert tiny.go_on(tmp_path / "run", listener).status == "finished"
    assert listener.of("train") == []
    assert tiny.checkpoint_bytes(tmp_path / "run", 12) == before


# Extensions


def test_an_extended_run_equals_one_of_that_length(data: Path, tmp_path: Path) -> None:
    """The stable phase is the same: the checkpoint from before the decay is where both are the same run."""
    settings = recipe(data, "muon, dropout, accumulation", schedule="wsd", checkpoint_every=5, eval_every=5)
    longer = settings.with_values(train={"max_steps": 20, "checkpoint_every": 7, "eval_every": 0})
    tiny.train(tmp_path / "run", settings.with_values(train={"keep_checkpoints": 1}))
    tiny.train(tmp_path / "long", longer)
    stable = decay_start(settings.train)
    assert stable == 8
    assert stable in [c.step for c in list_checkpoints(tmp_path / "run")]
    listener = tiny.Listener()
    tiny.go_on(tmp_path / "run", listener, max_steps=20)
    assert [e["step"] for e in listener.of("train")] == list(range(9, 21))
    tiny.assert_same_checkpoint(tmp_path / "run", tmp_path / "long", 20, "model.safetensors", "optimizer.safetensors")
    saved = json.loads(RunDirectory(tmp_path / "run").config.read_text())
    assert saved["train"]["max_steps"] == 20


def test_an_extension_interrupted_goes_on_as_extended(data: Path, tmp_path: Path) -> None:
    settings = recipe(data, "adamw", schedule="wsd")
    run = tmp_path / "run"
    tiny.train(run, settings)
    tiny.train(tmp_path / "long", settings.with_values(train={"max_steps": 30}))
    killed = tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 20)
    tiny.go_on(run, killed, max_steps=30)
    while list_checkpoints(run)[-1].step > decay_start(settings.train):
        shutil.rmtree(list_checkpoints(run)[-1].path)  # nothing of the extension was saved
    tiny.go_on(run)
    tiny.assert_same_checkpoint(run, tmp_path / "long", 30, "model.safetensors", "optimizer.safetensors")


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_other_schedules_go_on_from_the_last_checkpoint(data: Path, tmp_path: Path, schedule: str) -> None:
    run = tmp_path / "run"
    tiny.train(run, recipe(data, "adamw", schedule=schedule))
    listener = tiny.Listener()
    tiny.go_on(run, listener, max_steps=15)
    assert [e["step"] for e in listener.of("train")] == [13, 14, 15]


@pytest.mark.parametrize(("stop_at", "wanted"), [(12, 12), (12, 10), (12, 3), (6, 6)])
def test_an_extension_must_be_longer(data: Path, tmp_path: Path, stop_at: int, wanted: int) -> None:
    """Also than what a run has reached beyond the checkpoint from which it is extended."""
    run = tmp_path / "run"
    tiny.train(run, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(stop_at)))
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "lock"}
    told = (
        rf"run 'run' has {stop_at} steps already, and --max-steps would end it at step {wanted}; that is no extension"
    )
    with pytest.raises(ConfigError, match=told):
        tiny.go_on(run, max_steps=wanted)
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file() and p.name != "lock"} == before


def test_an_extension_that_is_stopped_early_costs_nothing(data: Path, tmp_path: Path) -> None:
    """The finished model stays the newest and the best one, and resuming goes on where the extension was."""
    run = tmp_path / "run"
    settings = recipe(data, "adamw", schedule="wsd", eval_every=4, checkpoint_every=4, keep_checkpoints=1)
    tiny.train(run, settings)
    stable = decay_start(settings.train)
    finished = tiny.checkpoint_bytes(run, 12)
    tiny.go_on(run, tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == stable + 1), max_steps=60)
    assert tiny.checkpoint_bytes(run, 12) == finished
    assert find_checkpoint(run, "best").step == find_checkpoint(run, "last").step == 12
    listener = tiny.Listener(lambda e: e["kind"] == "train" and e["step"] == 24)
    tiny.go_on(run, listener)
    assert listener.of("run_started")[0]["step"] == stable + 2
    assert not listener.of("warning")
    assert find_checkpoint(run, "last").step >= 24
    # The interrupted extension ends as one that ran through.
    other = tmp_path / "other"
    tiny.train(other, settings)
    tiny.go_on(other, max_steps=60)
    tiny.go_on(run)
    tiny.assert_same_checkpoint(run, other, 60, "model.safetensors", "optimizer.safetensors")


def test_what_was_passed_over_or_lost_is_said(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.train(run, recipe(data, "adamw", schedule="constant"))
    weights = run / "checkpoints" / "step-00000012" / "optimizer.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    listener = tiny.Listener()
    tiny.go_on(run, listener)
    assert "the checkpoint of step 12 cannot be used" in listener.of("warning")[0]["message"]
    assert listener.of("run_started")[0]["step"] == 6
    (run / "tokenizer" / "tokenizer_config.json").write_text("{")
    shutil.rmtree(run / "checkpoints")
    listener = tiny.Listener()
    tiny.go_on(run, listener)
    first, second = (e["message"] for e in listener.of("warning"))
    assert "no usable checkpoint left and begins again at step 0" in first
    assert "the tokenizer of run 'run' was damaged" in second
    assert load_tokenizer(run / "tokenizer").kind == "byte"


def test_ids_that_no_tokenizer_made_are_a_sentence_not_a_crash(data: Path, tmp_path: Path) -> None:
    for split, when in (("train", "after"), ("val", "before")):
        copy = tiny.dataset(tmp_path / f"data-{split}")
        shard = copy / f"{split}-00000.bin"
        raw = bytearray(shard.read_bytes())
        raw[-1001::2] = b"\x70" * len(raw[-1001::2])
        shard.write_bytes(raw)
        with pytest.raises(DataError, match=rf"the {split} split holds token id 28,\d+, but its tokenizer has 261 ids"):
            tiny.train(tmp_path / f"run-{when}", recipe(copy, "adamw", max_steps=100))


def test_a_shard_that_was_changed_is_refused_on_resume(data: Path, tmp_path: Path) -> None:
    """Also where every id is one that the tokenizer has."""
    copy = tiny.dataset(tmp_path / "data")
    tiny.train(tmp_path / "run", recipe(copy, "adamw"), tiny.Listener(tiny.saved_at(6)))
    shard = copy / "train-00000.bin"
    raw = bytearray(shard.read_bytes())
    raw[-2] ^= 1
    shard.write_bytes(raw)
    with pytest.raises(DataError, match=r"train-00000.bin has been changed since it was built"):
        tiny.go_on(tmp_path / "run")


def test_minutes_become_steps_in_the_config(data: Path, tmp_path: Path) -> None:
    from time import monotonic

    run = RunDirectory(tmp_path / "run")
    begun = monotonic()
    tiny.train(run.path, recipe(data, "adamw", max_steps=1_000_000), deadline=begun + 1.0)
    written = parse_config(json.loads(run.config.read_text()), "")
    assert written.train.max_steps < 100_000
    assert [e["step"] for e in read_events(run.events) if e["kind"] == "train"] == [
        *range(1, written.train.max_steps + 1)
    ]
    with pytest.raises(ConfigError, match=r"so little time would end it at step .* no extension, use more"):
        tiny.go_on(run.path, deadline=monotonic())
    assert list_checkpoints(run.path)[-1].step == written.train.max_steps
    tiny.go_on(run.path, deadline=monotonic() + 4.5)
    extended = parse_config(json.loads(run.config.read_text()), "")
    assert extended.train.max_steps > written.train.max_steps
    assert list_checkpoints(run.path)[-1].step == extended.train.max_steps
    assert extended.with_values(train={"max_steps": written.train.max_steps}) == written


def test_measuring_changes_nothing(data: Path, tmp_path: Path) -> None:
    from time import monotonic

    settings = recipe(data, "muon, dropout, accumulation", schedule="constant")
    run = RunDirectory(tmp_path / "measured")
    tiny.train(run.path, settings, tiny.Listener(tiny.saved_at(6)), deadline=monotonic() + 30.0)
    tiny.train(tmp_path / "given", settings.with_values(train={"max_steps": 12}))
    tiny.assert_same_checkpoint(run.path, tmp_path / "given", 6, "model.safetensors", "optimizer.safetensors")


# What is refused


def test_changed_settings_are_refused_with_the_difference(data: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    tiny.train(run.path, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(6)))
    raw = json.loads(run.config.read_text())
    raw["train"]["learning_rate"], raw["model"]["hidden_act"] = 0.5, "gelu"
    run.config.write_text(json.dumps(raw))
    with pytest.raises(RunError) as refused:
        tiny.go_on(run.path)
    message = str(refused.value)
    assert "train.learning_rate: 0.003 -> 0.5" in message
    assert "model.hidden_act: silu -> gelu" in message
    assert "put" in message
    assert f"--model {run.path}" in message


def test_what_does_not_touch_the_weights_may_change(data: Path, tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    tiny.train(run.path, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(6)))
    raw = json.loads(run.config.read_text())
    raw["train"].update(eval_every=2, checkpoint_every=1, sample_every=4, sample_prompt="9", keep_checkpoints=3)
    raw["sample"]["temperature"] = 0.1
    run.config.write_text(json.dumps(raw))
    assert tiny.go_on(run.path).status == "finished"


@pytest.mark.parametrize("content", ["{", "[]", '{"train": {"max_steps": -1}}', '{"trian": {}}'])
def test_a_damaged_config_is_refused_with_its_place(data: Path, tmp_path: Path, content: str) -> None:
    from mlxllm.errors import UserError

    run = RunDirectory(tmp_path / "run")
    tiny.train(run.path, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(6)))
    run.config.write_text(content)
    with pytest.raises(UserError, match=r"config\.json"):
        tiny.go_on(run.path)


def test_a_rebuilt_dataset_is_refused(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path / "set")
    run = RunDirectory(tmp_path / "run")
    tiny.train(run.path, recipe(data, "adamw"), tiny.Listener(tiny.saved_at(6)))
    tiny.dataset(data, tiny.text(301), replace=True)
    with pytest.raises(
        RunError, match=r"is not the one that run 'run' was trained on \(fingerprint \w{12} -> \w{12}\)"
    ):
        tiny.go_on(run.path)
    tiny.dataset(data, replace=True)  # the same again
    assert tiny.go_on(run.path).status == "finished"


def test_an_existing_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    settings = recipe(data, "adamw")
    tiny.train(tmp_path / "run", settings)
    again = f"exists already with the same settings; continue it with `mlxllm resume {tmp_path}/run`"
    with pytest.raises(RunError, match=again):
        tiny.train(tmp_path / "run", settings)
    with pytest.raises(RunError, match=r"with other settings \(train.seed: 42 -> 1\)"):
        tiny.train(tmp_path / "run", settings.with_values(train={"seed": 1}))


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    data = tiny.dataset(tmp_path / "short", "a few words")
    with pytest.raises(DataError, match=r"fewer than one row of 17 \(data.max_seq_len \+ 1\)"):
        tiny.train(tmp_path / "run", tiny.config(data))
    assert not (tmp_path / "run").exists()
