"""How many items of an evaluation are done: a line on stderr that is written over, or now and then one of its own."""

import sys
import time

from mlxllm.cli.live_line import LiveLine
from mlxllm.cli.terminal import tell

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
        self._line = LiveLine()

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
        self._line.show(text)

    def clear(self) -> None:
        """Take the line away."""
        self._line.clear()
