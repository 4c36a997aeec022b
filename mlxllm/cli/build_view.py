"""The progress of `mlxllm data build`: a line that is written over, or JSON lines for a program."""

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from mlxllm.cli.run_view import duration, file_size
from mlxllm.cli.terminal import columns, tell
from mlxllm.visible import counted

if TYPE_CHECKING:  # numpy is loaded by the command
    from mlxllm.data.build_progress import BuildProgress

_LINE_SECONDS = 0.2
_EVENT_SECONDS = 0.5
_DOING = {
    "tokenizer": "reading for the tokenizer",
    "passing": "passing over what is done",
    "mixing": "writing by the weights",
}
_LEAST_FRACTION = 0.001
"""Of the work, that must be done in this phase before the time that is left can be told."""


class _Pace:
    """How fast the phase at hand goes; what an earlier life of the build has done does not count."""

    def __init__(self) -> None:
        self._phase = ""
        self._began, self._bytes, self._fraction = 0.0, 0, 0.0

    def look(self, progress: "BuildProgress", now: float) -> tuple[float | None, float | None]:
        """Bytes that are read a second, and the seconds that are left of this phase; None where that is not known yet."""
        if progress.phase != self._phase:
            self._phase, self._began, self._bytes = progress.phase, now, progress.bytes
            self._fraction = progress.fraction or 0.0
        seconds = now - self._began
        if seconds <= 0:
            return None, None
        speed = None if progress.phase == "mixing" else (progress.bytes - self._bytes) / seconds
        done = (progress.fraction or 0.0) - self._fraction
        left = (1 - (progress.fraction or 0.0)) * seconds / done if done > _LEAST_FRACTION else None
        return speed, left


def _kept_share(progress: "BuildProgress") -> float | None:
    if progress.phase != "writing" or progress.kept is None or not progress.documents:
        return None
    return min(1.0, progress.kept / progress.documents)


class ProgressLine:
    """One line on stderr that is written over; only for a terminal."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._shown = time.monotonic()
        self._pace = _Pace()
        self._width = 0

    def __call__(self, progress: "BuildProgress") -> None:
        """Show how far the build is, a few times a second."""
        now = time.monotonic()
        speed, left = self._pace.look(progress, now)
        if now - self._shown < _LINE_SECONDS:
            return
        self._shown = now
        self._show(self._text(progress, speed, left))

    @staticmethod
    def _text(progress: "BuildProgress", speed: float | None, left: float | None) -> str:
        if progress.file is not None:
            of = f" of {file_size(progress.file_bytes)}" if progress.file_bytes else ""
            return f"{progress.source}: fetching {file_size(progress.fetched)}{of}, {progress.file}"
        parts = [counted(progress.documents, "document")]
        if (share := _kept_share(progress)) is not None:
            parts.append(f"{share:.0%} kept")
        parts.append(file_size(progress.bytes))
        if progress.tokens:
            parts.append(f"{progress.tokens:,} tokens")
        if speed is not None:
            parts.append(f"{file_size(speed)}/s")
        if progress.fraction is not None:
            parts.append(f"{progress.fraction:.0%}")
        if left is not None:
            parts.append(f"{duration(left)} left")
        doing = f"{progress.source}, {_DOING[progress.phase]}" if progress.phase in _DOING else progress.source
        return f"{doing}: {', '.join(parts)}"

    def _show(self, text: str) -> None:
        text = text[: columns(sys.stderr) - 1]  # a longer one would begin a new line
        tell("\r" + text.ljust(self._width), sys.stderr, end="")
        self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            tell("\r" + " " * self._width + "\r", sys.stderr, end="")
            self._width = 0


class ProgressEvents:
    """A JSON object a line on stdout, about two a second."""

    def __init__(self) -> None:
        """The clock starts now."""
        self._started = time.monotonic()
        self._shown = -_EVENT_SECONDS
        self._phase = ""
        self._pace = _Pace()

    def __call__(self, progress: "BuildProgress") -> None:
        """Say how far the build is: at once when a phase begins, else when it is time."""
        now = time.monotonic()
        speed, left = self._pace.look(progress, now)
        if now - self._shown < _EVENT_SECONDS and progress.phase == self._phase:
            return
        self._shown, self._phase = now, progress.phase
        event = {
            "kind": "progress",
            **asdict(progress),
            "seconds": round(now - self._started, 3),
            "mb_per_sec": None if speed is None else round(speed / 1e6, 3),
            "kept_share": _kept_share(progress),
            "seconds_left": None if left is None else round(left, 1),
        }
        print(json.dumps(event), flush=True)

    def clear(self) -> None:
        """There is nothing to take away."""
