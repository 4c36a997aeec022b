"""A line on stderr that is written over, however long the one before was."""

import sys

from mlxllm.cli.terminal import columns, tell


class LiveLine:
    """At most one line of a terminal; whoever shows it says how often."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, text: str) -> None:
        """Write `text`, as far as it fits, over what stood there."""
        line = text[: columns(sys.stderr) - 1]
        before, self._width = self._width, max(self._width, len(line))  # first: Ctrl-C may come before the line is out
        tell("\r" + line.ljust(before), sys.stderr, end="")
        self._width = len(line)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            tell("\r" + " " * self._width + "\r", sys.stderr, end="")
            self._width = 0
