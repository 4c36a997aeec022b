"""`mlxllm eval` tells what the trainer told at its last validation."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxllm.data.build import build_dataset
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.evaluation import perplexity
from mlxllm.model.loading import load_model
from mlxllm.runs import RunDirectory, read_events
from mlxllm.scores import results_of
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.inference.tiny import tiny as tiny_inference
from tests.inference.tiny import write_folder
from tests.training import tiny
from tests.training.tiny import call, json_lines, sentence, succeeded


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(dataset of two sources, run that was trained on it)."""
    folder = tmp_path_factory.mktemp("eval")
    (folder / "squares.txt").write_text(tiny.text())
    (folder / "counting.txt").write_text("\n".join(f"{n}, {n + 1}, {n + 2} ä" for n in range(300)))
    sources = [(open_source(f"text:{folder / name}.txt"), None) for name in ("squares", "counting")]
    build_dataset(folder / "data", sources, ByteTokenizer(), val_split=0.1)
    settings = tiny.config(folder / "data", optimizer="muon", max_steps=30, eval_every=10, checkpoint_every=10)
    tiny.train(folder / "run", settings)
    return folder / "data", folder / "run"


def test_eval_equals_the_trainers_validations(trained: tuple[Path, Path]) -> None:
    data, run = trained
    vals = {e["step"]: e for e in read_events(RunDirectory(run).events) if e["kind"] == "val"}
    for model, step in ((str(run), 30), (f"{run}@20", 20)):
        process = succeeded(call("eval", "--model", model, "--data", data, "--fresh", "--json"))
        assert process.stderr == ""
        [shown] = json_lines(process.stdout)
        assert shown["step"] == step
        for key in ("loss", "bits_per_byte", "perplexity"):
            assert shown["results"]["all"][key] == pytest.approx(vals[step][key], rel=1e-5)
        assert shown["results"]["all"]["tokens"] == vals[step]["tokens"]
        names = set(shown["results"]) - {"all"}
        assert names == set(vals[step]["sources"])
        assert len(names) == 2
        for name in names:
            assert shown["results"][name]["loss"] == pytest.approx(vals[step]["sources"][name]["loss"], rel=1e-5)
    parts = [score for name, score in shown["results"].items() if name != "all"]
    everything = shown["results"]["all"]
    assert sum(p["tokens"] for p in parts) == everything["tokens"] == TokenDataset.open(data).val.num_tokens - 1
    assert sum(p["loss"] * p["tokens"] for p in parts) == pytest.approx(everything["loss"] * everything["tokens"])
    assert sum(p["bytes"] for p in parts) == everything["bytes"]


def test_the_table(trained: tuple[Path, Path]) -> None:
    data, run = trained
    process = succeeded(call("eval", "--model", run, "--data", data, "--batch-size", 3, "--max-seq-len", 8))
    head, *lines = process.stdout.splitlines()
    assert head.split() == ["loss", "perplexity", "bits/byte", "tokens"]
    assert len(lines) == 3
    assert lines[0].startswith("all ")
    assert "\x1b" not in process.stdout


def test_a_dataset_of_another_tokenizer_is_encoded_again(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """The same text behind two tokenizers gives the same bits per byte, for all and for each source."""
    data, run = trained
    sources = [(open_source(f"text:{data.parent / name}.txt"), None) for name in ("squares", "counting")]
    build_dataset(tmp_path / "chars", sources, CharTokenizer(["ä", *map(str, range(10))]), val_split=0.1)
    process = succeeded(call("eval", "--model", run, "--data", tmp_path / "chars", "--json"))
    assert "was made with another tokenizer (char, " in process.stderr
    [shown], [own] = (json_lines(p.stdout) for p in (process, call("eval", "--model", run, "--data", data, "--json")))
    assert shown["results"] == own["results"]


def test_texts_as_they_are(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """A file, a folder and JSON lines of the same documents give the same scores; several are told by their names."""
    run = trained[1]
    documents = ["One is one.", "Zwei sind größer als eins.", "3 squared is 9."]
    (tmp_path / "a.txt").write_text("\n<|endoftext|>\n".join(documents))
    (tmp_path / "b.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    (tmp_path / "folder").mkdir()
    for number, text in enumerate(documents):
        (tmp_path / "folder" / f"{number}.txt").write_text(text)
    names = [str(tmp_path / name) for name in ("a.txt", "b.jsonl", "folder")]
    asked = [word for name in names for word in ("--data", name)]
    [shown] = json_lines(succeeded(call("eval", "--model", run, *asked, "--json")).stdout)
    assert list(shown["results"]) == names
    assert shown["results"][names[0]] == shown["results"][names[1]] == shown["results"][names[2]]
    assert shown["results"][names[0]]["bytes"] == sum(len(text.encode()) for text in documents) - 1


def test_an_evaluation_goes_on_where_it_was_interrupted(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = trained
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path))
    command = ("eval", "--model", run, "--data", data, "--batch-size", 2, "--max-seq-len", 12, "--stride", 5, "--json")
    token_losses, calls = perplexity.token_losses, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 21:
            raise KeyboardInterrupt
        return token_losses(*arguments, **options)

    monkeypatch.setattr(perplexity, "token_losses", interrupted)
    assert call(*command).returncode == 130
    process = succeeded(call(*command))
    assert "goes on behind window 40 of " in process.stderr
    again = succeeded(call(*command))
    needed = len(calls)
    assert json_lines(again.stdout) == json_lines(process.stdout)
    assert len(calls) == needed, "what is known is not computed again"
    assert "--fresh computes it anew" in again.stderr
    assert json_lines(succeeded(call(*command, "--fresh")).stdout) == json_lines(process.stdout)
    fresh, needed = len(calls) - needed, len(calls)
    [file] = (tmp_path / "cache" / "evaluations").glob("*/data-*.json")
    file.write_text(file.read_text()[:100])
    assert json_lines(succeeded(call(*command)).stdout) == json_lines(process.stdout)
    assert len(calls) == needed + fresh, "damaged: all of it once more"


def test_scores_are_kept_for_a_report(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, run = trained
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path))
    [shown] = json_lines(succeeded(call("eval", "--model", run, "--data", data, "--limit", 3, "--json")).stdout)
    kept = results_of(load_model(str(run)).fingerprint)
    succeeded(call("eval", "--model", run, "--data", data, "--limit", 3))
    assert results_of(load_model(str(run)).fingerprint) == kept, "with the time that it really took"
    assert {r.task for r in kept} == {f"data:{data}", *(f"data:{data}/{n}" for n in shown["results"] if n != "all")}
    [everything] = [r for r in kept if r.task == f"data:{data}"]
    assert everything.metrics["bits_per_byte"] == shown["results"]["all"]["bits_per_byte"]
    assert everything.error_of("loss") == shown["results"]["all"]["loss_stderr"]
    assert everything.samples == everything.settings["limit"] == 3


def test_nothing_asked(trained: tuple[Path, Path]) -> None:
    assert "nothing to evaluate; give --data NAME" in sentence(call("eval", "--model", trained[1]), 2)


def test_a_model_without_its_tokenizer_or_with_another_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", tiny_inference())
    succeeded(call("eval", "--model", folder, "--data", trained[0], "--limit", 1))
    CharTokenizer([chr(c) for c in range(0x400, 0x480)]).save(folder / "tokenizer")
    assert "do not belong together" in sentence(call("eval", "--model", folder, "--data", trained[0]), 1)
    shutil.rmtree(folder / "tokenizer")
    assert "the tokenizer of the model" in sentence(call("eval", "--model", folder, "--data", trained[0]), 1)


def test_a_model_without_numbers_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    model = tiny_inference()
    model.model.norm.weight = model.model.norm.weight * float("nan")
    folder = write_folder(tmp_path / "model", model)
    assert "is not a number; its weights cannot be used" in sentence(
        call("eval", "--model", folder, "--data", trained[0]), 1
    )


def test_a_perplexity_beyond_all_numbers_is_null_in_json(trained: tuple[Path, Path], tmp_path: Path) -> None:
    model = tiny_inference()
    model.model.norm.weight = model.model.norm.weight * 1e6
    folder = write_folder(tmp_path / "model", model)
    [shown] = json_lines(succeeded(call("eval", "--model", folder, "--data", trained[0], "--json")).stdout)
    assert shown["results"]["all"]["loss"] > 700
    assert shown["results"]["all"]["perplexity"] is None


def test_an_empty_validation_split_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(tiny.text())
    build_dataset(tmp_path / "d", [(open_source(f"text:{tmp_path / 't.txt'}"), None)], ByteTokenizer(), val_split=0.0)
    assert "--val-split" in sentence(call("eval", "--model", trained[1], "--data", tmp_path / "d"), 1)


def test_questions_are_no_text(trained: tuple[Path, Path], tmp_path: Path) -> None:
    path, folder = tmp_path / "wet.jsonl", tmp_path / "tables"
    path.write_text(json.dumps({"query": "Wet?", "choices": ["no", "yes"], "gold": 1}) + "\n")
    (folder / "test").mkdir(parents=True)
    (folder / "test" / "rain_test.csv").write_text("Wet?,no,yes,maybe,so,B\n")
    for data in (path, folder):
        told = sentence(call("eval", "--model", trained[1], "--data", data), 2)
        assert (
            f"--data {data} has questions with known answers, and no text to score; ask them with --tasks {data}"
            in told
        )
    path.write_text(json.dumps({"question": "Wet?", "answer": "#### 1", "text": "It is a wet day. " * 9}) + "\n")
    succeeded(call("eval", "--model", trained[1], "--data", path))


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("nope", 2, "there is no run 'nope'"),
        ("{run}@7", 1, "run 'run' has no checkpoint of step 7; there are the steps"),
        ("{run}@nope", 2, "asks for the checkpoint 'nope'; write "),
    ],
)
def test_a_model_that_is_not_there(trained: tuple[Path, Path], model: str, code: int, said: str) -> None:
    assert said in sentence(call("eval", "--model", model.format(run=trained[1]), "--data", trained[0]), code)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "", "'' names no model; give a run"),
        ("--data", "", "--data is empty; give the name of a dataset"),
        ("--batch-size", "0", "--batch-size is 0; it should be 1 or more"),
        ("--max-seq-len", "1", "--max-seq-len is 1; it should be 2 or more"),
        ("--stride", "0", "--stride is 0; it should be 1 or more"),
        ("--stride", "17", "--stride is 17, but a window has 16 tokens"),
        ("--limit", "0", "--limit is 0; it should be 1 or more"),
        ("--data", "tale", "there is no dataset 'tale'"),
        ("--data", "nosuch.txt", "--data nosuch.txt: there is no such file or folder; give a file or folder of text"),
        ("--data", "{folder}/counting.text", "such file or folder (near names there: counting.txt); give"),
        ("--data", "{folder}/no/where.txt", "there is no folder {folder}/no; give a file"),
    ],
)
def test_values_that_cannot_be(trained: tuple[Path, Path], option: str, value: str, said: str) -> None:
    folder = trained[0].parent
    options = {"--model": trained[1], "--data": trained[0], option: value.format(folder=folder)}
    said = said.format(folder=folder)
    assert said in sentence(call("eval", *(word for pair in options.items() for word in pair)), 2)


def test_the_loss_of_every_token(trained: tuple[Path, Path], tmp_path: Path) -> None:
    """Their mean is the loss that is told, and they begin with those that the trainer kept."""
    data, run = trained
    file = tmp_path / "new" / "losses.jsonl"
    call("eval", "--model", run, "--data", data)  # what is known from before is no help here
    [shown] = json_lines(succeeded(call("eval", "--model", run, "--data", data, "--per-token", file, "--json")).stdout)
    lines = json_lines(file.read_text())
    val = TokenDataset.open(data).val
    assert [line["position"] for line in lines] == list(range(1, val.num_tokens))
    assert [line["id"] for line in lines] == val.read(1, val.num_tokens - 1).tolist()
    losses = [line["loss"] for line in lines]
    assert np.float32(losses).astype(float).mean() == pytest.approx(shown["results"]["all"]["loss"], rel=1e-12)
    probe = [e for e in read_events(RunDirectory(run).events) if e["kind"] == "probe"][-1]
    assert probe["step"] == 30
    assert probe["losses"][1:] == pytest.approx(losses[: len(probe["losses"]) - 1], rel=1e-5)
    assert "--per-token is about held-out text" in sentence(
        call("eval", "--model", run, "--tasks", "x.jsonl", "--per-token", file), 2
    )
    assert "cannot write" in sentence(call("eval", "--model", run, "--data", data, "--per-token", data), 2)
