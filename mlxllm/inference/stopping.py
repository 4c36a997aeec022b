"""Where a text ends: stop strings that may begin in one token and end in another."""

from collections.abc import Sequence

from mlxllm.errors import ConfigError


class StopMatcher:
    """Passes text on piece by piece up to the first stop string; holds back what may be the beginning of one.

    The first is the one that is complete first, of two that end together the longer: how the text is cut into
    pieces makes no difference.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        """Watch for any of `stop`.

        Raises:
            ConfigError: one of them is empty, which would end every text before it begins.
        """
        if any(not text for text in stop):
            raise ConfigError("a stop string is empty; give at least one character, or leave --stop out")
        self._stop = tuple(stop)
        self._held = ""
        self.stopped = False
        """A stop string was found; nothing more comes."""

    def add(self, text: str) -> str:
        """What is now certain to come before any stop string."""
        if self.stopped or not self._stop:
            return "" if self.stopped else text
        self._held += text
        ends = [(at + len(stop), at) for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if ends:
            self.stopped = True
            certain, self._held = self._held[: min(ends)[1]], ""
            return certain
        keep = max(_overlap(self._held, stop) for stop in self._stop)
        certain = self._held[: len(self._held) - keep]
        self._held = self._held[len(certain) :]
        return certain

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """The length of the longest end of `text` that is a beginning of `stop`, but not all of it."""
    return next((n for n in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:n])), 0)
