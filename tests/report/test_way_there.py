"""The commands of a report lead there: run in an empty home, they make the same weights again."""

import json
import shlex
from pathlib import Path

import pytest

from mlxllm.report.blocks import Commands
from mlxllm.report.run_page import way_there
from mlxllm.report.scored import fingerprint_at
from mlxllm.report.stages import stages_of
from mlxllm.runs import checkpoint_steps, find_run
from tests.cli.tuned import PAIRS, TALK
from tests.training.tiny import call, succeeded

SHORT = ("--max-steps", 3, "--set", "train.eval_every=2", "--set", "train.warmup_steps=1")


def there(run: str) -> list[str]:
    (commands, *_) = way_there(stages_of(find_run(run)))
    assert isinstance(commands, Commands)
    return "\n".join(commands.lines).replace("\\\n", "").splitlines()


def weights(run: str) -> str:
    found = find_run(run)
    return fingerprint_at(found, checkpoint_steps(found)[-1])


def write(path: Path, records: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_three_stages_are_made_again_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    talk, pairs = write(tmp_path / "talk $1.jsonl", 4 * TALK), write(tmp_path / "pairs.jsonl", 2 * PAIRS)
    text = tmp_path / "a text.txt"
    text.write_text("\n<|endoftext|>\n".join(f"Story {n}: once upon a time {n} men met." for n in range(300)))
    succeeded(call("tokenizer", "train", "letters", "--kind", "char", "--input", text))
    build = ("--source", f"text:{text}@2x", "--source", "stories:60@1x", "--tokenizer", "letters", "--val-split", "0.1")
    succeeded(call("data", "build", "mix", *build, "--recipe", "stories=code", "--set", "stories:code=off"))
    prompt = 'train.sample_prompt=Once "upon"\\n\ta $time'
    model = ("--set", "model.hidden_size=32", "--set", prompt, "--set", "train.sample_every=2", "--seed", 7)
    succeeded(call("train", "--preset", "char-tiny", "--data", "mix", "--run", "first", *SHORT, *model))
    tuning = ("--batch-size", 2, "--max-seq-len", 64, *SHORT)
    succeeded(call("sft", "--model", "first", "--data", talk, "--run", "told", *tuning, "--val-split", "0.2"))
    adapter = ("--lora-rank", 2, "--lora-targets", "q_proj,v_proj", "--beta", 0.3, "--dora")
    succeeded(call("dpo", "--model", "told", "--data", pairs, "--run", "liked", *tuning, *adapter))
    commands, before = there("liked"), {run: weights(run) for run in ("first", "told", "liked")}
    assert [shlex.split(line)[1] for line in commands] == ["tokenizer", "data", "train", "sft", "dpo"]
    assert all(before.values())
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path / "empty"))
    for line in commands:
        program, *words = shlex.split(line)
        assert program == "mlxllm"
        succeeded(call(*words))
    assert {run: weights(run) for run in before} == before


def test_a_tokenizer_that_the_build_made_is_made_by_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    succeeded(call("data", "build", "tales", "--source", "stories:80", "--tokenizer", "bpe:400"))
    succeeded(call("train", "--preset", "char-tiny", "--data", "tales", "--run", "one", *SHORT))
    commands, before = there("one"), weights("one")
    assert len(commands) == 2
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path / "empty"))
    for line in commands:
        succeeded(call(*shlex.split(line)[1:]))
    assert weights("one") == before


def test_the_fingerprint_is_that_of_the_loaded_model(tmp_path: Path) -> None:
    from mlxllm.model.loading import load_model

    talk = write(tmp_path / "talk.jsonl", 4 * TALK)
    succeeded(call("data", "build", "bytes", "--source", "stories:40", "--tokenizer", "byte"))
    succeeded(call("train", "--preset", "char-tiny", "--data", "bytes", "--run", "base", *SHORT))
    tuning = ("--data", talk, "--batch-size", 2, "--max-seq-len", 64, *SHORT, "--lora-rank", 2)
    succeeded(call("sft", "--model", "base", "--run", "once", *tuning))
    succeeded(call("sft", "--model", "once", "--run", "twice", *tuning))
    for run in ("base", "once", "twice"):
        assert weights(run) == load_model(run).fingerprint
