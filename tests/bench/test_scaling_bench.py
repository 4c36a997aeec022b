"""The benchmark of scaling at a tiny size: it runs, its fits are fits, and it refuses steps that are not comparable."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCH = Path(__file__).resolve().parents[2] / "scripts" / "bench"
TINY = "--sizes 1x32x64x2x1 2x64x96x4x2 --contexts 16 32 --tokens 64 --vocabulary 128 --steps 2".split()


def start(*options: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(BENCH / "scaling.py"), "--json", "--force", *TINY, *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True)


def test_sizes_and_contexts_are_measured_beside_what_they_must_cost() -> None:
    done = start()
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    runs = result["runs"]
    assert [one["context"] for one in runs] == [16, 32, 16, 32]
    smaller, larger = runs[1], runs[3]
    # A layer: q and o D x D, k and v D x K d, three of D x F; the head V x D; norms; and 6 L D T for attention's scores.
    for one, L, D, keys, F in ((smaller, 1, 32, 16, 64), (larger, 2, 64, 32, 96)):
        weights = L * (2 * D * D + 2 * D * keys + 3 * D * F + 2 * D) + 128 * D + D
        assert one["parameters"] == weights
        assert one["flops"] == 64 * (6 * weights + 6 * L * D * 32) == sum(one["flops_by_part"].values())
        # Weights, gradients and two moments are alive in a step.
        assert one["peak_memory"] > 4 * 4 * weights
        assert 0.5 < one["told_memory"] / one["peak_memory"] < 2
    peak = result["peak_gflops"]
    assert peak == max(one["peak_gflops"] for one in runs)
    median = float(np.median(larger["step_seconds"]))
    assert result["share_of_peak"] == pytest.approx(larger["flops"] / median / 1e9 / peak)
    assert result["ratio"] == pytest.approx(result["share_of_peak"] / 0.55)
    assert set(result["time_fits"]) == {f"{smaller['parameters']:,}", f"{larger['parameters']:,}", "all"}
    assert "told / it" in done.stderr
    assert "fit of memory" in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--tokens 60", "60 are not a number of whole rows of 16"),
        ("--contexts 128", "64 are not a number of whole rows of 128"),
        ("--steps 0", "--steps 0 must be 1 or more"),
        ("--sizes 4x128", "LAYERSxHIDDENxINNERxHEADSxKV_HEADS"),
    ],
)
def test_options_that_make_no_comparison_end_in_one_sentence(options: str, message: str) -> None:
    done = start(*options.split())
    assert done.returncode != 0
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_steps_that_did_something_else_are_refused(bench: Any) -> None:
    module = bench("scaling")
    right = {"parameters": 9, "tokens_per_step": 4, "losses": [5.0, 4.0]}
    module.check(right, 9, 4)
    for change, message in (
        ({"parameters": 8}, "trained parameters"),
        ({"tokens_per_step": 5}, "tokens of a step"),
        ({"losses": [5.0, float("nan")]}, "not finite"),
    ):
        with pytest.raises(module.BenchError, match=message):
            module.check(right | change, 9, 4)


def test_the_fit_is_that_of_least_squares(bench: Any) -> None:
    fit = bench("scaling").fit
    exact = fit([1.0, 2.0, 4.0], [5.0, 7.0, 11.0])
    assert (exact.intercept, exact.slope, exact.off) == pytest.approx((3, 2, 0))
    # y = x + 1 with 1, -1, -1, 1 beside it, which neither mean nor slope see; the first is off by 1 of 2.
    beside = fit([0.0, 1.0, 2.0, 3.0], [2.0, 1.0, 2.0, 5.0])
    assert (beside.intercept, beside.slope, beside.off) == pytest.approx((1, 1, 1))
    assert fit([2.0, 2.0], [1.0, 3.0]) is None


def test_the_ratio_is_of_the_largest_model_at_512(bench: Any) -> None:
    module = bench("scaling")
    machine = dict.fromkeys("mlx blas device chip lanes compute_dtype compiled".split(), "")

    def one(parameters: int, context: int, seconds: float, peak: float) -> dict[str, Any]:
        numbers = {
            "parameters": parameters,
            "context": context,
            "step_seconds": [seconds, 9.0, 0.0],
            "peak_gflops": peak,
        }
        return machine | numbers | {"flops": 1e9, "told_memory": context, "peak_memory": 1, "tokens_per_step": 4}

    runs = [one(7, 512, 0.1, 20.0), one(9, 256, 0.2, 40.0), one(9, 512, 0.05, 30.0), one(9, 1024, 0.01, 25.0)]
    result = module.outcome(runs)
    assert result["share_of_peak"] == pytest.approx(20 / 40)  # of the best speed that any process saw
    assert result["ratio"] == pytest.approx(0.5 / 0.55)
    assert result["rising_with_size"] is True
    assert module.outcome([one(7, 512, 0.04, 40.0), *runs[1:]])["rising_with_size"] is False
    others = [one(7, 256, 0.2, 10.0), one(9, 256, 0.2, 40.0), one(7, 1024, 0.1, 10.0), one(9, 1024, 0.05, 10.0)]
    assert module.outcome(others)["share_of_peak"] == pytest.approx(20 / 40)  # without 512, the longest there is
