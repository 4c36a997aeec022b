"""What the peers' workers share; plain Python that needs nothing of this project.

Import it before MLX: the Linux wheel bundles a slow reference BLAS, and the peers shall have OpenBLAS as we do.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
from pathlib import Path

if "mlx.core" in sys.modules:
    raise ImportError("harness has to be imported before mlx.core")

BLAS = "the platform's own"
if sys.platform.startswith("linux"):
    BLAS = "reference"
    for _name in ("libopenblasp.so.0", "libopenblas.so.0", "libopenblaso.so.0"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(_name, mode=ctypes.RTLD_GLOBAL)
            BLAS = "OpenBLAS"
            break


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform.startswith("linux") else os.cpu_count() or 1


def thread_counts() -> list[int]:
    """One thread, all cores, and the doublings between."""
    return sorted({1 << n for n in range(cores().bit_length()) if 1 << n <= cores()} | {cores()})


def peak_footprint() -> int:
    """Bytes that this process held at its most."""
    if sys.platform.startswith("linux"):
        # ru_maxrss would begin with what the parent held.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(**result: object) -> None:
    """The last line of stdout, which the benchmark reads."""
    print(json.dumps(result), flush=True)
