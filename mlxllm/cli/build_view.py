"""The progress of `mlxllm data build`: a line that is written over, or JSON lines for a program."""

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

from mlxllm.cli.run_view import file_size

if TYPE_CHECKING:  # numpy is loaded by the command
    from mlxllm.data.build_progress import BuildProgress

_LINE_SECONDS = 0.2
_EVENT_SECONDS = 0.5
_DOING = {"tokenizer": "reading for the tokenizer", "passing": "passing over what is done"}


class _Speed:
    """UTF-8 bytes of text a second in the phase at hand; what an earlier life of the build has done does not count."""

    def __init__(self) -> None:
        self._phase = ""
        self._began, self._bytes = 0.0, 0

    def of(self, progress: "BuildProgress", now: float) -> float | None:
        """The mean of this phase; None as long as it has none."""
        if progress.phase != self._phase:
            self._phase, self._began, self._bytes = progress.phase, now, progress.bytes
        seconds = now - self._began
        return (progress.bytes - self._bytes) / seconds if seconds > 0 else None


class ProgressLine:
    """One line on stderr that is written over; only for a terminal."""

    def __init__(self) -> None:
        """Nothing is shown yet."""
        self._shown = time.monotonic()
        self._speed = _Speed()
        self._width = 0

    def __call__(self, progress: "BuildProgress") -> None:
        """Show how far the build is, a few times a second."""
        now = time.monotonic()
        speed = self._speed.of(progress, now)
        if now - self._shown < _LINE_SECONDS:
            return
        self._shown = now
        parts = [f"{progress.documents:,} documents", file_size(progress.bytes)]
        if progress.phase == "writing":
            parts.append(f"{progress.tokens:,} tokens")
        if speed is not None:
            parts.append(f"{file_size(speed)}/s")
        if progress.fraction is not None:
            parts.append(f"{progress.fraction:.0%}")
        doing = f"{progress.source}, {_DOING[progress.phase]}" if progress.phase in _DOING else progress.source
        text = f"{doing}: {', '.join(parts)}"
        print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


class ProgressEvents:
    """A JSON object a line on stdout, about two a second."""

    def __init__(self) -> None:
        """The clock starts now."""
        self._started = time.monotonic()
        self._shown = -_EVENT_SECONDS
        self._phase = ""
        self._speed = _Speed()

    def __call__(self, progress: "BuildProgress") -> None:
        """Say how far the build is: at once when a phase begins, else when it is time."""
        now = time.monotonic()
        speed = self._speed.of(progress, now)
        if now - self._shown < _EVENT_SECONDS and progress.phase == self._phase:
            return
        self._shown, self._phase = now, progress.phase
        event = {
            "kind": "progress",
            **asdict(progress),
            "seconds": round(now - self._started, 3),
            "mb_per_sec": None if speed is None else round(speed / 1e6, 3),
        }
        print(json.dumps(event), flush=True)

    def clear(self) -> None:
        """There is nothing to take away."""
