"""Completion of a path that is being typed, by what is there."""

import asyncio
import os
from pathlib import Path

from textual.suggester import Suggester


class PathSuggester(Suggester):
    """Suggests how the last of the typed paths goes on; the right arrow key takes it."""

    def __init__(self) -> None:
        """Nothing is remembered: files come and go."""
        super().__init__(use_cache=False, case_sensitive=True)

    async def get_suggestion(self, value: str) -> str | None:
        """The whole line with the path completed."""
        return await asyncio.to_thread(complete, value)


def complete(line: str) -> str | None:
    """`line` with its last path as the first that is there; None where nothing can be added."""
    begun = line.rpartition(" ")[2]
    if not begun:
        return None
    shown = Path(begun).expanduser()
    folder, start = (shown, "") if begun.endswith("/") else (shown.parent, shown.name)
    try:
        with os.scandir(folder) as entries:
            found = sorted(e.name + ("/" if e.is_dir() else "") for e in entries if _fits(e.name, start))
    except OSError:
        return None
    rest = found[0][len(start) :] if found else ""
    return line + rest if rest else None


def _fits(name: str, start: str) -> bool:
    return name.startswith(start) and (start != "" or not name.startswith("."))
