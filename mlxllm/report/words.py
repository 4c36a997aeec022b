"""Numbers as a report tells them."""

import math
import time
from typing import Any


def number(value: Any, form: str = ",.4g") -> str:
    """A number in its form; a dash where there is none."""
    if isinstance(value, bool) or not _is_finite(value):
        return "–"
    return f"{value:{form}}"


def count(value: Any) -> str:
    """`1,234`."""
    return number(value, ",.0f")


def short_count(value: Any) -> str:
    """`1.23 million`: three digits of a large number."""
    if not _is_finite(value):
        return "–"
    for size, name in ((1e12, "trillion"), (1e9, "billion"), (1e6, "million")):
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:,.0f}"


def size(value: Any) -> str:
    """Bytes in binary units."""
    if not _is_finite(value):
        return "–"
    for power, name in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if value >= 1024**power:
            return (
                f"{value / 1024**power:.3g} {name}"
                if value < 1000 * 1024**power
                else f"{value / 1024**power:,.0f} {name}"
            )
    return f"{value:,.0f} bytes"


def duration(seconds: float | None) -> str:
    """`2 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{seconds // 60} min {seconds % 60:02} s" if seconds < 600 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def energy(seconds: float, watts: float) -> str:
    """What a machine takes that draws `watts`: an estimate."""
    hours = seconds * watts / 3600
    return f"{hours:.3g} Wh" if hours < 1000 else f"{hours / 1000:.3g} kWh"


def moment(seconds: float | None) -> str:
    """A time, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "–"


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:  # a whole number of hundreds of digits
        return False
