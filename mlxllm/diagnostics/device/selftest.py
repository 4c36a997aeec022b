"""The self-test: does this very machine compute what the formulas say, and keep what it should keep?"""

import sys
from collections.abc import Iterator, Sequence

from mlxllm import __version__, runtime
from mlxllm.diagnostics.device.generation import generation_tests
from mlxllm.diagnostics.device.kernels import kernel_tests, reduced_float32
from mlxllm.diagnostics.device.memory import memory_tests
from mlxllm.diagnostics.device.result import Result
from mlxllm.diagnostics.device.resume import resume_tests
from mlxllm.diagnostics.device.steps import step_tests


def run_selftest() -> Iterator[Result]:
    """Run every test on the default device (`select_device` first), one result at a time."""
    for tests in (kernel_tests, step_tests, generation_tests, resume_tests, memory_tests):
        for test in tests():
            yield test.run()


def passed(results: Sequence[Result]) -> bool:
    """Whether nothing failed."""
    return all(result.status != "fail" for result in results)


def summary(results: Sequence[Result]) -> str:
    """One paragraph to paste into a report: outcome, machine, versions."""
    info = runtime.device_info()
    count = {status: sum(r.status == status for r in results) for status in ("pass", "fail", "skip")}
    seconds = sum(r.seconds for r in results)
    memory = f"{info.memory_bytes / 2**30:.0f} GiB"
    if info.recommended_working_set_bytes is not None:
        memory += f" (working set {info.recommended_working_set_bytes / 2**30:.1f} GiB)"
    cores = f"{info.cores} cores"
    if info.performance_cores is not None:
        cores += f" ({info.performance_cores} fast)"
    blas = f", BLAS {runtime.OPENBLAS or 'of the MLX wheel'}" if sys.platform.startswith("linux") else ""
    float32 = ", float32 products rounded to TF32" if reduced_float32() else ""
    failed = [r.name for r in results if r.status == "fail"]
    return (
        f"mlxllm {__version__} self-test: {count['pass']} passed, {count['fail']} failed, "
        f"{count['skip']} skipped in {seconds:.1f} s{': ' + '; '.join(failed) if failed else ''}. "
        f"{info.chip} ({info.architecture}), {info.device} through {info.backend}, {memory}, {cores}, "
        f"{info.os}, {info.machine}; MLX {info.mlx_version}, Python {info.python}{blas}{float32}."
    )
