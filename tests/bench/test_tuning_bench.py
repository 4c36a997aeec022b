"""The benchmarks of fine-tuning at a tiny size: they run, print what they promise, and refuse comparisons that are none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
TINY = (
    "--layers 2 --hidden 32 --heads 4 --kv-heads 2 --inner 48 --vocabulary 512 "
    "--batches 2 --batch-size 2 --max-seq-len 64 --rounds 1"
).split()


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of conversations and one of preferences, of many lengths."""
    words = "the a king queen and speaks of love night day sword sea come go".split()
    draw = np.random.default_rng(0)

    def text() -> str:
        return " ".join(words[i] for i in draw.integers(len(words), size=draw.integers(2, 20)))

    folder = tmp_path_factory.mktemp("records")
    rows = {
        "sft": [{"instruction": text(), "input": "", "output": text()} for _ in range(12)],
        "dpo": [{"prompt": text(), "chosen": text(), "rejected": text()} for _ in range(12)],
    }
    for name, content in rows.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return {name: folder / f"{name}.json" for name in rows}


def start(script: str, *options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / script), "--json", "--force", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "MLX_DISABLE_COMPILE": "1"})


def run(script: str, *options: object) -> tuple[dict[str, Any], str]:
    """The JSON object of a benchmark, and its table."""
    done = start(script, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.parametrize(("kind", "unit"), [("sft", "trained tokens a second"), ("dpo", "pairs a second")])
def test_it_runs_ours_alone(records: dict[str, Path], kind: str, unit: str) -> None:
    result, table = run(f"{kind}.py", "--ours-only", "--records", records[kind], *TINY)
    assert result["ratio"] is result["ratio_memory"] is None
    assert unit in table
    lora, full = (result["methods"][method] for method in ("lora", "full"))
    assert lora["parameters"] < full["parameters"]
    for numbers in (lora, full):
        assert numbers["ours"]["rate"][0] > 0
        assert numbers["peer"] is None
    # Weights, gradients and two moments are alive in a step.
    assert full["ours"]["peak_memory"][0] > 4 * 4 * full["parameters"]
    assert result["data"]["used"] == 4


@pytest.mark.peers
@pytest.mark.parametrize("kind", ["sft", "dpo"])
def test_it_compares_with_the_peer(records: dict[str, Path], kind: str) -> None:
    """That the first losses agree is checked on the way."""
    result, _ = run(f"{kind}.py", "--records", records[kind], *TINY)
    ratios = []
    for numbers in result["methods"].values():
        ours, peer = numbers["ours"], numbers["peer"]
        assert numbers["ratio"] == pytest.approx(ours["rate"][0] / peer["rate"][0])
        assert numbers["ratio_memory"] == pytest.approx(peer["peak_memory"][0] / ours["peak_memory"][0])
        alone = ours["steps_rate"][0] / peer["rate"][0] if kind == "dpo" else None
        assert numbers["ratio_steps"] == (pytest.approx(alone) if alone else None)
        ratios.append(numbers["ratio"])
    assert result["ratio"] == min(ratios)


def test_the_reference_is_paid_for_in_each_pass(records: dict[str, Path]) -> None:
    result, table = run("dpo.py", "--ours-only", "--method", "lora", "--records", records["dpo"], *TINY)
    ours = result["methods"]["lora"]["ours"]
    assert ours["reference_seconds"] > 0
    assert ours["rate"][0] == pytest.approx(4 / (ours["reference_seconds"] + sum(ours["step_seconds"])))
    assert ours["steps_rate"][0] == pytest.approx(4 / sum(ours["step_seconds"]))
    assert "steps alone" in table


def test_without_records_it_says_how_to_give_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLXLLM_TEST_DATA", raising=False)
    done = start("dpo.py", "--ours-only")
    assert done.returncode == 1
    assert "--records FILE" in done.stderr.splitlines()[-1]
    done = start("dpo.py", "--ours-only", "--records", "/no/such/file")
    assert done.stderr.splitlines()[-1] == "error: /no/such/file is not a file; give --records FILE"


def test_more_batches_than_there_are_end_in_one_sentence(records: dict[str, Path]) -> None:
    done = start("sft.py", "--ours-only", "--records", records["sft"], *TINY, "--batches", 9)
    assert done.returncode == 1
    assert "--batches 9" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


# The modules themselves, for what a whole run cannot show.


def test_sft_refuses_sides_that_learn_other_things(bench: Any) -> None:
    module = bench("sft")
    facts = {"tokens": 9, "first_loss": 5.0, "last_loss": 4.0}
    ours = module.Side("ours", facts=facts)
    module.check(ours, module.Side("peer", facts=facts), "lora")
    for change, message in (
        ({"tokens": 8}, "tokens to learn"),
        ({"first_loss": 5.01}, "before the first step"),
        ({"last_loss": 5.0}, "peer does not learn"),
        ({"last_loss": float("nan")}, "peer does not learn"),
    ):
        with pytest.raises(module.BenchError, match=message):
            module.check(ours, module.Side("peer", facts=facts | change), "lora")


def test_dpo_refuses_sides_that_score_differently(bench: Any) -> None:
    module = bench("dpo")
    facts = {"losses": [0.6931, 0.6], "chosen": -50.0, "rejected": -60.0}
    ours = module.Side("ours", facts=facts)
    module.check(ours, module.Side("peer", facts=facts), "full")
    for change, message in (
        ({"losses": [0.6941, 0.6]}, "the first loss"),
        ({"chosen": -50.1}, "log-probability of chosen"),
        ({"rejected": -61.0}, "log-probability of rejected"),
        ({"losses": [0.6931, 0.61]}, "the last loss"),
    ):
        with pytest.raises(bench("common").BenchError, match=message):
            module.check(ours, module.Side("peer", facts=facts | change), "full")


def test_the_ratio_is_that_of_the_method_where_ours_is_the_least_ahead(bench: Any) -> None:
    tuning, comparison = bench("tuning"), bench("sft").COMPARISON
    facts = dict.fromkeys("parameters mlx blas device lanes compiled version".split(), 0) | {"details": {}}

    def side(name: str, rate: float, memory: float) -> Any:
        made = tuning.Side(name)
        made.add(facts | {"rate": rate, "peak_memory": memory, "footprint": 1, "first_pass_seconds": 1.0}, *LABELS)
        return made

    sides = {
        "lora": (side("ours", 30, 10), side("mlx-lm", 10, 30)),
        "full": (side("ours", 20, 10), side("mlx-lm", 10, 40)),
    }
    result = tuning.outcome(comparison, sides, {"text": ""}, type("Args", (), {"batch_size": 4}))
    assert (result["ratio"], result["ratio_memory"]) == (2, 3)
    assert result["methods"]["lora"]["ratio"] == 3


LABELS = ("rate", "peak_memory", "footprint", "first_pass_seconds")
