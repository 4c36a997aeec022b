"""What our workers share. Import it before MLX."""

import json
import os
import resource
import sys
from pathlib import Path

from mlxllm import runtime  # before mlx.core: it prepares BLAS

import mlx.core as mx  # isort: skip


def peak_footprint() -> int:
    """Bytes that this process held at its most."""
    if sys.platform.startswith("linux"):
        # ru_maxrss would begin with what the parent held.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def device_facts() -> dict[str, object]:
    """What MLX computes on, and with what."""
    info = runtime.device_info()
    return {
        "device": info.device,
        "chip": info.chip,
        "mlx": info.mlx_version,
        "blas": "OpenBLAS" if runtime.OPENBLAS else "the platform's own" if sys.platform == "darwin" else "reference",
        "compiled": runtime.compiler_available() and "MLX_DISABLE_COMPILE" not in os.environ,
    }


def peak_gflops(dtype: mx.Dtype = mx.float32) -> float:
    """The device's speed in a large matrix product, 10^9 operations a second."""
    return runtime.measure_gflops(8192 if mx.default_device().type == mx.gpu else 2048, repeats=3, dtype=dtype)


def report(**result: object) -> None:
    """The last line of stdout, which the benchmark reads."""
    print(json.dumps(result), flush=True)
