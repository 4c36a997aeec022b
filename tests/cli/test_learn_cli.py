"""`mlxllm learn`: chapters, answers and progress as a reader types them, and every experiment on a tiny model."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlxllm.learn.contents import CHAPTERS
from mlxllm.learn.progress import FILE
from mlxllm.learn.subjects import LESSON, find_subjects
from mlxllm.learn.trying import trial
from mlxllm.speed import write_speed
from tests.cli.tuned import PAIRS
from tests.test_speed import MEASURED
from tests.training.tiny import call, json_lines, run_cli, sentence, succeeded


def told(*arguments: object) -> dict[str, Any]:
    [shown] = json_lines(succeeded(call("learn", *arguments, "--json")).stdout)
    return shown


def test_the_list_says_how_far_one_is_and_what_is_next() -> None:
    shown = told()
    assert [each["title"] for each in shown["chapters"]] == [each.title for each in CHAPTERS]
    assert (shown["next"], shown["last"]) == (1, 0)
    succeeded(call("learn", 1, "--done"))
    succeeded(call("learn", 2))
    shown = told()
    assert [each["done"] for each in shown["chapters"]] == [True] + 9 * [False]
    assert shown["chapters"][1] | {"read": True, "tried": False, "answered": False} == shown["chapters"][1]
    assert (shown["next"], shown["last"]) == (2, 2)
    listed = succeeded(call("learn"))
    assert [line.split() for line in listed.stdout.splitlines()][1:3] == [
        ["1", "Characters", "done"],
        ["2", "Byte-pair", "encoding", "read"],
    ]
    assert "1 of 10 done; go on with `mlxllm learn 2`" in listed.stderr
    assert "forgotten" in succeeded(call("learn", "--reset")).stderr
    assert not any(each["read"] or each["done"] for each in told()["chapters"])


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_a_chapter_is_shown_without_its_answer(chapter: Any) -> None:
    text = succeeded(call("learn", chapter.number)).stdout
    for line in (*chapter.lines, *chapter.formula.split("\n"), chapter.question):
        assert line in text
    for reference in chapter.references:
        assert reference.text in text
    assert chapter.answer not in text
    assert "answer" not in told(chapter.number)
    assert chapter.answer in succeeded(call("learn", chapter.number, "--answer")).stdout
    assert told(chapter.number, "--answer")["answer"] == chapter.answer
    assert told(chapter.number)["answered"]


def test_on_a_terminal_of_other_letters_the_formula_is_spelled_out() -> None:
    process = run_cli("learn", 9, environment={"PYTHONIOENCODING": "latin-1"})
    assert process.returncode == 0, process.stderr
    assert "L = -log sigmoid(beta h)" in process.stdout


REFUSED = [
    ("11", 2, "there is no chapter 11; they are numbered 1 to 10"),
    ("--run", 2, "--run is about one chapter; give its number"),
    ("3 --reset", 2, "give it alone"),
    ("5 --run", 1, "`mlxllm learn 1 --run` trains one in a minute"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED)
def test_what_is_refused(arguments: str, code: int, words: str) -> None:
    assert words in sentence(call("learn", *arguments.split()), code)


def test_a_damaged_file_of_progress_is_a_sentence(mlxllm_home: Path) -> None:
    (mlxllm_home / FILE).write_text("{broken")
    assert "the tour begins anew" in succeeded(call("learn")).stderr
    assert "the tour begins anew" in succeeded(call("learn", 4)).stderr
    assert "warning" not in succeeded(call("learn", 5)).stderr
    assert json.loads((mlxllm_home / FILE).read_text())["last"] == 5


def test_without_a_model_the_first_chapter_makes_one() -> None:
    shown = told(1)["experiment"]
    assert shown["command"] == "mlxllm quickstart --minutes 1 --corpus stories --no-chat --run stories-1"
    assert shown["args"][0] == "quickstart"
    missing = told(4)["experiment"]
    assert (missing["command"], missing["args"]) == ("", [])
    assert "trains one in a minute" in missing["missing"]


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a dataset, a model of two steps and one that has learned from preferences."""
    return tmp_path_factory.mktemp("lived")


@pytest.fixture
def home(lived: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("MLXLLM_HOME", str(lived))
    if not (lived / "runs").exists():
        write_speed(MEASURED)
        pairs = lived / "pairs of mine.jsonl"
        pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
        succeeded(call("data", "build", "tales", "--source", "stories:120", "--tokenizer", "bpe:320"))
        short = ("--max-steps", 2, "--set", "train.sample_every=0")
        succeeded(call("train", "--preset", "char-tiny", "--data", "tales", "--run", "first", *short))
        tuning = (*short, "--batch-size", 2, "--max-seq-len", 128, "--learning-rate", "1e-2")
        succeeded(call("dpo", "--model", "first", "--data", pairs, "--run", "liked", *tuning))
    return lived


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.title)
def test_every_experiment_runs_on_a_tiny_model(home: Path, chapter: Any) -> None:
    found = trial(chapter, find_subjects())
    assert found.args, found.missing
    assert not found.makes_a_model
    said = told(chapter.number)["experiment"]
    assert shlex.split(said["command"]) == ["mlxllm", *found.args]
    result = succeeded(call(*found.args))
    assert result.stdout or result.stderr


def test_an_experiment_is_run_as_a_process_and_noted(home: Path) -> None:
    process = run_cli("learn", 7, "--run")
    assert process.returncode == 0, process.stderr
    assert "pre-training  first" in process.stdout
    assert "$ mlxllm runs show liked --compute" in process.stderr
    assert CHAPTERS[6].experiments[0].look in process.stderr
    assert told()["chapters"][6]["tried"]
    [shown] = json_lines(succeeded(call("learn", 2, "--run", "--json")).stdout)
    assert shown["run"]["returncode"] == 0
    assert "bytes a token" in shown["run"]["stdout"]
    assert shown["tried"]


def test_an_experiment_that_fails_is_not_noted(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = home / "runs" / "liked" / "config.json"
    kept = config.read_text()
    try:
        config.write_text('{"method": "dpo", "model": {"hidden_size": 0}}')
        process = run_cli("learn", 7, "--run", "--json")
        assert process.returncode == 2
        assert "hidden_size" in process.stderr
        assert json.loads(process.stdout)["run"]["returncode"] == 2
    finally:
        config.write_text(kept)


def test_who_has_no_preferences_learns_from_those_of_the_tour(home: Path) -> None:
    """The ninth chapter first makes a run, and then shows what it has moved."""
    without = {name: value for name, value in find_subjects().items() if name not in ("dpo", "pairs")}
    first = trial(CHAPTERS[8], without)
    assert first.args[:3] == ("dpo", "--model", "liked")
    succeeded(call(*first.args, "--max-steps", 2))
    found = find_subjects()
    assert (found["dpo"], found["pairs"]) == ("liked-1", str(LESSON))
    shown = succeeded(call(*trial(CHAPTERS[8], found).args)).stdout
    assert "24 pairs; reference " in shown
    assert "the pair that training has moved most" in shown
