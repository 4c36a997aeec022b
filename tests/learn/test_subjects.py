"""What experiments are run on: the newest of everything that can be loaded, by the names that one types."""

import json
from pathlib import Path
from typing import Any

from mlxllm.ablation.record import write_ablation
from mlxllm.learn.subjects import LESSON, find_subjects
from mlxllm.runs import RunDirectory
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.ablation.made import ablation
from tests.tui.runs import make_run


def made(
    name: str, settings: dict[str, Any], *, at: float, method: str = "pretrain", weights: bool = True
) -> RunDirectory:
    """An ended run whose checkpoint is there by its name."""
    run = make_run(name, steps=3, method=method, checkpoint_every=3 if weights else 0, began=at)
    run.config.write_text(json.dumps({"method": method, **settings}))
    for folder in run.checkpoints.iterdir() if weights else ():
        (folder / "manifest.json").write_text("{}")
    return run


def test_an_empty_home_has_free_names_only(mlxllm_home: Path) -> None:
    free = {"new": "stories-1", "liked": "liked-1", "letters": "letters-1", "pieces": "pieces-1", "lesson": str(LESSON)}
    assert find_subjects() == free
    (mlxllm_home / "datasets" / "stories-1").mkdir(parents=True)
    CharTokenizer("abc").save(mlxllm_home / "tokenizers" / "letters-1")
    assert find_subjects() == {**free, "new": "stories-2", "letters": "letters-2", "char": "letters-1"}


def test_the_newest_that_can_be_loaded_is_taken(mlxllm_home: Path, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs of mine.jsonl"
    pairs.write_text("")
    (mlxllm_home / "datasets" / "tales").mkdir(parents=True)
    made("old", {"data": {"dataset": str(mlxllm_home / "datasets" / "tales")}}, at=1e9)
    preferences = {"data": {"records": [str(tmp_path / "gone.jsonl"), str(pairs)], "val_records": []}}
    liked = made("liked", preferences, at=2e9, method="dpo")
    made("later", {"data": {"records": ["owner/name"]}}, at=3e9, method="dpo")
    made("unborn", {}, at=4e9, weights=False)
    CharTokenizer("abc").save(liked.path / "tokenizer")
    found = find_subjects()
    assert (found["model"], found["dataset"]) == ("later", "tales")
    assert (found["dpo"], found["pairs"]) == ("liked", str(pairs)), "the pairs of the newest are gone"
    assert found["char"] == str(liked.path / "tokenizer")
    assert "bpe" not in found


def test_what_is_damaged_is_passed_over(mlxllm_home: Path) -> None:
    run = made("odd", {"data": {"dataset": 3, "records": "x"}}, at=1e9, method="dpo")
    (run.path / "tokenizer").mkdir(exist_ok=True)
    (run.path / "tokenizer" / "tokenizer_config.json").write_text("[1]")
    (mlxllm_home / "tokenizers").mkdir()
    (mlxllm_home / "tokenizers" / "file").write_text("")
    ByteTokenizer().save(mlxllm_home / "tokenizers" / "bytes")
    found = find_subjects()
    assert found["model"] == "odd"
    assert not found.keys() & {"dpo", "pairs", "dataset", "bpe", "char"}
    run.config.write_text("{broken")
    assert find_subjects()["model"] == "odd"


def test_runs_of_ablations_are_passed_over(mlxllm_home: Path) -> None:
    made("mine", {}, at=1e9)
    made("taken-apart-base-s42", {}, at=2e9)
    write_ablation("taken-apart", ablation({"base": [3.0], "none": [3.5]}))
    (mlxllm_home / "ablations" / "broken").mkdir()
    (mlxllm_home / "ablations" / "broken" / "ablation.json").write_text("{")
    assert find_subjects()["model"] == "mine"
