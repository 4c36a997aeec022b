"""The benchmarks at a tiny size: they run, print what they promise, and refuse comparisons that are none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
SHAPE = "--layers 2 --hidden 64 --heads 4 --kv-heads 2 --inner 96 --vocabulary 512".split()
THROUGHPUT = [*SHAPE, *"--length 32 --batch-size 2 --steps 2 --rounds 1".split()]
DECODE = [*SHAPE, *"--max-tokens 16 --repeats 1 --rounds 1 --cold".split()]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    words = "the a king queen and speaks of love night day sword sea\n Come go".split(" ")
    drawn = np.random.default_rng(0).integers(len(words), size=1500)
    path = tmp_path / "text.txt"
    path.write_text(" ".join(words[i] for i in drawn))
    return path


def run(script: str, *options: object) -> tuple[dict[str, Any], str]:
    """The JSON object of a benchmark, and its table."""
    done = start(script, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def start(script: str, *options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / script), "--json", "--force", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def learning(text: Path, steps: int) -> list[str]:
    return f"--text {text} --preset char-tiny --eval-every 2 --set train.max_steps={steps}".split()


def test_time_to_loss_runs_ours_alone(text: Path) -> None:
    result, table = run("time_to_loss.py", "--ours-only", *learning(text, 6))
    curve = result["runs"][0]["curve"]
    assert result["ratio"] is None
    assert [point["step"] for point in curve] == [0, 2, 4, 6]
    seconds = [point["seconds"] for point in curve]
    assert 0 < seconds[0] < seconds[-1], "what a run does before its first step counts"
    assert seconds == sorted(set(seconds))
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert result["machine"]["cpu"] in table
    assert "parameters that are used" in table


def test_train_throughput_runs_ours_alone() -> None:
    result, table = run("train_throughput.py", "--ours-only", *THROUGHPUT)
    assert result["ratio"] is None
    assert result["tokens_per_step"] == 64
    assert len(result["tok_per_sec"]["ours"]) == 2
    assert min(result["tok_per_sec"]["ours"]) > 0
    # Weights, gradients and two moments are alive in a step.
    assert result["peak_memory"]["ours"][0] > 4 * 4 * result["parameters"]
    assert 0 < result["machine"]["share_of_peak"] < 1
    assert "tokens a second" in table


def test_decode_runs_ours_alone() -> None:
    result, table = run("decode.py", "--ours-only", *DECODE)
    assert result["ratio"] is None
    assert result["tokens"] == 16
    # A process that starts, loads and computes takes longer than the computation in it.
    assert result["start_seconds"]["ours"][0] > result["prefill_seconds"]["ours"][0] > 0
    assert "start to first token" in table
    assert result["sequences"] == 8
    assert result["ratio_batch"] == pytest.approx(
        result["batch_tok_per_sec"]["ours"][0] / result["tok_per_sec"]["ours"][0]
    )
    assert "8 sequences at once" in table


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    asked = [
        {"query": f"Question: what is {n} and {n}?", "choices": [str(n), str(n + n), "é"[n % 2 :]], "gold": 1}
        for n in range(9)
    ]
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in asked), encoding="utf-8")
    return path


EVALUATE = [*SHAPE, *"--limit 3 --shots 1 --rounds 1".split()]


def test_evaluate_runs_ours_alone(questions: Path) -> None:
    result, table = run("evaluate.py", "--ours-only", "--task", questions, *EVALUATE)
    assert result["ratio"] is None
    assert result["choices"] == 9
    assert set(result["rate"]) == {"0", "1"}
    assert "choices a second" in table
    done = start("evaluate.py", "--ours-only", "--task", questions, *SHAPE, "--limit", 4)
    assert done.returncode == 1
    assert "has 4 questions" in done.stderr


@pytest.mark.peers
def test_evaluate_against_lm_eval(questions: Path) -> None:
    result, _ = run("evaluate.py", "--task", questions, "--batch-sizes", "4", *EVALUATE)
    assert result["ratio"] > 0
    assert result["ratio_shots"] > 0
    assert result["largest_difference"] < 1e-3


@pytest.mark.peers
def test_time_to_loss_compares_with_the_reference_recipe(text: Path) -> None:
    result, table = run("time_to_loss.py", "--reference-steps", 3, "--trial-steps", 1, *learning(text, 30))
    one = result["runs"][0]
    assert result["reached"] is True
    assert one["reached"]["loss"] <= one["target"] == result["reference"]["loss"][0]
    assert result["ratio"] == pytest.approx(result["reference"]["seconds"][0] / one["reached"]["seconds"])
    assert "reference" in table


@pytest.mark.peers
def test_train_throughput_compares_with_mlx_lm_and_pytorch() -> None:
    result, _ = run("train_throughput.py", *THROUGHPUT)
    assert set(result["tok_per_sec"]) == {"ours", "mlx-lm", "pytorch"}
    median = {side: float(np.median(rates)) for side, rates in result["tok_per_sec"].items()}
    assert result["ratio"] == pytest.approx(median["ours"] / median["mlx-lm"])
    assert result["ratio_pytorch"] == pytest.approx(median["ours"] / median["pytorch"])
    assert result["ratio_memory"] == pytest.approx(
        result["peak_memory"]["mlx-lm"][0] / result["peak_memory"]["ours"][0]
    )


@pytest.mark.peers
def test_decode_writes_the_same_tokens_as_mlx_lm_and_transformers() -> None:
    result, _ = run("decode.py", *DECODE)
    rates = result["tok_per_sec"]
    assert result["ratio"] == pytest.approx(rates["ours"][0] / rates["mlx-lm"][0])
    assert set(rates) >= {"ours", "mlx-lm", "transformers"}
    batch = result["batch_tok_per_sec"]
    assert result["ratio_batch_mlx_lm"] == pytest.approx(batch["ours"][0] / batch["mlx-lm"][0])
    starts = result["start_seconds"]
    assert result["ratio_start"] == pytest.approx(starts["mlx-lm"][0] / starts["ours"][0])


def test_an_interpreter_that_is_none_ends_in_one_sentence(text: Path) -> None:
    done = start("time_to_loss.py", "--peers-python", "/no/such/python", *learning(text, 2))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: /no/such/python cannot be run")
    assert "Traceback" not in done.stderr


def test_without_a_text_it_says_how_to_give_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLXLLM_TEST_DATA", raising=False)
    done = start("time_to_loss.py", "--ours-only")
    assert done.returncode == 1
    assert "--text FILE" in done.stderr.splitlines()[-1]


# The modules themselves, for what a whole run cannot show.


def test_a_busy_machine_is_refused_unless_forced(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    common = bench("common")
    monkeypatch.setattr(common, "core_count", lambda: 4)
    monkeypatch.setattr(os, "getloadavg", lambda: (1.2, 0.0, 0.0))
    with pytest.raises(common.BenchError, match=r"busy: its load average is 1\.20 on 4 cores"):
        common.refuse_if_busy(force=False)
    assert common.refuse_if_busy(force=True) == 1.2
    monkeypatch.setattr(os, "getloadavg", lambda: (0.9, 9.0, 9.0))
    assert common.refuse_if_busy(force=False) == 0.9


def test_the_clock_of_time_to_loss_stands_still_outside_of_steps(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module = bench("train_preset")
    now = [100.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    watch = module.Stopwatch()

    def after(seconds: float, kind: str, step: int) -> None:
        now[0] += seconds
        watch({"kind": kind, "step": step, "tokens": 7 * step, "loss": 5.0 - step})

    after(50, "run_started", 0)  # compiles
    after(30, "val", 0)
    after(9, "train", 1)
    after(1, "train", 2)
    after(40, "val", 2)
    after(20, "checkpoint_saved", 2)
    after(2, "train", 3)
    after(40, "val", 3)
    assert [(point["step"], point["seconds"]) for point in watch.curve] == [(0, 50), (2, 60), (3, 62)]
    assert watch.first_step_seconds == 59


def test_time_to_loss_refuses_a_model_that_is_larger_or_sees_more(bench: Any) -> None:
    module = bench("time_to_loss")
    reference = {"scored": 10, "parameters": 100}
    fair = {"scored": 10, "used_parameters": 100, "context": 64, "architecture": "Qwen3ForCausalLM"}
    module.check(fair, reference)
    for change, message in (
        ({"used_parameters": 101}, "must not be larger"),
        ({"context": 65}, "context"),
        ({"architecture": None}, "cannot be exported"),
        ({"scored": 11}, "scored tokens"),
    ):
        with pytest.raises(module.BenchError, match=message):
            module.check(fair | change, reference)


def test_time_to_loss_credits_the_first_validation_at_the_target(bench: Any) -> None:
    reached = bench("time_to_loss").reached
    curve = [{"step": i, "seconds": i, "loss": loss} for i, loss in enumerate([3.0, 2.0, 1.5, 1.7])]
    assert reached(curve, 2.0)["step"] == 1
    assert reached(curve, 1.6)["step"] == 2
    assert reached(curve, 1.4) is None
    assert reached(curve, None)["step"] == 2


def test_a_loss_that_ours_does_not_reach_is_a_ratio_of_zero(bench: Any) -> None:
    module = bench("time_to_loss")
    ours = dict.fromkeys("lanes mlx blas device compiled used_parameters first_step_seconds".split(), 0)
    theirs = dict.fromkeys("parameters trials torch device threads".split(), 0) | {"steps": 4, "seconds": 8.0}
    curve = [{"step": 0, "seconds": 0.0, "loss": 3.0}, {"step": 2, "seconds": 1.0, "loss": 2.0}]
    mine, reference = module.Side("ours", facts=ours | {"curve": curve}), module.Side("reference")
    reference.add(theirs | {"loss": 1.9}, "seconds", "loss")
    missed = module.outcome(mine, reference, [{"target": 1.9, "reached": None, "curve": curve}])
    assert (missed["ratio"], missed["reached"]) == (0, False)
    assert any("not reached" in row for row in missed["table"])
    mine.add(mine.facts | {"seconds": 1.0, "step": 2}, "seconds", "step")
    there = module.outcome(mine, reference, [{"target": 2.1, "reached": curve[1], "curve": curve}])
    assert (there["ratio"], there["reached"]) == (8, True)


def test_train_throughput_refuses_sides_that_do_other_work(bench: Any) -> None:
    module = bench("train_throughput")
    facts = {"parameters": 9, "tokens_per_step": 4, "losses": [5.0, 4.0]}
    ours, peer = module.Side("ours", facts=facts), module.Side("peer", facts=facts)
    module.check(ours, peer, 9, 4)
    for change, message in (
        ({"parameters": 8}, "trained parameters"),
        ({"tokens_per_step": 5}, "tokens of a step"),
        ({"losses": [5.01, 4.0]}, "the first loss"),
        ({"losses": [5.0, 4.1]}, "the last loss"),
        ({"losses": [5.0, float("nan")]}, "the last loss"),
    ):
        with pytest.raises(module.BenchError, match=message):
            module.check(ours, module.Side("peer", facts=facts | change), 9, 4)


def test_decode_refuses_texts_that_differ_or_say_nothing(bench: Any) -> None:
    module = bench("decode")
    ours = module.Side("ours", facts={"prompt_ids": [1], "token_ids": [5, 6, 7, 8]})
    module.check_text(ours, 4)
    module.check_same_text(ours, ours)
    for ids in ([5, 6, 7, 9], [5, 6, 7]):
        with pytest.raises(module.BenchError, match="token_ids from number 3"):
            module.check_same_text(ours, module.Side("peer", facts={"prompt_ids": [1], "token_ids": ids}))
    several = {"batch_ids": [[5, 6], [7, 8]]}
    ours.facts |= several
    module.check_same_text(ours, module.Side("peer", facts=ours.facts))
    with pytest.raises(module.BenchError, match="differ in number 1"):
        module.check_same_text(ours, module.Side("peer", facts=ours.facts | {"batch_ids": [[5, 6], [7, 9]]}))
    with pytest.raises(module.BenchError, match="4 tokens instead of 5"):
        module.check_text(ours, 5)
    with pytest.raises(module.BenchError, match="only 1 different"):
        module.check_text(module.Side("ours", facts={"token_ids": [5] * 16}), 16)


def test_the_application_is_measured() -> None:
    result, table = run("tui.py", *"--points 300 5000 --steps 1200 --seconds 0.3".split())
    assert result["opening_seconds"]["steps"] == 1200
    assert 0 < result["opening_seconds"]["first"] <= result["opening_seconds"]["all"]
    assert result["tail_events_per_second"] > 0
    assert result["redraw_ms"].keys() == {"300", "5000"}
    for found in (*result["redraw_ms"]["300"].values(), *result["late_ms"].values()):
        assert found["median"] <= found["p99"] <= found["largest"]
    assert result["late_ms"].keys() == {"monitor", "chat", "both"}
    assert "200 tokens a second" in table
