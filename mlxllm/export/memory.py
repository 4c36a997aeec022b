"""How much memory is free, for what needs a model once more."""

import mlx.core as mx

_SHARE = 0.8
"""Of what is free; the rest is for everything else."""


def free_memory() -> float:
    """Bytes that a process may still take without driving the machine into swap, about."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":") for line in file)
        return _SHARE * 1024 * int(fields["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):  # macOS counts what could be dropped as used: go by the whole
        total = float(mx.device_info().get("memory_size", 8e9))
        return _SHARE * (total - mx.get_active_memory())
