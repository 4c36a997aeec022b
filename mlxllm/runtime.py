"""The machine under the arrays: BLAS on Linux, device, memory limits. Importing this module prepares MLX.

Import it before `mlx.core`: the package's `model`, `training`, `inference` and `evaluation` do so themselves.
"""

import ctypes
import os
import platform
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlxllm.errors import ConfigError
from mlxllm.estimate.memory import cache_limit_bytes

# Libraries with 32-bit integers and plain symbol names, as MLX's BLAS calls have them; that rules out
# libopenblas64 and the scipy-openblas wheels, whose symbols carry a prefix. Fedora names its threaded builds
# p (pthreads) and o (OpenMP) and keeps the plain name for the serial one; elsewhere that is the threaded one.
_OPENBLAS_NAMES = ("libopenblasp.so.0", "libopenblas.so.0", "libopenblaso.so.0")


def _preload_openblas() -> tuple[str | None, ctypes.CDLL | None]:
    """Make MLX's Linux wheel use OpenBLAS, not the reference BLAS it bundles; returns what was loaded."""
    if not sys.platform.startswith("linux") or "mlx.core" in sys.modules:
        return None, None
    conda = Path(sys.prefix) / "lib"
    for name in (*_OPENBLAS_NAMES, *(str(conda / name) for name in _OPENBLAS_NAMES)):
        try:
            return name, ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None, None


if sys.platform.startswith("linux"):
    # MLX walks a graph in width only up to this; beyond it goes in depth, and the lanes of a training step
    # (`training.step.TrainStep`), which are independent branches, would be computed one after the other.
    os.environ.setdefault("MLX_BFS_MAX_WIDTH", "1000000")

OPENBLAS: str | None
"""The library that was loaded, or None (macOS, no library, or MLX was imported before)."""
OPENBLAS, _openblas = _preload_openblas()

import mlx.core as mx  # noqa: E402  (after the preload, which is the point of this module)


def evaluate_in_depth() -> None:
    """Walk graphs in depth after all, which is what recomputed blocks save their memory by.

    MLX looks once, when it first evaluates: call this before.
    """
    os.environ["MLX_BFS_MAX_WIDTH"] = "20"


def blas_function(name: str) -> Any:
    """A routine of the OpenBLAS that was loaded, to be called by way of ctypes; None where there is none."""
    return getattr(_openblas, name, None)


def blas_threads() -> int:
    """How many threads OpenBLAS works with; 1 where there is no OpenBLAS to ask."""
    return int(_openblas.openblas_get_num_threads()) if _openblas is not None else 1


def set_blas_threads(n: int) -> int:
    """Have OpenBLAS work with `n` threads, in the whole process; without OpenBLAS this does nothing.

    Returns:
        the number before, so that it can be put back.
    """
    if n < 1:
        raise ValueError(f"BLAS cannot work with {n} threads; use 1 or more")
    before = blas_threads()
    if _openblas is not None:
        _openblas.openblas_set_num_threads(n)
    return before


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """OpenBLAS works with one thread inside the block; the number from before comes back with the last block that ends."""
    global _blocks, _threads_outside
    with _blas_lock:
        if not _blocks:
            _threads_outside = set_blas_threads(1)
        _blocks += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blocks -= 1
            if not _blocks:
                set_blas_threads(_threads_outside)


_blas_lock = threading.Lock()
_blocks = 0
_threads_outside = 1


def blas_for_lanes(lanes: int) -> AbstractContextManager[None]:
    """One BLAS thread inside the block where several lanes work side by side: they keep the cores busy already."""
    return one_blas_thread() if lanes > 1 else nullcontext()


def has_gpu() -> bool:
    """Whether there is a GPU that this build of MLX can use (counted: a CUDA build says yes without one)."""
    return mx.device_count(mx.gpu) > 0


def select_device(name: str | None) -> mx.Device:
    """Make `cpu` or `gpu` the default device and bound what MLX keeps in memory.

    None takes the GPU where there is one.

    Raises:
        ConfigError: `gpu` where there is none, or another name.
    """
    if name not in (None, "cpu", "gpu"):
        raise ConfigError(f"device {name!r} is not known; use cpu or gpu")
    if name == "gpu" and not has_gpu():
        here = device_info()
        remedy = "; with an NVIDIA GPU, install the extra `cuda`" if sys.platform.startswith("linux") else ""
        raise ConfigError(
            f"device 'gpu': MLX {here.mlx_version} finds no GPU here, only {here.cores} CPU cores "
            f"({here.chip}, {here.os}); use --device cpu or leave it out{remedy}"
        )
    gpu = name == "gpu" or (name is None and has_gpu())
    mx.set_default_device(mx.Device(mx.gpu if gpu else mx.cpu, 0))
    _bound_memory()
    return mx.default_device()


def _bound_memory() -> None:
    """A finite cache, no wired memory, and on a Mac no more than the GPU's recommended working set.

    Unbounded, the cache of freed buffers grows until the machine swaps. The memory limit makes MLX wait for
    running work before it starts more; its own choice on a Mac, 1.5 times the working set, is past the point
    of swapping.
    """
    info = device_info()
    mx.set_cache_limit(cache_limit_bytes(info.memory_bytes))
    mx.set_wired_limit(0)
    if info.recommended_working_set_bytes is not None:
        mx.set_memory_limit(info.recommended_working_set_bytes)


def compute_dtype(name: str) -> mx.Dtype:
    """The dtype of that name; `auto` is bfloat16 on a GPU and float32 on the CPU.

    Raises:
        ConfigError: another name.
    """
    if name == "auto":
        return mx.bfloat16 if mx.default_device().type == mx.gpu else mx.float32
    known = {"float32": mx.float32, "bfloat16": mx.bfloat16, "float16": mx.float16}
    if name not in known:
        raise ConfigError(f"compute_dtype {name!r} is not known; use auto, {', '.join(known)}")
    return known[name]


@dataclass(frozen=True)
class DeviceInfo:
    """What the arrays live on. Sizes are bytes."""

    device: str
    """The default device: cpu or gpu."""
    backend: str
    """metal, cuda or cpu."""
    chip: str
    """Name of the GPU or the processor."""
    architecture: str
    """What MLX compiles for: applegpu_g15s, sm_90, x86_64."""
    memory_bytes: int
    """Memory that the device can use; on a Mac the GPU shares it with everything else."""
    recommended_working_set_bytes: int | None
    """On Metal, what one process should stay below; else None."""
    system_memory_bytes: int
    """Memory of the machine, or of the container where that is less."""
    cores: int
    """CPU cores that this process may use."""
    performance_cores: int | None
    """The fast ones among them, on a Mac; else None."""
    mlx_version: str
    os: str
    machine: str
    """arm64, x86_64, ..."""
    python: str


def device_info() -> DeviceInfo:
    """Look at the default device (`select_device` first)."""
    on_gpu = mx.default_device().type == mx.gpu and has_gpu()
    raw = mx.device_info(mx.default_device() if on_gpu else mx.Device(mx.cpu, 0))
    backend = "cpu" if not on_gpu else "metal" if mx.metal.is_available() else "cuda"
    system = _system_memory()
    own = raw.get("total_memory" if backend == "cuda" else "memory_size")
    working_set = raw.get("max_recommended_working_set_size") if backend == "metal" else None
    return DeviceInfo(
        device="gpu" if on_gpu else "cpu",
        backend=backend,
        chip=str(raw.get("device_name") or platform.processor() or "unknown processor"),
        architecture=str(raw.get("architecture") or platform.machine()),
        memory_bytes=int(own) if on_gpu and own else system,
        recommended_working_set_bytes=int(working_set) if working_set else None,
        system_memory_bytes=system,
        cores=_cores(),
        performance_cores=_sysctl("hw.perflevel0.physicalcpu"),
        mlx_version=_mlx_version(),
        os=_os_name(),
        machine=platform.machine(),
        python=platform.python_version(),
    )


@cache
def _mlx_version() -> str:
    return version("mlx")  # reads the metadata of the whole distribution


def _os_name() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    try:
        pretty = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        pretty = platform.system()
    return f"{pretty}, {platform.system()} {platform.release()}"


def _cores() -> int:
    if sys.platform.startswith("linux"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _system_memory() -> int:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(limit).read_text()))
        except (OSError, ValueError):  # no such file, or the word "max"
            continue
    return total


def _sysctl(name: str) -> int | None:
    """An integer that macOS's kernel knows, or None."""
    if sys.platform != "darwin":
        return None
    value, size = ctypes.c_int64(0), ctypes.c_size_t(8)
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return None if failed else value.value


def process_footprint_bytes() -> int:
    """Memory that this process occupies: on Linux resident pages, on macOS what Activity Monitor shows."""
    if sys.platform.startswith("linux"):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    footprint = _mac_footprint() if sys.platform == "darwin" else None
    # The fallback is the peak, not the present: too high, but never a false comfort.
    return footprint if footprint is not None else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


_RUSAGE_INFO_V0 = 0
# struct rusage_info_v0: a 16-byte uuid, then 64-bit fields, of which this is the eighth.
_PHYS_FOOTPRINT_OFFSET = 16 + 7 * 8


def _mac_footprint() -> int | None:
    buffer = ctypes.create_string_buffer(512)  # the kernel writes 96 bytes of this version; room is cheap
    try:
        failed = ctypes.CDLL(None).proc_pid_rusage(os.getpid(), _RUSAGE_INFO_V0, buffer)
    except AttributeError:
        return None
    if failed:
        return None
    return int.from_bytes(buffer.raw[_PHYS_FOOTPRINT_OFFSET : _PHYS_FOOTPRINT_OFFSET + 8], sys.byteorder)


def compiler_available() -> bool:
    """Whether `mx.compile` can build kernels for the default device; on the CPU it calls g++ at run time."""
    if mx.default_device().type == mx.gpu:
        return True  # Metal and CUDA bring their own
    if shutil.which("g++") is None:
        return False
    if sys.platform != "darwin":
        return True
    # macOS always has a /usr/bin/g++; without the command line tools it only opens a window that offers them.
    # close_fds=False lets Python spawn instead of fork, which MLX does not survive.
    command = ["/usr/bin/xcode-select", "-p"]
    return subprocess.run(command, capture_output=True, close_fds=False).returncode == 0


def measure_gflops(size: int | None = None, repeats: int = 3, dtype: mx.Dtype = mx.float32) -> float:
    """Speed of a matrix product on the default device, in 10^9 operations a second.

    Args:
        size: rows and columns; None takes one that a slow device of the kind does in a quarter of a second.
        repeats: the best of so many counts.
        dtype: of the matrices.
    """
    if size is None:
        size = 4096 if mx.default_device().type == mx.gpu else 768
    a = mx.random.normal((size, size), key=mx.random.key(0)).astype(dtype)
    mx.eval(a, a @ a)  # the first product warms up caches and threads
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        mx.eval(a @ a)
        seconds.append(time.perf_counter() - start)
    return 2 * size**3 / min(seconds) / 1e9
