"""Fine-tuning goes on exactly: interrupted, killed over and over, and never on other data or another base."""

import json
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Literal

import mlx.core as mx
import pytest

from mlxllm.errors import RunError
from mlxllm.model.adapters import adapters_off, fused
from mlxllm.model.checkpoint_files import checkpoint_path, list_checkpoints, verify_checkpoint
from mlxllm.model.loading import load_model
from mlxllm.model.module import named_parameters, trainable_parameters
from mlxllm.model.quantized_models import quantize_blocks
from mlxllm.model.transformer import Transformer
from mlxllm.runs import RunDirectory, read_events
from mlxllm.training import start as starting
from mlxllm.training.checkpoint import load_checkpoint
from tests.model.tiny import max_difference
from tests.training import tiny, tuned
from tests.training.tiny import Process, run_cli, succeeded
from tests.training.tuned import LORA

Method = Literal["sft", "dpo"]
METHODS: tuple[Method, ...] = ("sft", "dpo")
IDS = mx.array([[5, 60, 61, 62, 7, 8, 100, 3]])


@pytest.fixture(scope="module")
def base(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tuned.base(data, tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("records")
    return {"sft": tuned.conversations(folder / "sft.jsonl"), "dpo": tuned.preferences(folder / "dpo.jsonl")}


def halves(base: Path, folder: Path, settings: Any, **plan: Any) -> None:
    """12 steps are 6 and 6, to the last byte of every file."""
    whole, parts = folder / "whole", folder / "parts"
    plan["model_name"] = str(base)
    assert tiny.train(whole, settings, **plan).status == "finished"
    assert tiny.train(parts, settings, tiny.Listener(tiny.saved_at(6)), **plan).status == "stopped"
    listener = tiny.Listener()
    assert tiny.go_on(parts, listener).status == "finished"
    assert [e["step"] for e in listener.of("train")] == list(range(7, 13))
    for step in (0, 6, 12):
        tuned.assert_same_files(whole, parts, step)
    before, after = (load_checkpoint(checkpoint_path(whole, step))[0].parameters for step in (6, 12))
    assert any(bool((before[name] != after[name]).any()) for name in before), "the second half trained nothing"


@pytest.mark.parametrize("how", LORA)
@pytest.mark.parametrize("method", METHODS)
def test_12_steps_equal_6_and_6(base: Path, records: dict[str, Path], tmp_path: Path, method: Method, how: str) -> None:
    """With accumulation, and with dropout on the adapters' inputs."""
    lora = LORA[how] and {**LORA[how], "dropout": 0.2}
    halves(base, tmp_path, tuned.config(method, records[method], lora, grad_accum_steps=2, batch_size=2))


@pytest.mark.parametrize(("method", "how"), [("sft", "lora"), ("dpo", "full"), ("dpo", "qlora")])
def test_an_adapter_below_is_part_of_the_base(
    base: Path, records: dict[str, Path], tmp_path: Path, method: Method, how: str
) -> None:
    """From a model with an adapter stacked on it: what training begins with, and what it asks for the reference."""
    first = tmp_path / "first"
    tiny.train(first, tuned.config("sft", records["sft"], LORA["lora"], learning_rate=0.05), model_name=str(base))
    settings = tuned.config(method, records[method], LORA[how], lanes=1)
    halves(base, tmp_path, settings, adapter_name=str(first))
    stacked, run = load_model(str(base), adapter=str(first)), load_model(f"{tmp_path / 'whole'}@0")
    assert max_difference(stacked.model(IDS), load_model(str(base)).model(IDS)) > 0.01
    begun_with = fused(stacked.model)
    if how == "qlora":
        quantize_blocks(begun_with, "affine4")
    assert max_difference(run.model(IDS), begun_with(IDS)) < 1e-4
    assert run.run_config is not None
    assert run.run_config.base_adapter == f"{first}@12"
    assert run.run_config.base_fingerprint == stacked.fingerprint
    # Without the adapter it is another base, for a resume as well.
    shutil.move(first, tmp_path / "moved")
    if how == "full":
        assert tiny.go_on(tmp_path / "parts", max_steps=13).status == "finished"
    else:
        with pytest.raises(
            RunError, match=r"began with \S+ with the adapter \S+first@12, which is needed again and cannot"
        ):
            tiny.go_on(tmp_path / "parts")


@pytest.mark.compiled
def test_12_steps_equal_6_and_6_compiled(base: Path, records: dict[str, Path], tmp_path: Path) -> None:
    halves(base, tmp_path, tuned.config("dpo", records["dpo"], LORA["lora"], lanes=1))


@pytest.mark.parametrize("how", ["full", "lora"])
def test_validation_and_samples_change_nothing(base: Path, records: dict[str, Path], tmp_path: Path, how: str) -> None:
    for method in METHODS:
        plain = tuned.config(method, records[method], LORA[how], data={"val_split": 0.25})
        watched = plain.with_values(
            train={"eval_every": 3, "sample_every": 4, "sample_prompt": "2?"}, sample={"max_tokens": 8}
        )
        listener = tiny.Listener()
        tiny.train(tmp_path / f"{method}-plain", plain, model_name=str(base))
        tiny.train(tmp_path / f"{method}-watched", watched, listener, model_name=str(base))
        assert len(listener.of("val")) == 5
        assert len(listener.of("sample")) == 4
        files = [tuned.files(tmp_path / f"{method}-{name}", 12) for name in ("plain", "watched")]
        for name in files[0].keys() - {"trainer.json", "manifest.json"}:
            assert files[0][name] == files[1][name], name


# Kills


STEPS = 24
SETTINGS = [
    *("--max-steps", STEPS, "--batch-size", 2, "--max-seq-len", tuned.ROW, "--set", "train.eval_every=0"),
    *("--grad-accum-steps", 2, "--learning-rate", 1e-3, "--set", "train.keep_checkpoints=100"),
]
KILLED: dict[Method, tuple[object, ...]] = {"sft": (), "dpo": ("--lora-rank", 2)}


@pytest.mark.parametrize("method", METHODS)
def test_killed_over_and_over_it_ends_as_if_nothing_had_happened(
    base: Path, records: dict[str, Path], tmp_path: Path, method: Method
) -> None:
    def command(run: Path, every: int) -> list[object]:
        named = [method, "--model", base, "--data", records[method], "--run", run]
        return [*named, *SETTINGS, *KILLED[method], "--set", f"train.checkpoint_every={every}"]

    undisturbed, run = tmp_path / "undisturbed", RunDirectory(tmp_path / "run")
    succeeded(tiny.call(*command(undisturbed, STEPS)))
    draw = random.Random(method)
    for kill in range(3):
        begin = max((c.step for c in list_checkpoints(run.path)), default=0)
        process = Process(*(["resume", run.path] if run.config.exists() else command(run.path, 3)))
        if kill == 0:  # before the first step, perhaps before the reference has been asked
            process.wait_for(run.path.exists, "the folder")
        else:
            target = begin + draw.randrange(1, 9)
            process.wait_for(lambda target=target: steps_made(run) >= target, f"step {target}")
        time.sleep(draw.uniform(0, 0.02))
        process.signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert all(verify_checkpoint(c.path) is None for c in list_checkpoints(run.path))
    succeeded(run_cli("resume", run.path))
    ours, theirs = tuned.files(undisturbed, STEPS), tuned.files(run.path, STEPS)
    for name in ours.keys() - {"trainer.json", "manifest.json"}:
        assert ours[name] == theirs[name], name
    trained = [e["step"] for e in read_events(run.events) if e["kind"] == "train"]
    assert trained == list(range(1, STEPS + 1))


def steps_made(run: RunDirectory) -> int:
    if not run.events.exists():
        return 0
    return max((e["step"] for e in read_events(run.events) if e["kind"] == "train"), default=0)


# What is refused


@pytest.fixture
def stopped(data: Path, tmp_path: Path) -> Path:
    """The folder of a LoRA run that was stopped after 6 steps, its base and its records."""
    base = tuned.base(data, tmp_path / "base")
    records = tuned.conversations(tmp_path / "records.jsonl")
    settings = tuned.config("sft", records, LORA["lora"])
    tiny.train(tmp_path / "run", settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    return tmp_path


@pytest.mark.parametrize("method", METHODS)
def test_changed_records_are_refused(base: Path, tmp_path: Path, method: Method) -> None:
    make = tuned.conversations if method == "sft" else tuned.preferences
    records = make(tmp_path / "records.jsonl")
    settings = tuned.config(method, records)
    tiny.train(tmp_path / "run", settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    text = records.read_text()
    records.write_text(text.replace("yes", "yet", 1))
    told = r"records .*records\.jsonl are not those that run 'run' was trained on \(fingerprint \w{12} -> \w{12}\)"
    with pytest.raises(RunError, match=told):
        tiny.go_on(tmp_path / "run")
    records.write_text(text)  # the same again
    assert tiny.go_on(tmp_path / "run").status == "finished"


def test_held_out_records_may_not_change_either(base: Path, tmp_path: Path) -> None:
    """Which checkpoint is the best one would be judged by two measures."""
    records, held_out = (tuned.conversations(tmp_path / f"{name}.jsonl") for name in ("records", "held-out"))
    settings = tuned.config("sft", records, data={"val_records": [str(held_out)]})
    tiny.train(tmp_path / "run", settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    held_out.write_text(held_out.read_text().replace("yes", "yet", 1))
    with pytest.raises(RunError, match="are not those that run 'run' was trained on"):
        tiny.go_on(tmp_path / "run")


def test_changed_settings_are_refused_with_the_difference(stopped: Path) -> None:
    run = RunDirectory(stopped / "run")
    raw = json.loads(run.config.read_text())
    raw["lora"]["alpha"], raw["data"]["train_on"], raw["method"] = 3.0, "all", "sft"
    run.config.write_text(json.dumps(raw))
    with pytest.raises(RunError) as refused:
        tiny.go_on(run.path)
    assert "data.train_on: assistant -> all" in str(refused.value)
    assert "lora.alpha: 16.0 -> 3.0" in str(refused.value)


@pytest.mark.parametrize("section", ["lora", "dpo"])
def test_a_section_that_is_gone_is_named(base: Path, records: dict[str, Path], tmp_path: Path, section: str) -> None:
    run = RunDirectory(tmp_path / "run")
    settings = tuned.config("dpo", records["dpo"], LORA["lora"], dpo={"beta": 0.3})
    tiny.train(run.path, settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    raw = json.loads(run.config.read_text())
    raw[section] = None
    run.config.write_text(json.dumps(raw))
    with pytest.raises(RunError, match=f"{section}: on -> off"):
        tiny.go_on(run.path)


def test_another_base_is_refused(stopped: Path) -> None:
    """Its folder has the name that the run remembers, and other weights."""
    weights = checkpoint_path(stopped / "base", 4) / "model.safetensors"
    other = tuned.base(tiny.dataset(stopped / "other-data", "other words " * 200), stopped / "other")
    right = stopped / "right"
    shutil.move(stopped / "base", right)
    shutil.copytree(other, stopped / "base")
    assert weights.exists()
    with pytest.raises(RunError, match=r"weights of .*base@4 are not those that run 'run' began with"):
        tiny.go_on(stopped / "run")
    shutil.rmtree(stopped / "base")
    with pytest.raises(RunError, match=r"run 'run' began with .*base@4, which is needed again and cannot be loaded"):
        tiny.go_on(stopped / "run")
    shutil.move(right, stopped / "base")
    assert tiny.go_on(stopped / "run").status == "finished"


def test_a_base_that_goes_on_is_still_the_base(stopped: Path) -> None:
    """A run is remembered with its step."""
    tiny.go_on(stopped / "base", max_steps=8)
    assert tiny.go_on(stopped / "run").status == "finished"


@pytest.mark.parametrize("schedule", ["wsd", "constant"])
def test_a_checkpoint_that_adapters_sit_on_stays_as_it_is(
    data: Path, records: dict[str, Path], tmp_path: Path, schedule: str
) -> None:
    """Neither the pruning of old ones nor an extension that comes past its step takes it away."""
    base, run = tmp_path / "base", tmp_path / "run"
    tiny.train(base, tiny.config(data, max_steps=8, checkpoint_every=2, keep_checkpoints=1, schedule=schedule))
    settings = tuned.config("sft", records["sft"], LORA["lora"])
    tiny.train(run, settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    tiny.train(tmp_path / "full", tuned.config("sft", records["sft"]), model_name=str(base))
    files = tuned.files(base, 8)
    expected = load_model(str(run)).model(IDS)
    assert tiny.go_on(base, max_steps=24).status == "finished"
    assert tuned.files(base, 8) == files
    steps = [c.step for c in list_checkpoints(base)]
    assert steps == ([8, 17, 24] if schedule == "wsd" else [8, 24])
    assert (load_model(str(run)).model(IDS) == expected).all()
    assert load_model(str(base)).step == 24
    assert tiny.go_on(run).status == "finished"
    shutil.rmtree(run)  # nobody needs it any more
    tiny.go_on(base, max_steps=30)
    assert 8 not in [c.step for c in list_checkpoints(base)]


def test_all_weights_need_no_base_to_go_on(data: Path, records: dict[str, Path], tmp_path: Path) -> None:
    base = tuned.base(data, tmp_path / "base")
    settings = tuned.config("sft", records["sft"])
    tiny.train(tmp_path / "run", settings, tiny.Listener(tiny.saved_at(6)), model_name=str(base))
    shutil.rmtree(base)
    assert tiny.go_on(tmp_path / "run").status == "finished"


# What is trained, and what is not


@pytest.mark.parametrize(
    ("method", "quantize"), [("sft", "affine4"), ("dpo", "affine8"), ("dpo", "mxfp4"), ("sft", "nvfp4")]
)
def test_the_quantised_base_stays_to_the_bit(
    base: Path,
    records: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: Method,
    quantize: str,
) -> None:
    """The arrays of the model that was trained, not of one that is loaded again."""
    frozen: list[tuple[Transformer, dict[str, bytes]]] = []
    adapt = starting.adapt

    def watched(model: Transformer, *more: Any) -> None:
        adapt(model, *more)
        names = named_parameters(model).keys() - trainable_parameters(model).keys()
        frozen.append((model, tuned.arrays({n: named_parameters(model)[n] for n in names})))

    monkeypatch.setattr(starting, "adapt", watched)
    lora = {"rank": 2, "quantize": quantize}
    tiny.train(tmp_path, tuned.config(method, records[method], lora, learning_rate=1e-2), model_name=str(base))
    ((model, before),) = frozen
    now = named_parameters(model)
    assert sum(n.endswith(".scales") for n in before) == 14
    assert tuned.arrays({name: now[name] for name in before}) == before
    first, last = (load_checkpoint(checkpoint_path(tmp_path, step))[0].parameters for step in (0, 12))
    assert all(bool((first[name] != last[name]).any()) for name in first if name.endswith("lora_b"))
    assert set(first) == set(trainable_parameters(model))


@pytest.mark.parametrize("how", ["lora", "dora"])
def test_before_the_first_step_it_is_the_base(base: Path, records: dict[str, Path], tmp_path: Path, how: str) -> None:
    """The checkpoint of step 0, from a real run; later, with the adapters off, it is the base again."""
    settings = tuned.config("sft", records["sft"], LORA[how], learning_rate=1e-2)
    tiny.train(tmp_path / "run", settings, model_name=str(base))
    expected = load_model(str(base)).model(IDS)
    first, last = (load_model(f"{tmp_path / 'run'}@{step}").model for step in (0, 12))
    if how == "lora":
        assert (first(IDS) == expected).all()
    assert max_difference(first(IDS), expected) < 1e-5
    assert max_difference(last(IDS), expected) > 0.01
    with adapters_off(last):
        assert (last(IDS) == expected).all()
