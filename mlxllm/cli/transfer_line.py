"""The progress of a download: one line on stderr that is written over."""

import sys
import time

from mlxllm.cli.live_line import LiveLine
from mlxllm.cli.run_view import file_size
from mlxllm.cli.terminal import fold, tell

_LINE_SECONDS = 0.2
_SPEED_SECONDS = 10.0
"""The speed is that of so much of the past, so that it follows the network."""


class TransferLine:
    """Shown on a terminal only; anywhere else nothing is written."""

    def __init__(self, name: str) -> None:
        """What is downloaded."""
        self._name = name
        self._shown_at = 0.0
        self._line = LiveLine()
        self._past: list[tuple[float, int]] = []

    def __call__(self, done: int, total: int | None) -> None:
        """Show how far it is, a few times a second."""
        now = time.monotonic()
        if now - self._shown_at < _LINE_SECONDS or not sys.stderr.isatty():
            return
        self._shown_at = now
        if self._past and done < self._past[-1][1]:  # it began anew
            self._past.clear()
        self._past.append((now, done))
        while len(self._past) > 2 and now - self._past[1][0] > _SPEED_SECONDS:
            self._past.pop(0)
        self._line.show(self._text(done, total))

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()

    def _text(self, done: int, total: int | None) -> str:
        parts = [f"{file_size(done)} of {file_size(total)}" if total else file_size(done)]
        (began, at_first), (now, at_last) = self._past[0], self._past[-1]
        speed = (at_last - at_first) / (now - began) if now > began else 0.0
        if total:
            parts.append(f"{done / total:.0%}")
        if speed > 0:
            parts.append(f"{file_size(speed)}/s")
            if total and total > done:
                parts.append(f"{_left((total - done) / speed)} left")
        return f"{self._name}: {', '.join(parts)}"


def _left(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class ModelLine:
    """Tells on stderr of a model that is fetched: its size first, then the line of its progress."""

    def __init__(self) -> None:
        """Nothing is fetched yet."""
        self._line: TransferLine | None = None

    def begins(self, what: str, files: int, size: int) -> None:
        """Say what comes before it does."""
        some = "1 file" if files == 1 else f"{files:,} files"
        tell(fold(f"downloading {what} from the Hub: {some}, {file_size(size)}", sys.stderr), sys.stderr)
        self._line = TransferLine(what.split()[0])

    def progress(self, done: int, size: int) -> None:
        """Show how far it is."""
        if self._line is not None:
            self._line(done, size)

    def ends(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.clear()
            self._line = None
