"""`mlxllm eval` tells what the trainer told at its last validation."""

from pathlib import Path

import pytest

from mlxllm.data.build import build_dataset
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources import open_source
from mlxllm.runs import RunDirectory, read_events
from mlxllm.tokenizer.byte import ByteTokenizer
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
        process = succeeded(call("eval", "--model", model, "--data", data, "--json"))
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


def test_a_dataset_of_another_tokenizer_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    from mlxllm.tokenizer.char import CharTokenizer

    (tmp_path / "t.txt").write_text(tiny.text())
    chars = CharTokenizer(sorted(set(tiny.text())))
    build_dataset(tmp_path / "d", [(open_source(f"text:{tmp_path / 't.txt'}"), None)], chars, val_split=0.1)
    told = sentence(call("eval", "--model", trained[1], "--data", tmp_path / "d"), 1)
    assert "was made with another tokenizer" in told


def test_an_empty_validation_split_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(tiny.text())
    build_dataset(tmp_path / "d", [(open_source(f"text:{tmp_path / 't.txt'}"), None)], ByteTokenizer(), val_split=0.0)
    assert "--val-split" in sentence(call("eval", "--model", trained[1], "--data", tmp_path / "d"), 1)


@pytest.mark.parametrize("model", ["nope", "{run}@7", "{run}@nope"])
def test_a_model_that_is_not_there(trained: tuple[Path, Path], model: str) -> None:
    process = call("eval", "--model", model.format(run=trained[1]), "--data", trained[0])
    sentence(process, process.returncode)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "", "'' names no model; give a run"),
        ("--data", "", "--data is empty; give the name of a dataset"),
        ("--batch-size", "0", "--batch-size is 0; it should be 1 or more"),
        ("--max-seq-len", "1", "--max-seq-len is 1; it should be 2 or more"),
    ],
)
def test_values_that_cannot_be(trained: tuple[Path, Path], option: str, value: str, said: str) -> None:
    options = {"--model": trained[1], "--data": trained[0], option: value}
    assert said in sentence(call("eval", *(word for pair in options.items() for word in pair)), 2)
