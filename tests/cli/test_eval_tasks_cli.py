"""`mlxllm eval --tasks` with local files, as somebody at a terminal and as a script meets it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxllm.evaluation.harness import files
from mlxllm.scores import results_of
from tests.inference.tiny import tiny, write_folder
from tests.training.tiny import call, json_lines, sentence, succeeded

GSM8K = {"question": "What is 2 + 3?", "answer": "2 + 3 = 5\n#### 5"}
PUZZLE = {
    "task_id": "T/0",
    "prompt": "def f(x):\n",
    "entry_point": "f",
    "test": "def check(f):\n    assert f(1) == 2\n",
    "canonical_solution": "    return x + 1\n",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("eval-tasks") / "model", tiny())


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "wet.jsonl"
    records = [
        {"query": f"Question: Is {n} wet?", "choices": ["no", "yes, very", "who knows"], "gold": n % 3}
        for n in range(12)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_json_table_and_samples(model: Path, questions: Path, tmp_path: Path) -> None:
    sums = tmp_path / "sums.jsonl"
    sums.write_text(f"{json.dumps(GSM8K)}\n" * 4)
    items = tmp_path / "items.jsonl"
    command = (
        "eval",
        "--model",
        model,
        "--tasks",
        f"{questions},{sums}",
        "--limit",
        3,
        "--shots",
        1,
        "--max-tokens",
        4,
    )
    process = succeeded(call(*command, "--json", "--samples", items))
    [shown] = json_lines(process.stdout)
    assert set(shown["results"]) == {"wet", "sums"}
    assert set(shown["results"]["wet"]) == {"acc", "acc_stderr", "acc_norm", "acc_norm_stderr", "samples"}
    assert shown["results"]["sums"]["exact_match"] == 0.0
    written = json_lines(items.read_text())
    assert [(each["task"], each["item"]) for each in written] == [
        *(("wet", n) for n in (1, 2, 3)),
        *(("sums", n) for n in (1, 2, 3)),
    ]
    correct = [each["metrics"]["acc"] for each in written[:3]]
    assert shown["results"]["wet"]["acc"] == pytest.approx(sum(correct) / 3)
    again = succeeded(call(*command))
    assert "wet: 3 of 3 items were known already (--fresh asks anew)" in again.stderr
    head, *rows = again.stdout.splitlines()
    assert head.split() == ["task", "metric", "value", "error", "chance", "items", "shots"]
    assert rows[0].split()[:2] == ["wet", "acc"]
    assert rows[0].split()[-3:] == ["0.333", "3", "1"]
    anew = succeeded(call(*command, "--fresh"))
    assert "known already" not in anew.stderr
    assert anew.stdout == again.stdout


def test_results_are_kept_for_later(model: Path, questions: Path, mlxllm_home: Path) -> None:
    from mlxllm.model.loading import load_model

    [shown] = json_lines(succeeded(call("eval", "--model", model, "--tasks", questions, "--json")).stdout)
    [kept] = results_of(load_model(str(model)).fingerprint)
    assert (kept.task, kept.samples) == ("wet", 12)
    assert kept.metrics["acc"] == shown["results"]["wet"]["acc"]
    listed = succeeded(call("cache", "ls")).stdout
    assert "answers that `mlxllm eval` has had" in listed
    succeeded(call("cache", "clear", "evaluations", "--yes"))
    assert not (mlxllm_home / "cache" / "evaluations").exists()
    assert results_of(kept.fingerprint)


def test_programs_are_run_only_where_that_is_allowed(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "puzzles.jsonl"
    path.write_text(json.dumps(PUZZLE) + "\n")
    command = ("eval", "--model", model, "--tasks", path, "--max-tokens", 4)
    told = sentence(call(*command), 2)
    assert "the answers to puzzles are programs" in told
    assert "give --allow-code-execution" in told
    process = succeeded(call(*command, "--allow-code-execution", "--json"))
    [shown] = json_lines(process.stdout)
    assert shown["results"]["puzzles"]["pass@1"] == 0.0
    assert "programs that the model writes are run" in process.stderr


@pytest.mark.parametrize(
    ("tasks", "more", "code", "said"),
    [
        ("{folder}/wte.jsonl", (), 1, "has wet.jsonl"),
        ("{folder}/nowhere/x.jsonl", (), 1, "no folder"),
        ("wte.jsonl", (), 1, "there is no file wte.jsonl"),
        ("{folder}/wte.jsonl,{folder}/dry.jsonl", (), 1, "; there is no file {folder}/dry.jsonl"),
        ("/", (), 2, "/ has more than 3 files in it and below, too many for a folder of tasks"),
        ("./nope.yaml", (), 1, "there is no file nope.yaml"),
        ("{folder}", (), 1, "is a folder without questions"),
        ("{file},", (), 2, "--tasks has an empty name"),
        ("{file}", ("--shots", "12"), 2, "--shots is 12, but wet has 12 items, one of which is asked; give 11 or less"),
        ("{file}", ("--shots", "-1"), 2, "--shots is -1; it should be 0 or more"),
        ("{file}", ("--limit", "0"), 2, "--limit is 0; it should be 1 or more"),
        ("{file}", ("--samples-per-task", "0"), 2, "--samples-per-task is 0"),
        ("{file}", ("--max-tokens", "0"), 2, "--max-tokens is 0"),
        ("{file}", ("--temp", "-1"), 2, "--temp is -1"),
        ("{file}", ("--samples", "{folder}/no/where"), 2, "there is no folder"),
    ],
)
def test_what_cannot_be_asked_is_told_in_one_sentence(
    model: Path,
    questions: Path,
    tasks: str,
    more: tuple[str, ...],
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "_MOST_FILES", 3)
    words = [word.format(file=questions, folder=questions.parent) for word in (tasks, *more)]
    said = said.format(folder=questions.parent)
    assert said in sentence(call("eval", "--model", model, "--tasks", *words), code)


def test_without_anything_to_evaluate(model: Path) -> None:
    told = sentence(call("eval", "--model", model, "--shots", 2), 2)
    assert "--shots is about questions; give them, too, with --tasks FILES" in told
    assert "--tasks FILES" in sentence(call("eval", "--model", model), 2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_evaluation_that_was_ended_goes_on(
    model: Path, tmp_path: Path, mlxllm_home: Path, number: signal.Signals
) -> None:
    path = tmp_path / "many.jsonl"
    record = {"choices": ["no", "yes"], "gold": 1}
    path.write_text("".join(json.dumps(record | {"query": f"{n} {'x' * 20}"}) + "\n" for n in range(1200)))
    command = ("eval", "--model", str(model), "--tasks", str(path), "--json")
    process = subprocess.Popen([sys.executable, "-m", "mlxllm", *command], stderr=subprocess.PIPE, env={**os.environ})
    cache = mlxllm_home / "cache" / "evaluations"
    deadline = time.monotonic() + 60
    while not any(file.stat().st_size > 2000 for file in cache.rglob("*.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert told.decode().strip().splitlines()[-1] == "interrupted"
    [file] = cache.rglob("*.jsonl")
    known = file.read_bytes().count(b"\n")
    assert 0 < known < 1200
    again = succeeded(call(*command))
    assert f"many: {known:,} of 1,200 items were known already" in again.stderr
    [shown] = json_lines(again.stdout)
    assert shown["results"]["many"]["samples"] == 1200


@pytest.mark.data
def test_the_real_files_are_asked(model: Path, test_data: Path) -> None:
    names = "piqa_valid.jsonl arc_easy.jsonl lambada_openai.jsonl gsm8k_test.jsonl mmlu HumanEval.jsonl.gz".split()
    tasks = ",".join(str(test_data / "bench" / name) for name in names)
    command = ("--limit", 2, "--max-tokens", 4, "--allow-code-execution", "--json")
    [shown] = json_lines(succeeded(call("eval", "--model", model, "--tasks", tasks, *command)).stdout)
    assert {name: found["samples"] for name, found in shown["results"].items()} == {
        **dict.fromkeys(("piqa_valid", "arc_easy", "lambada_openai", "gsm8k_test", "HumanEval"), 2),
        **dict.fromkeys(("mmlu_astronomy", "mmlu_global_facts", "mmlu_high_school_mathematics"), 2),
        "mmlu": 6,
    }
    assert shown["results"]["mmlu"].keys() == {"acc", "acc_stderr", "acc_subjects", "acc_subjects_stderr", "samples"}


def test_questions_are_not_written_over(model: Path, questions: Path) -> None:
    before = questions.read_bytes()
    refused = call("eval", "--model", model, "--tasks", questions, "--samples", questions, "--limit", 2)
    assert "would be written over questions" in sentence(refused, 2)
    assert questions.read_bytes() == before


def test_options_that_change_nothing_are_told(model: Path, questions: Path) -> None:
    command = ("eval", "--model", model, "--tasks", questions, "--limit", 1)
    told = succeeded(call(*command, "--temp", 0.5, "--max-tokens", 3)).stderr
    assert "warning: --max-tokens, --temp changes nothing here: no local file asks for written answers" in told
    assert "--stride is about held-out text" in sentence(call(*command, "--stride", 5), 2)
    told = sentence(call(*command, "--batch-size", 5), 2)
    assert "--batch-size is about held-out text, pairs and conversations" in told
    assert told.endswith("so leave it out")


def test_a_comma_in_a_files_name_is_no_separator(model: Path, questions: Path) -> None:
    named = questions.rename(questions.with_name("wet,dry.jsonl"))
    shown = succeeded(call("eval", "--model", model, "--tasks", named, "--limit", 1, "--json")).stdout
    assert list(json.loads(shown)["results"]) == ["wet,dry"]
