"""What a model has cost: `runs show --compute` counts what `plan` counts, over all stages, beside published numbers."""

from pathlib import Path

import pytest

from mlxllm.config import RunConfig
from mlxllm.estimate import flops_per_token
from mlxllm.estimate.spent import PUBLISHED, Spent, beside, spent_by
from mlxllm.runs import RunDirectory, write_json_atomic
from tests.training.tiny import MODEL, call, json_lines, sentence, succeeded
from tests.tui.runs import TOKENS_PER_STEP, make_run

SHAPE = {**MODEL, "vocab_size": 300}


def stage(name: str, method: str, steps: int, base: RunDirectory | None = None) -> tuple[RunDirectory, RunConfig]:
    """An ended run with the settings of a real one."""
    run = make_run(name, steps=steps, method=method)
    config = RunConfig.model_validate(
        {
            "method": method,
            "base_model": str(base.path) if base is not None else "",
            "model": SHAPE,
            "data": {"max_seq_len": 16},
            "train": {"batch_size": 4, "grad_accum_steps": 3, "max_steps": max(steps, 1)},
            **({"dpo": {}} if method == "dpo" else {}),
        }
    )
    write_json_atomic(run.config, config.model_dump(mode="json"))
    return run, config


def test_stages_are_counted_as_plan_counts() -> None:
    base, pretrain = stage("base", "pretrain", 40)
    tuned, _ = stage("tuned", "sft", 10, base)
    liked, dpo = stage("liked", "dpo", 5, tuned)
    found = spent_by(liked)
    assert [(one.run, one.method) for one in found] == [("base", "pretrain"), ("tuned", "sft"), ("liked", "dpo")]
    assert [one.tokens for one in found[:2]] == [40 * 4 * 3 * 16, 10 * 4 * 3 * 16]
    assert found[2].tokens == 5 * TOKENS_PER_STEP, "pairs are of any length: their trainer has counted them"
    assert found[0].flops == found[0].tokens * flops_per_token(pretrain)
    assert found[2].flops == found[2].tokens * flops_per_token(dpo)
    told = beside(found)
    assert sum(one["share"] for one in told["stages"]) == pytest.approx(1)
    assert told["stages"][0]["share"] == pytest.approx(found[0].flops / told["flops"])
    for one, model in zip(told["published"], PUBLISHED, strict=True):
        assert one["seconds_here"] * found[0].flops_per_second == pytest.approx(model.flops)
        assert one["times"] * told["flops"] == pytest.approx(model.flops)
    assert spent_by(base) == found[:1]


def test_published_operations_are_those_that_the_papers_tell() -> None:
    """GPT-3's appendix D has 3.14e23, Chinchilla's 5.76e23 (with attention's products), Llama 3.1's 3.8e25."""
    flops = {model.name: model.flops for model in PUBLISHED}
    assert flops["GPT-3"] == pytest.approx(3.14e23, rel=0.01)
    assert flops["Chinchilla"] == pytest.approx(5.76e23, rel=0.03)
    assert flops["Llama 3.1 405B"] == pytest.approx(3.8e25, rel=0.01)


def test_a_run_without_steps_has_no_shares() -> None:
    run, _ = stage("young", "pretrain", 0)
    told = beside(spent_by(run))
    assert (told["flops"], told["stages"][0]["share"]) == (0, None)
    assert {one["times"] for one in told["published"]} == {one["seconds_here"] for one in told["published"]} == {None}
    assert "young" in succeeded(call("runs", "show", "young", "--compute")).stdout
    assert Spent("x", "sft", 1, 1, 1, 1.0, 0.0).flops_per_second == 0


def test_the_command_shows_and_prints_it(mlxllm_home: Path) -> None:
    base, _ = stage("base", "pretrain", 40)
    stage("tuned", "sft", 10, base)
    [shown] = json_lines(succeeded(call("runs", "show", "tuned", "--compute", "--json")).stdout)
    assert shown["name"] == "tuned"
    assert [one["run"] for one in shown["compute"]["stages"]] == ["base", "tuned"]
    text = succeeded(call("runs", "show", "tuned", "--compute")).stdout
    assert "80.0 %" in text
    assert "arXiv:2407.21783" in text
    (mlxllm_home / "runs" / "base" / "config.json").write_text('{"model": {"hidden_size": 0}}')
    assert "hidden_size" in sentence(call("runs", "show", "base", "--compute"), 2)
