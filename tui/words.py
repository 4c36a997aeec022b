"""Numbers as people read them: sizes, times, counts."""

import time

GIB = 1 << 30


def file_size(size: float) -> str:
    """Bytes, in powers of ten as disks are sold: "8.9 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    raise AssertionError


def memory_size(size: float) -> str:
    """Bytes of memory, in powers of two: "15.6 GiB"."""
    return f"{size / GIB:,.1f} GiB" if size >= GIB / 10 else f"{size / (1 << 20):,.0f} MiB"


def count(number: float | None) -> str:
    """A count in three digits: "529k", "1.60M"."""
    if number is None:
        return "-"
    for limit, unit in ((1e3, ""), (1e6, "k"), (1e9, "M"), (1e12, "B")):
        if abs(number) < limit:
            short = number / (limit / 1e3)
            return f"{short:,.0f}{unit}" if short >= 100 or not unit else f"{short:.3g}{unit}"
    return f"{number / 1e12:.3g}T"


def size_of(parameters: int, trained: int | None) -> str:
    """How large a model is, and how much of it is trained where that is not all: "trains 74.8k of 968k parameters"."""
    part = f"trains {count(trained)} of " if trained is not None and trained != parameters else ""
    return f"{part}{count(parameters)} parameters"


def duration(seconds: float | None) -> str:
    """A time: "18 s", "2 min 25 s", "3 h 05 min", "2 d 4 h"."""
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def number(value: float | None, digits: int = 4) -> str:
    """A loss or a norm; "-" where there is none."""
    return "-" if value is None else f"{value:.{digits}g}"


def printable(text: str) -> str:
    """A text in one line, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text)


# C0 and C1 without tab and line feed, DEL, and what turns the direction of text around. A model can write anything.
_SIGNS: dict[int, int] = {c: 0x2400 + c for c in range(0x20) if chr(c) not in "\t\n"}
_SIGNS |= {0x7F: 0x2421} | dict.fromkeys([*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)], 0xFFFD)
_SIGNS |= dict.fromkeys(range(0xD800, 0xE000), 0xFFFD) | {0x2028: 0x0A, 0x2029: 0x0A}


def visible(text: str) -> str:
    """A text of several lines with signs in place of control characters, and spaces in place of tabs."""
    return text.translate(_SIGNS).expandtabs(4)


def ago(then: float, now: float | None = None) -> str:
    """How long ago a time was: "just now", "5 min ago", "3 h ago", "2 d ago", or the day."""
    seconds = (time.time() if now is None else now) - then
    if seconds < 60:
        return "just now"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min ago"
    if seconds < 86400:
        return f"{seconds // 3600:.0f} h ago"
    if seconds < 30 * 86400:
        return f"{seconds // 86400:.0f} d ago"
    try:
        return time.strftime("%Y-%m-%d", time.localtime(then))
    except (OverflowError, OSError, ValueError):  # a time that no calendar has
        return "-"
