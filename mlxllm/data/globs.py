"""Relative paths with / between their parts: patterns of them as .gitignore and the Hub have, and which stay inside."""

import re
from functools import lru_cache
from pathlib import PurePosixPath


@lru_cache(maxsize=4096)
def compile_glob(pattern: str) -> "re.Pattern[str]":
    """An expression for `fullmatch` of a relative path.

    `*` and `?` stand for anything but `/`, `**` between slashes for any number of folders, `[...]` for one of a set
    (`!` or `^` negates it), and a backslash takes a sign as it is. The rules are those of gitignore(5).
    """
    out, at = [], 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if sign == "*":
            stars = at - 1
            while at < len(pattern) and pattern[at] == "*":
                at += 1
            whole_part = at - stars > 1 and (stars == 0 or pattern[stars - 1] == "/")
            if whole_part and pattern[at : at + 1] == "/":
                out.append("(?:[^/]+/)*")
                at += 1
            elif whole_part and at == len(pattern):
                out.append(".*")
            else:
                out.append("[^/]*")
        elif sign == "?":
            out.append("[^/]")
        elif sign == "[":
            group, at = _set(pattern, at)
            out.append(group)
        elif sign == "\\" and at < len(pattern):
            out.append(re.escape(pattern[at]))
            at += 1
        else:
            out.append(re.escape(sign))
    return re.compile("".join(out), re.DOTALL)


def _set(pattern: str, at: int) -> tuple[str, int]:
    """The expression for the set that begins before `at`, and where it ends; a bracket without an end is one."""
    negated = pattern[at : at + 1] in ("!", "^")
    start = at + negated
    end = pattern.find("]", start + 1)  # a ] that comes first belongs to the set
    if end < 0:
        return r"\[", at
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", pattern[start:end])
    try:
        re.compile(f"[{inside}]")
    except re.error:  # a range that runs backwards holds nothing
        return "(?!)", end + 1
    return (f"[^/{inside}]" if negated else f"(?!/)[{inside}]"), end + 1


def is_inside(path: str) -> bool:
    """Whether a path stays below the folder that it is relative to, on every system."""
    parts = PurePosixPath(path).parts
    return bool(parts) and not path.startswith("/") and ".." not in parts and "\\" not in path and "\0" not in path
