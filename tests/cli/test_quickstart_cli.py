"""`mlxllm quickstart` as a process: it ends in time with a model that talks, and Ctrl-C loses nothing."""

import io
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlxllm.cli.corpora import FEWEST_CHARS, find_corpus
from mlxllm.cli.progress import TrainingView
from mlxllm.cli.quickstart import make_dataset
from mlxllm.config import RunConfig
from mlxllm.errors import DataError
from mlxllm.report.stages import stages_of
from mlxllm.runs import RunDirectory, find_run, read_events
from mlxllm.training.stages import dpo_recipe
from tests.training.tiny import call, sentence, succeeded

TEXT = "\n".join(
    f"The {a} {b} sat on the {c}, and the {c} was {d}."
    for a in ("old", "red", "shy")
    for b in ("cat", "dog", "hen", "fox")
    for c in ("mat", "wall", "roof")
    for d in ("warm", "wet")
    for _ in range(9)
)


SHORTER = """
import runpy
from mlxllm.cli import quickstart, whole_life, worlds
from mlxllm.evaluation import story_exam
quickstart._LEAST_MINUTES = 0.05
write = whole_life._generate
whole_life._generate = lambda loaded, ids, stop_ids, *_: write(loaded, ids, stop_ids, 30)
worlds._EXAM_QUESTIONS, worlds._EXAM_STORIES, story_exam._STORY_TOKENS = 20, 4, 30
runpy.run_module("mlxllm", run_name="__main__", alter_sys=True)
"""
"""Less time than users may ask for, and fewer examination questions: a model of seconds writes until it is cut off."""


def command(*more: str, corpus: Path | None = None) -> list[str]:
    """A quickstart that is shorter than it can be."""
    text = [] if corpus is None else ["--corpus", str(corpus)]
    return [sys.executable, "-c", SHORTER, "quickstart", "--device", "cpu", *text, *more]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A file of simple sentences."""
    path = tmp_path / "sentences of mine.txt"
    path.write_text(TEXT)
    return path


def test_it_ends_in_time_with_a_run_that_talks(text: Path, mlxllm_home: Path) -> None:
    begun = time.monotonic()
    result = subprocess.run(
        command("--minutes", "0.3", "--json", corpus=text), capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - begun < 48
    *events, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert events[0]["kind"] == "run_started"
    assert events[-1]["kind"] == "run_finished"
    assert set(last) == {"run", "val", "sample"}
    vals = [e["loss"] for e in events if e["kind"] == "val"]
    assert vals[-1] < 0.8 * vals[0]
    assert last["val"]["loss"] == vals[-1]
    assert "\x1b" not in result.stdout + result.stderr
    said = succeeded(call("sample", "--model", last["run"], "--prompt", "The", "--max-tokens", 5, "--json"))
    assert len(json.loads(said.stdout)["token_ids"]) <= 5


def test_ctrl_c_while_it_trains_saves_and_says_how_to_go_on(text: Path, mlxllm_home: Path) -> None:
    process = subprocess.Popen(
        command("--minutes", "5", "--run", "mine", corpus=text), stderr=subprocess.PIPE, text=True
    )
    run = RunDirectory(mlxllm_home / "runs" / "mine")
    deadline = time.monotonic() + 100
    while not (run.events.exists() and any(e["kind"] == "train" for e in read_events(run.events))):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, narration = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "resume mine" in narration
    assert re.search(r"^ +1 text, 3\d\.\d kB; a tokenizer of \d+ characters and bytes; ", narration, re.MULTILINE), (
        narration
    )
    made = max(e["step"] for e in read_events(run.events) if e["kind"] == "train")
    resumed = call("resume", "mine", "--max-steps", made + 2, "--json")
    if resumed.returncode == 2:  # the run was planned longer than that
        assert "is no extension" in resumed.stderr
    else:
        assert resumed.returncode == 0, resumed.stderr


def test_an_unknown_corpus_is_refused_in_one_sentence() -> None:
    assert refused("--corpus", "tails", code=2).startswith("error: --corpus 'tails' is none of")


def refused(*arguments: object, code: int = 1) -> str:
    """The sentence with which quickstart refuses before it has begun."""
    process = call("quickstart", *arguments)
    told = sentence(process, code)
    assert (process.stdout, len(process.stderr.splitlines())) == ("", 1)
    return told


def test_what_is_too_short_is_refused_before_anything_is_done(tmp_path: Path, mlxllm_home: Path) -> None:
    (tmp_path / "a.txt").write_text("A short note.\n")
    (tmp_path / "picture.png").write_bytes(bytes(5000))
    for corpus in (tmp_path, tmp_path / "a.txt", tmp_path / "*.txt"):
        told = refused("--corpus", corpus)
        assert f"--corpus {corpus}: its text has 14 characters, and a model needs 1,000 or more" in told
        assert "--val-split" not in told
    (tmp_path / "a.txt").unlink()
    assert "holds nothing to read: found 1 .png" in refused("--corpus", tmp_path)
    assert not any(mlxllm_home.iterdir())


def test_a_name_that_is_taken_is_refused_before_anything_is_done(text: Path, mlxllm_home: Path) -> None:
    (mlxllm_home / "datasets" / "mine").mkdir(parents=True)
    assert "there is a dataset 'mine' already" in refused("--corpus", text, "--run", "mine")
    (mlxllm_home / "runs" / "mine").mkdir(parents=True)
    (mlxllm_home / "runs" / "mine" / "config.json").write_text("{}")
    told = refused("--corpus", text, "--run", "mine")
    assert "run 'mine' exists already" in told
    assert "resume mine --minutes" in told


def test_without_a_network_shakespeare_is_refused_before_anything_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlxllm.data.sources.shakespeare.URL", "http://127.0.0.1:9/nothing-listens-here")
    assert "tiny Shakespeare could not be downloaded" in refused("--corpus", "shakespeare")


def test_the_shortest_text_leaves_a_row_on_each_side(tmp_path: Path, mlxllm_home: Path) -> None:
    (tmp_path / "short.txt").write_text(TEXT[:FEWEST_CHARS])
    corpus = str(tmp_path / "short.txt")
    dataset = make_dataset("short", corpus, find_corpus(corpus, 30), TrainingView(stream=io.StringIO()))
    assert dataset.train.num_tokens >= 33
    assert dataset.val.num_tokens >= 2


def test_text_of_which_nothing_can_be_held_out_is_refused_and_leaves_nothing(tmp_path: Path, mlxllm_home: Path) -> None:
    """Equal texts are split by their hash, so all of them stand on one side."""
    (tmp_path / "same.jsonl").write_text(200 * '{"text": "The same old story."}\n')
    corpus = str(tmp_path / "same.jsonl")
    with pytest.raises(DataError, match=r"same.jsonl: 0 tokens are left to hold out, and it takes 2; give more text"):
        make_dataset("same", corpus, find_corpus(corpus, 30), TrainingView(stream=io.StringIO()))
    assert not (mlxllm_home / "datasets" / "same").exists()


def test_a_recipe_follows_the_text_itself_not_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text(TEXT)
    (tmp_path / "film.mp4").write_bytes(bytes(3_000_000))
    recipe = find_corpus(str(tmp_path), 60)
    assert (recipe.tokenizer, recipe.tokens) == ("char", len(TEXT))
    (tmp_path / "b.md").write_text(TEXT * 20)
    assert find_corpus(str(tmp_path), 60).tokenizer == "bpe"


def test_a_model_of_one_text_is_asked_how_that_goes_on(tmp_path: Path) -> None:
    """Where a text begins was seen only once; what follows its first words, often in part."""
    (tmp_path / "one.txt").write_text("\n\n  The old  cat sat on the mat.\n" + TEXT)
    assert find_corpus(str(tmp_path / "one.txt"), 30).prompt == "The old  cat sat"
    (tmp_path / "title.md").write_text("# Cats\n" + TEXT)
    assert find_corpus(str(tmp_path / "title.md"), 30).prompt == "# Cats"
    (tmp_path / "unspaced.txt").write_text(2000 * "猫")
    assert find_corpus(str(tmp_path / "unspaced.txt"), 30).prompt == 40 * "猫"
    (tmp_path / "long.txt").write_text(100 * TEXT)  # read in several pieces
    assert find_corpus(str(tmp_path / "long.txt"), 30).prompt == "The old cat sat"
    for few, prompt in ((99, "Line 0 of text."), (100, "")):
        (tmp_path / "many.jsonl").write_text("".join(f'{{"text": "Line {n} of text."}}\n' for n in range(few)))
        assert find_corpus(str(tmp_path / "many.jsonl"), 30).prompt == prompt


def test_no_lessons_for_a_text_of_ones_own(text: Path, mlxllm_home: Path) -> None:
    told = refused("--corpus", text, "--chat", code=2)
    assert "--chat needs a corpus with questions and answers, stories or pydocs" in told
    assert "sft" in told
    assert not any(mlxllm_home.iterdir())


def test_a_whole_life(mlxllm_home: Path) -> None:
    """Pre-training, lessons, preferences, and an examination after each; what it says when it is too short is no matter."""
    begun = time.monotonic()
    result = subprocess.run(
        command("--minutes", "0.1", "--json"), capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - begun < 126
    *events, last = [json.loads(line) for line in result.stdout.splitlines()]
    assert [e["method"] for e in events if e["kind"] == "run_started"] == ["pretrain", "sft", "dpo"]
    assert last["run"] == "stories-1-dpo"
    assert list(last["stages"]) == ["base", "sft", "dpo"]
    for scores in last["stages"].values():
        assert set(scores) == {"answers", "words", "kind", "bits_per_byte"}
        assert all(0 <= scores[key] <= 1 for key in ("answers", "words", "kind"))
        assert 0 < scores["bits_per_byte"] < 8
    for stage in stages_of(find_run("stories-1-dpo")):  # what a report tells is what was found
        ((metrics, counted),) = [(found.result.metrics, found.result.settings["items"]) for found in stage.scores]
        assert {key: metrics[key] for key in last["stages"][stage.name]} == last["stages"][stage.name]
        for key, n in counted.items():
            assert metrics[f"{key}_stderr"] == pytest.approx((metrics[key] * (1 - metrics[key]) / n) ** 0.5)
    assert last["val"]["bits_per_byte"] > 0
    suggestions = json.loads((mlxllm_home / "runs" / "stories-1-dpo" / "suggestions.json").read_text())
    assert isinstance(suggestions, list)
    answered = subprocess.run(
        [sys.executable, "-m", "mlxllm", "chat", "--model", "stories-1-dpo"],
        input="Hello.\n/quit\n",
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "tuned to answer (base, then sft, then dpo)" in answered.stderr


def test_ctrl_c_in_the_lessons_says_how_to_live_on(mlxllm_home: Path) -> None:
    said = []
    with subprocess.Popen(command("--minutes", "0.1", "--run", "short"), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if line.startswith("4/6"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    left = [line.split(" mlxllm ", 1)[1].split() for line in said if " mlxllm " in line and "--learning-rate" in line]
    (*_, last) = left
    assert last[:3] == ["dpo", "--model", "short-sft"]
    loss = dpo_recipe([], RunConfig(), "").dpo
    assert loss is not None
    assert [float(last[last.index(f"--{name}") + 1]) for name in ("beta", "sft-weight")] == [loss.beta, loss.sft_weight]
    if len(left) == 2:  # the signal came before the run had begun
        assert left[0][:3] == ["sft", "--model", "short"]
        succeeded(call(*left[0], "--dry-run"))
    else:
        assert any("resume short-sft" in line for line in said)
