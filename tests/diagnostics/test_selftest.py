"""The self-test passes on a sound device, and fails on one that computes something else."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mlxllm.diagnostics.device import generation, kernels, memory, resume, selftest, steps
from mlxllm.diagnostics.device.result import Result, Skip, Test
from mlxllm.model import attention, cpu_math
from mlxllm.model.kv_cache import GrowingKVCache
from mlxllm.training.checkpoint import load_checkpoint
from mlxllm.training.step import TrainState

import mlx.core as mx  # isort: skip  (after the runtime)


def run(tests: Iterable[Test]) -> dict[str, Result]:
    return {test.name: test.run() for test in tests}


def failed(results: dict[str, Result]) -> set[str]:
    return {name for name, result in results.items() if result.status == "fail"}


def test_all_kernels_are_sound_here() -> None:
    results = run(kernels.kernel_tests())
    assert len(results) == 1 + 9 * 5
    assert {result.status for result in results.values()} == {"pass"}
    # Not by being compared with themselves: half precision must show.
    assert all(result.difference for name, result in results.items() if "float16" in name)


def off_by(factor: float, kernel: Callable[..., mx.array]) -> Callable[..., mx.array]:
    return lambda *args, **options: kernel(*args, **options) * factor


@pytest.mark.parametrize(
    ("kernel", "prefix"),
    [
        ("rms_norm", "rms_norm"),
        ("layer_norm", "layer_norm"),
        ("rope", "rope"),
        ("scaled_dot_product_attention", "attention"),
    ],
)
def test_a_kernel_that_is_off_fails_alone(kernel: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_math, "worthwhile", lambda size, dtype: False)
    monkeypatch.setattr(attention, "worthwhile", lambda size, dtype: False)  # all attention through the kernel
    monkeypatch.setattr(mx.fast, kernel, off_by(1.05, getattr(mx.fast, kernel)))
    results = run(kernels.kernel_tests())
    assert failed(results) == {name for name in results if name.startswith(prefix)}


def test_a_kernel_that_forgets_the_mask_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mx.fast.scaled_dot_product_attention
    monkeypatch.setattr(
        mx.fast, "scaled_dot_product_attention", lambda q, k, v, scale, mask: real(q, k, v, scale=scale)
    )
    found = failed(run(kernels.kernel_tests()))
    assert {name.split(",")[1].strip() for name in found} == {
        "causal",
        "grouped queries",
        "window of 16",
        "last 20 of 90",
    }


def test_a_wrong_gradient_alone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    real = mx.fast.rms_norm

    @mx.custom_function
    def forgetful(x: mx.array, weight: mx.array) -> mx.array:
        return real(x, weight, 1e-5)

    @forgetful.vjp
    def _(primals: Any, cotangent: mx.array, output: mx.array) -> Any:
        _, (dx, dw) = mx.vjp(lambda x, w: real(x, w, 1e-5), primals, [cotangent])
        return dx, dw * 0.9

    monkeypatch.setattr(mx.fast, "rms_norm", lambda x, weight, eps: forgetful(x, weight))
    found = failed(run(kernels.kernel_tests()))
    assert found == {"rms_norm, gradient, float32", "rms_norm, gradient, bfloat16"}


def test_what_is_not_a_number_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx.fast, "rms_norm", off_by(math.nan, mx.fast.rms_norm))
    result = run(kernels.kernel_tests())["rms_norm, float32"]
    assert (result.status, result.difference) == ("fail", None)
    assert "not a finite number" in result.note


def test_a_kernel_that_raises_fails_and_the_others_still_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **options: Any) -> mx.array:
        raise RuntimeError("[metal::Device] Unable to load\nkernel")

    monkeypatch.setattr(mx.fast, "layer_norm", broken)
    results = run(kernels.kernel_tests())
    assert results["layer_norm, float32"].note == "RuntimeError: [metal::Device] Unable to load kernel"
    assert failed(results) == {name for name in results if name.startswith("layer_norm")}


def test_a_test_that_says_nothing_is_skipped() -> None:
    def measure() -> float:
        raise Skip("macOS only")

    result = Test("sleep", 0.0, measure).run()
    assert (result.status, result.note, result.difference) == ("skip", "macOS only", None)


def test_a_difference_at_the_tolerance_passes_and_above_it_fails() -> None:
    assert Test("edge", 1e-3, lambda: 1e-3).run().status == "pass"
    assert Test("edge", 1e-3, lambda: 1.1e-3).run().status == "fail"


def test_the_loss_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "cross-entropy in chunks, float32"
    assert run(steps.step_tests())[name].status == "pass"
    real = steps.cross_entropy
    # Without its z-loss the value is off by a part in a hundred.
    monkeypatch.setattr(steps, "cross_entropy", lambda *a, z_loss, **o: real(*a, z_loss=0.0, **o))
    assert run(steps.step_tests())[name].status == "fail"


def test_without_compilation_that_test_is_skipped() -> None:
    result = run(steps.step_tests())["training step, compiled and eager, float32"]
    assert (result.status, result.note) == ("skip", "MLX_DISABLE_COMPILE is set, so nothing is compiled")


@pytest.mark.compiled
@pytest.mark.slow
def test_compiled_equals_eager() -> None:
    assert run(steps.step_tests())["training step, compiled and eager, float32"].status == "pass"


@pytest.mark.compiled
def test_a_compile_that_does_nothing_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mx, "compile", lambda function, **options: function)
    result = run(steps.step_tests())["training step, compiled and eager, float32"]
    assert result.status == "fail"
    assert "2 times compiled" in result.note


def test_generation_through_the_cache() -> None:
    assert {result.status for result in run(generation.generation_tests()).values()} == {"pass"}


def test_a_cache_that_loses_its_place_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    real = GrowingKVCache.update

    def update(self: GrowingKVCache, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        k, v = real(self, k, v)
        return mx.concatenate([k[:, :, :1], k[:, :, :-1]], axis=2), v

    monkeypatch.setattr(GrowingKVCache, "update", update)
    found = failed(run(generation.generation_tests()))
    assert {f"logits through the cache, {dtype}" for dtype in ("float32", "bfloat16")} <= found
    assert not any("window" in name for name in found)


def test_a_resumed_run_equals_an_undisturbed_one() -> None:
    (result,) = run(resume.resume_tests()).values()
    assert result.status == "pass"
    if mx.default_device().type == mx.cpu:
        assert (result.difference, result.tolerance) == (0.0, 0.0)


def test_a_resume_that_forgets_the_optimizer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(path: Any) -> Any:
        state, progress = load_checkpoint(path)
        moments = {name: mx.zeros_like(array) for name, array in state.optimizer.items()}
        return TrainState(state.parameters, moments, state.step), progress

    monkeypatch.setattr("mlxllm.training.start.load_checkpoint", forgetful)
    (result,) = run(resume.resume_tests()).values()
    assert result.status == "fail"
    assert result.difference is not None
    assert result.difference > 1e-3


def test_memory_limits_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    selftest.runtime.select_device("cpu")
    results = run(memory.memory_tests())
    assert failed(results) == set()
    mx.set_cache_limit(123)
    assert run(memory.memory_tests())["memory: cache limit and wired memory as set"].status == "fail"
    selftest.runtime.select_device("cpu")


def test_memory_that_is_not_given_back_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    real = memory._fill

    def leaking(value: float, size: int) -> mx.array:
        kept.append(real(value, size))
        return kept[-1]

    monkeypatch.setattr(memory, "_fill", leaking)
    assert run(memory.memory_tests())["memory: active after 20 rounds"].status == "fail"


def test_the_summary_names_machine_versions_and_failures() -> None:
    results = [
        Result("rms_norm, float32", "pass", 1e-7, 1e-5, 0.5),
        Result("rope, float32", "fail", 1.0, 1e-5, 0.5),
        Result("sleep is prevented", "skip", None, 0.0, 0.0, note="macOS only"),
    ]
    info = selftest.runtime.device_info()
    text = selftest.summary(results)
    assert "1 passed, 1 failed, 1 skipped in 1.0 s: rope, float32." in text
    for part in (info.chip, info.os, f"MLX {info.mlx_version}", f"Python {info.python}", f"{info.cores} cores"):
        assert part in text
    assert "\n" not in text
    assert not selftest.passed(results)
    assert selftest.passed(results[:1] + results[2:])
