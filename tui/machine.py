"""The machine in one line: chip, memory, disk, and the largest preset that fits. Nothing of MLX is asked here."""

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mlxllm import paths
from mlxllm.estimate import estimate
from mlxllm.planning.proposals import USABLE_SHARE
from mlxllm.presets import PRESETS

TRAINABLE_SHARE = USABLE_SHARE
"""Of the memory: what training may take before a Mac begins to swap."""


@dataclass(frozen=True)
class Machine:
    """What it has."""

    chip: str
    cores: int
    memory_bytes: int


@cache
def this_machine() -> Machine:
    """The machine that this process runs on; asks the system once."""
    return Machine(_chip(), _usable_cores(), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _usable_cores() -> int:
    # On Linux a process may be kept to some of the machine's cores.
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _chip() -> str:
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass
    return platform.machine()


def free_disk_bytes() -> int | None:
    """Room where runs are kept; None where the system does not say."""
    folder = paths.home()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def largest_preset(memory_bytes: int) -> tuple[str, int] | None:
    """The preset with the most parameters whose training fits into the memory, and its parameters; None if none does."""
    costs = {name: estimate(make()) for name, make in PRESETS.items()}
    fitting = {n: c for n, c in costs.items() if c.training_bytes <= TRAINABLE_SHARE * memory_bytes}
    if not fitting:
        return None
    name = max(fitting, key=lambda name: fitting[name].parameters)
    return name, fitting[name].parameters
