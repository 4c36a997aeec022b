"""A budget in words, as "5m", "overnight" or "40GB"."""

import math
import re
from dataclasses import dataclass

from mlxllm.errors import ConfigError

NIGHT_HOURS = 8.0
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400}
_BYTES = {"mb": 10**6, "gb": 10**9, "tb": 10**12, "mib": 2**20, "gib": 2**30, "tib": 2**40}
_EXAMPLES = "5m, 1h, overnight, 16GB or 8GiB"


@dataclass(frozen=True)
class Budget:
    """Either so much time or so much memory."""

    text: str
    seconds: float | None = None
    bytes: int | None = None


def parse_budget(text: str) -> Budget:
    """The budget that a text names: a number and a unit of time (s, m, h, d) or of memory (MB, GB, MiB, GiB, ...).

    Raises:
        ConfigError: it names none.
    """
    word = text.strip().lower().replace(" ", "")
    if word in ("overnight", "night"):
        return Budget(text, seconds=NIGHT_HOURS * 3600)
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([a-z]+)", word)
    unit = found.group(2) if found else ""
    if found is None or unit not in {**_SECONDS, **_BYTES}:
        raise ConfigError(f"--budget {text!r} is neither a time nor a size; write it as {_EXAMPLES}")
    number = float(found.group(1))
    if not 0 < number < 1e9 or math.isinf(number):
        raise ConfigError(f"--budget {text!r} leaves nothing to plan with; write it as {_EXAMPLES}")
    if unit in _SECONDS:
        return Budget(text, seconds=number * _SECONDS[unit])
    return Budget(text, bytes=int(number * _BYTES[unit]))
