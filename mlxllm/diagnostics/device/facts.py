"""What `mlxllm doctor` asks MLX: the device, its memory and speed, BLAS, the compiler."""

import os
import platform
import shutil
import sys
from dataclasses import asdict
from typing import Any

import mlx.core as mx

from mlxllm import runtime
from mlxllm.diagnostics.device.kernels import reduced_float32
from mlxllm.diagnostics.facts import Check
from mlxllm.estimate.memory import cache_limit_bytes
from mlxllm.runtime import DeviceInfo

_GIB = 1 << 30
_LITTLE_MEMORY = 4 * _GIB
_SLOW_GFLOPS = 8.0
"""The reference BLAS stays below this on any processor, OpenBLAS on none of the last ten years."""

_PACKAGES = {
    # family: (how to install, OpenBLAS, compiler)
    "debian": ("sudo apt install", "libopenblas0-pthread", "g++"),
    "fedora": ("sudo dnf install", "openblas-threads", "gcc-c++"),
    "arch": ("sudo pacman -S", "openblas", "gcc"),
    "suse": ("sudo zypper install", "libopenblas_pthreads0", "gcc-c++"),
}


def device_checks(device: str | None) -> list[Check]:
    """Select the device and look at it.

    Raises:
        ConfigError: `device` is `gpu` and there is none.
    """
    runtime.select_device(device)
    info = runtime.device_info()
    return [_device(info, device), _memory(info), _speed(info), _compiler(info)]


def _device(info: DeviceInfo, asked: str | None) -> Check:
    through = {"metal": "Metal", "cuda": "CUDA", "cpu": "MLX's CPU backend"}[info.backend]
    cores = f"{info.cores} CPU cores"
    if info.performance_cores is not None:
        cores += f", {info.performance_cores} of them fast"
    text = f"{info.device}: {info.chip} ({info.architecture}) through {through}; {cores}; {info.os}"
    values: dict[str, Any] = asdict(info)
    if info.device == "gpu" or asked == "cpu":
        return Check("device", "ok", text, values=values)
    if sys.platform == "darwin":
        remedy = "a virtual machine or a login over ssh may hide the GPU; use a terminal on the Mac itself"
        return Check("device", "warn", f"{text}: MLX sees no GPU", remedy, values)
    if shutil.which("nvidia-smi"):
        remedy = f"install MLX for CUDA: `{sys.executable} -m pip install 'mlx[cuda13]'`"
        return Check("device", "warn", f"{text}: there is an NVIDIA driver, but MLX sees no GPU", remedy, values)
    return Check("device", "ok", text, values=values)


def _memory(info: DeviceInfo) -> Check:
    cache = cache_limit_bytes(info.memory_bytes)
    shared = " shared by CPU and GPU" if info.backend == "metal" else ""
    text = f"{info.memory_bytes / _GIB:.1f} GiB{shared}"
    if info.recommended_working_set_bytes is not None:
        text += f", of which training should stay below {info.recommended_working_set_bytes / _GIB:.1f} GiB"
    text += f"; up to {cache / _GIB:.1f} GiB is kept for reuse"
    values = {
        "memory_bytes": info.memory_bytes,
        "recommended_working_set_bytes": info.recommended_working_set_bytes,
        "cache_limit_bytes": cache,
        "memory_limit_bytes": mx.get_memory_limit(),
    }
    if info.memory_bytes < _LITTLE_MEMORY:
        return Check("memory", "warn", text, "only small models will fit; close other programs", values)
    return Check("memory", "ok", text, values=values)


def _speed(info: DeviceInfo) -> Check:
    gflops = runtime.measure_gflops()
    text = f"{gflops:,.0f} GFLOP/s in a float32 matrix product"
    values: dict[str, Any] = {"gflops": gflops, "blas": None, "blas_threads": None, "reduced_float32": False}
    if info.device == "gpu":
        values["reduced_float32"] = reduced_float32()
        if values["reduced_float32"]:
            text += ", with factors rounded to TensorFloat-32 (MLX_ENABLE_TF32=0 switches that off)"
        return Check("speed", "ok", text, values=values)
    if not sys.platform.startswith("linux"):
        return Check("speed", "ok", f"{text} through Accelerate", values=values | {"blas": "Accelerate"})
    values |= {"blas": runtime.OPENBLAS, "blas_threads": runtime.blas_threads()}
    if runtime.OPENBLAS is None:
        text = f"{gflops:.1f} GFLOP/s: MLX uses the slow reference BLAS of its wheel; OpenBLAS is 10 to 40 times faster"
        return Check("blas", "warn", text, _install("blas"), values)
    text += f" through {runtime.OPENBLAS} with {runtime.blas_threads()} threads"
    if gflops < _SLOW_GFLOPS:
        remedy = "see whether other programs keep the processor busy, and whether OPENBLAS_NUM_THREADS is set"
        return Check("blas", "warn", f"{text}, which is slow for OpenBLAS", remedy, values)
    return Check("blas", "ok", text, values=values)


def _compiler(info: DeviceInfo) -> Check:
    off = "MLX_DISABLE_COMPILE" in os.environ
    available = runtime.compiler_available()
    values = {"compiler": available, "disabled": off}
    if off:
        text = "MLX_DISABLE_COMPILE is set, so training runs uncompiled, which is slower"
        return Check("compiler", "warn", text, "unset MLX_DISABLE_COMPILE", values)
    if not available:
        text = "there is no g++, so training on the CPU runs uncompiled, which is slower"
        return Check("compiler", "warn", text, _install("compiler"), values)
    if info.device == "gpu":
        return Check("compiler", "ok", f"not needed: {info.backend} brings its own", values=values)
    text = f"{shutil.which('g++')} (the first step of a new model takes 10 to 30 s to compile)"
    return Check("compiler", "ok", text, values=values)


def _install(what: str) -> str:
    """The command that installs OpenBLAS ("blas") or g++ ("compiler") here."""
    if sys.platform == "darwin":
        return "run `xcode-select --install`"
    column = 1 if what == "blas" else 2
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for name in names:
        family = {"ubuntu": "debian", "rhel": "fedora", "opensuse": "suse"}.get(name, name)
        if family in _PACKAGES:
            return f"run `{_PACKAGES[family][0]} {_PACKAGES[family][column]}`"
    known = ", ".join(f"{row[column]} ({family})" for family, row in _PACKAGES.items())
    return f"install the package of your distribution: {known}"
