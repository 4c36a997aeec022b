"""How many items of an evaluation are done: a line on stderr that is written over, or now and then one of its own."""

import sys
import time

from mlxllm.cli.terminal import columns, tell

_LIVE_SECONDS = 0.2
_PLAIN_SECONDS = 30.0


class ItemLine:
    """Progress of one task.

    Args:
        name: what the items belong to.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._begun = self._shown_at = time.monotonic()
        self._first: int | None = None
        self._width = 0

    def __call__(self, done: int, total: int) -> None:
        """Show how far it is, a few times a second on a terminal and every half minute elsewhere."""
        now = time.monotonic()
        if self._first is None:
            self._first = done
        live = sys.stderr.isatty()
        if now - self._shown_at < (_LIVE_SECONDS if live else _PLAIN_SECONDS) or done == total:
            return
        self._shown_at = now
        text = f"{self._name}: {done:,} of {total:,}"
        if done > self._first:
            left = (now - self._begun) / (done - self._first) * (total - done)
            text += f", about {left:,.0f} s left" if left < 90 else f", about {left / 60:,.0f} min left"
        if not live:
            tell(text, sys.stderr)
            return
        line = text[: columns(sys.stderr) - 1]
        before, self._width = self._width, max(self._width, len(line))  # first: Ctrl-C may come before the line is out
        tell("\r" + line.ljust(before), sys.stderr, end="")
        self._width = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            tell("\r" + " " * self._width + "\r", sys.stderr, end="")
            self._width = 0
