"""Results of evaluations are kept by the weights that they belong to."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from mlxllm.scores import Result, keep, results_of


def result(task: str = "arc", weights: str = "a" * 64, **given: object) -> Result:
    fields = {"metrics": {"acc": 0.25, "acc_stderr": 0.1}, "samples": 20, "model": "runs/one@40", "step": 40}
    return Result(task=task, fingerprint=weights, **(fields | given))


@dataclass(frozen=True)
class Model:
    address: str = "runs/one@40"
    fingerprint: str = "a" * 64
    step: int | None = 40


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MLXLLM_HOME", str(tmp_path))
    return tmp_path


def test_a_result_is_found_by_its_weights() -> None:
    kept = result(time=1.0)
    keep(kept)
    keep(result(weights="b" * 64))
    assert results_of("a" * 64) == [kept]
    assert kept.error_of("acc") == 0.1
    assert kept.error_of("nothing") is None


def test_the_same_evaluation_replaces_and_another_setting_stands_beside() -> None:
    keep(result(time=1.0))
    keep(result(time=2.0, metrics={"acc": 0.5}))
    keep(result(time=3.0, settings={"limit": 5}))
    assert [(r.time, r.metrics["acc"]) for r in results_of("a" * 64)] == [(2.0, 0.5), (3.0, 0.25)]


def test_what_is_not_a_number_is_none_and_a_damaged_file_is_passed_over() -> None:
    path = keep(result(metrics={"ppl": math.inf}))
    assert results_of("a" * 64)[0].metrics == {"ppl": None}
    path.write_text("{")
    assert results_of("a" * 64) == []


def test_a_result_of_a_model_bears_its_name_weights_and_step() -> None:
    made = Result.of(Model(), "arc", {"acc": 0.25, "acc_stderr": 0.1}, 20, settings={"limit": 5}, seconds=1.5)
    assert (made.model, made.fingerprint, made.step) == ("runs/one@40", "a" * 64, 40)
    assert made == result(settings={"limit": 5}, seconds=1.5, time=made.time)
