"""Memory limits that hold, memory that is given back, and a machine that stays awake."""

import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator

import mlx.core as mx

from mlxllm import runtime
from mlxllm.diagnostics.device.result import Skip, Test
from mlxllm.estimate.memory import cache_limit_bytes
from mlxllm.runs import keep_awake

_MIB = 1 << 20
_PIECE = 16 * _MIB


def memory_tests() -> Iterator[Test]:
    """What keeps a long run from swapping or from falling asleep."""
    yield Test("memory: cache limit and wired memory as set", 0.0, _limits, unit="MiB")
    yield Test("memory: cache above a limit of 64 MiB", _PIECE / _MIB, _cache_above_limit, unit="MiB")
    yield Test("memory: active after 20 rounds", 1.0, _memory_kept, unit="MiB")
    yield Test("memory: footprint of 128 MiB, off by", 48.0, _footprint_error, unit="MiB")
    yield Test("sleep is prevented", 0.0, _sleep_assertions_missing, unit="missing")


def _limits() -> float:
    """How far the limits are from what `select_device` chose; setting one returns the one before."""
    info = runtime.device_info()
    cache_limit = cache_limit_bytes(info.memory_bytes)
    errors = [abs(mx.set_cache_limit(cache_limit) - cache_limit), mx.set_wired_limit(0)]
    if info.recommended_working_set_bytes is not None:
        errors.append(abs(mx.get_memory_limit() - info.recommended_working_set_bytes))
    return max(errors) / _MIB


def _fill(value: float, size: int) -> mx.array:
    array = mx.full((size // 4,), value, dtype=mx.float32)
    mx.eval(array)
    return array


def _cache_above_limit() -> float:
    """Free four times the limit; one piece above it is fair, since Metal trims with the next allocation."""
    limit = 64 * _MIB
    before = mx.set_cache_limit(limit)
    try:
        mx.clear_cache()
        pieces = [_fill(float(i), _PIECE) for i in range(16)]
        del pieces
        if mx.get_cache_memory() == 0:
            raise ValueError("freed memory is not kept for reuse at all")
        held = _fill(0.0, 3 * _PIECE)  # more than any freed piece can serve
        above = max(0.0, mx.get_cache_memory() - limit) / _MIB
        del held
        return above
    finally:
        mx.set_cache_limit(before)
        mx.clear_cache()


def _memory_kept() -> float:
    """Arrays that nobody holds any more must not stay active."""
    mx.synchronize()
    before = mx.get_active_memory()
    for i in range(20):
        mx.eval(_fill(float(i), _PIECE) @ mx.ones((_PIECE // 4,)))
    mx.synchronize()
    return max(0, mx.get_active_memory() - before) / _MIB


def _footprint_error() -> float:
    """What the operating system says this process grew by when 128 MiB were filled."""
    if runtime.device_info().backend == "cuda":
        raise Skip("a GPU with memory of its own does not count towards the process")
    size = 128 * _MIB
    mx.clear_cache()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).malloc_trim(0)  # else what was freed before may serve the array, and nothing grows
    before = runtime.process_footprint_bytes()
    held = _fill(1.0, size)
    grown = runtime.process_footprint_bytes() - before
    del held
    mx.clear_cache()
    return abs(grown - size) / _MIB


def _sleep_assertions_missing() -> float:
    """Whether macOS lists one assertion more while a trainer would keep the machine awake."""
    if sys.platform != "darwin":
        raise Skip("macOS only")
    before = _caffeinate_assertions()
    with keep_awake() as awake:
        if not awake:
            raise ValueError("caffeinate, which belongs to macOS, cannot be started")
        for _ in range(20):
            if _caffeinate_assertions() > before:
                return 0.0
            time.sleep(0.1)
    return 1.0


def _caffeinate_assertions() -> int:
    # An absolute path and close_fds=False: Python then spawns instead of forking, which MLX does not survive.
    command = ["/usr/bin/pmset", "-g", "assertions"]
    listed = subprocess.run(command, capture_output=True, text=True, close_fds=False).stdout
    return listed.count("(caffeinate)")
