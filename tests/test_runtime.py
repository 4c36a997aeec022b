"""The machine under the arrays."""

import ctypes
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxllm import runtime
from mlxllm.errors import ConfigError
from mlxllm.estimate.memory import cache_limit_bytes

import mlx.core as mx  # isort: skip  (after the runtime, as everywhere)

needs_openblas = pytest.mark.skipif(runtime.OPENBLAS is None, reason="no OpenBLAS here")


@pytest.fixture(autouse=True)
def same_device_and_threads() -> Iterator[None]:
    device, threads = mx.default_device(), runtime.blas_threads()
    yield
    mx.set_default_device(device)
    runtime.set_blas_threads(threads)


def child(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_openblas
def test_openblas_is_what_mlx_multiplies_with() -> None:
    """The reference BLAS is slower by a factor of ten and more: a factor of three is safe on a busy machine."""
    program = "{}; from mlxllm import runtime as r; r.select_device('cpu'); print(r.OPENBLAS, r.measure_gflops(512, 5))"
    loaded, fast = child(program.format("pass"))
    not_loaded, slow = child(program.format("import mlx.core"))
    assert (loaded, not_loaded) == (runtime.OPENBLAS, "None")
    assert float(fast) > 3 * float(slow)


@needs_openblas
def test_blas_threads_can_be_set_and_put_back() -> None:
    before = runtime.blas_threads()  # one, in the tests
    assert runtime.set_blas_threads(2) == before
    assert runtime.blas_threads() == 2
    with runtime.blas_for_lanes(1):
        assert runtime.blas_threads() == 2
    with runtime.blas_for_lanes(2):
        assert runtime.blas_threads() == 1
    assert runtime.set_blas_threads(before) == 2
    assert runtime.blas_threads() == before


def test_blas_needs_a_thread() -> None:
    with pytest.raises(ValueError, match="with 0 threads"):
        runtime.set_blas_threads(0)


def test_without_openblas_threads_are_one_and_setting_them_does_nothing() -> None:
    program = "import mlx.core; from mlxllm import runtime as r; print(r.set_blas_threads(4), r.blas_threads())"
    assert child(program) == ["1", "1"]


def test_select_cpu() -> None:
    assert runtime.select_device("cpu") == mx.Device(mx.cpu, 0)
    assert mx.default_device() == mx.Device(mx.cpu, 0)
    assert runtime.device_info().device == "cpu"


def test_without_a_name_the_gpu_is_taken_where_there_is_one() -> None:
    mx.set_default_device(mx.cpu)
    assert (runtime.select_device(None).type == mx.gpu) == runtime.has_gpu()


@pytest.mark.skipif(runtime.has_gpu(), reason="there is a GPU")
def test_asking_for_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"finds no GPU here, only \d+ CPU cores .*use --device cpu") as error:
        runtime.select_device("gpu")
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert mx.default_device().type == mx.cpu


def test_an_unknown_device() -> None:
    with pytest.raises(ConfigError, match="'tpu' is not known; use cpu or gpu"):
        runtime.select_device("tpu")


def test_selecting_a_device_bounds_the_cache() -> None:
    mx.set_cache_limit(1 << 60)
    runtime.select_device("cpu")
    expected = cache_limit_bytes(runtime.device_info().memory_bytes)
    assert mx.set_cache_limit(expected) == expected


@pytest.mark.parametrize(("memory", "limit"), [(8 << 30, 1 << 30), (128 << 30, 16 << 30), (1 << 30, 256 << 20)])
def test_the_cache_limit_is_an_eighth_with_a_floor(memory: int, limit: int) -> None:
    assert cache_limit_bytes(memory) == limit


def test_device_info() -> None:
    mx.set_default_device(mx.cpu)
    info = runtime.device_info()
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < info.memory_bytes == info.system_memory_bytes <= physical
    assert 1 <= info.cores <= (os.cpu_count() or 1)
    assert (info.backend, info.machine, info.python) == ("cpu", platform.machine(), platform.python_version())
    assert info.mlx_version.startswith("0.")
    assert info.chip
    assert info.os.startswith("macOS") == (sys.platform == "darwin")


def test_a_containers_memory_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"/sys/fs/cgroup/memory.max": "max\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "536870912\n"}
    for name, text in limits.items():
        (tmp_path / name.rsplit("/", 1)[1]).write_text(text)
    monkeypatch.setattr(runtime, "Path", lambda name: tmp_path / name.rsplit("/", 1)[1])
    assert runtime._system_memory() == 512 << 20


def test_the_footprint_follows_memory_that_is_used_and_given_back() -> None:
    program = """
from mlxllm import runtime
import mlx.core as mx
runtime.select_device("cpu")
mx.eval(mx.full((10,), 1.0))
before = runtime.process_footprint_bytes()
held = mx.full((96 << 18,), 1.0)
mx.eval(held)
print(runtime.process_footprint_bytes() - before)
del held
mx.clear_cache()
print(runtime.process_footprint_bytes() - before)
"""
    held, given_back = (int(text) / (96 << 20) for text in child(program))
    assert 0.8 < held < 1.5
    assert given_back < 0.3


def test_where_macos_puts_the_footprint() -> None:
    """struct rusage_info_v0 of <sys/resource.h>."""
    names = (
        "user_time system_time pkg_idle_wkups interrupt_wkups pageins wired_size resident_size phys_footprint "
        "proc_start_abstime proc_exit_abstime"
    )

    class RusageInfoV0(ctypes.Structure):
        _fields_ = [("uuid", ctypes.c_uint8 * 16), *((name, ctypes.c_uint64) for name in names.split())]

    assert RusageInfoV0.phys_footprint.offset == runtime._PHYS_FOOTPRINT_OFFSET


def test_compute_dtype() -> None:
    mx.set_default_device(mx.cpu)
    assert runtime.compute_dtype("auto") == mx.float32
    assert runtime.compute_dtype("bfloat16") == mx.bfloat16
    with pytest.raises(ConfigError, match="'int8' is not known; use auto, float32"):
        runtime.compute_dtype("int8")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="macOS asks xcode-select")
def test_a_compiler_is_looked_for_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mx.set_default_device(mx.cpu)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not runtime.compiler_available()
    (tmp_path / "g++").write_text("#!/bin/sh\n")
    (tmp_path / "g++").chmod(0o755)
    assert runtime.compiler_available()


def test_measured_speed_is_that_of_the_product() -> None:
    mx.set_default_device(mx.cpu)
    assert 0.2 < runtime.measure_gflops(256, repeats=2) < 1e5


def test_the_last_of_several_threads_gives_the_number_of_blas_threads_back() -> None:
    before = runtime.set_blas_threads(2)
    inside, seen = threading.Barrier(2, timeout=20), []

    def work() -> None:
        with runtime.one_blas_thread():
            inside.wait()
            seen.append(runtime.blas_threads())
            inside.wait()

    workers = [threading.Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert seen == [1, 1]
    assert runtime.set_blas_threads(before) == (2 if runtime.OPENBLAS else 1)
