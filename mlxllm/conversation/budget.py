"""How much a chat template may do: units of work that each operation pays for, and a clock behind them."""

import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from jinja2.utils import Namespace

BASE_WORK = 16 << 20
"""Units that a rendering may use whatever it renders: about one a character read or written."""
WORK_PER_INPUT = 32
"""Further units for each unit of input: a template may look at a long conversation several times."""
SECONDS = 1.0
"""Processor time that a rendering may take; real templates take well under a millisecond."""
MOST_INTEGER_BITS = 4096
STEP = 16
"""Units of anything that has no length: a call, an item, a number."""

_CHECKS_A_LOOK = 32
_UNITS_A_LOOK = 1 << 16
_MOST_DEPTH = 100


class TemplateLimitError(Exception):
    """A template wants to do more than a chat template has reason to."""


class Budget:
    """What one rendering may still do.

    Every operation of a template whose cost grows with its input pays before it is done, so that neither time
    nor memory can be had for nothing. The clock counts the processor time of this thread, so that a busy
    machine fails no template.
    """

    __slots__ = ("_checks", "_deadline", "_left", "_units")

    def __init__(self, work: int, seconds: float = SECONDS) -> None:
        """Start the clock."""
        self._left = work
        self._deadline = time.thread_time() + seconds
        self._checks = self._units = 0

    def charge(self, units: int) -> None:
        """Pay for `units` of work.

        Raises:
            TemplateLimitError: that is more than is left, or the time is over.
        """
        self._left -= units
        if self._left < 0:
            raise TemplateLimitError("it makes or reads far more text than the conversation has")
        self._checks += 1
        self._units += units
        if self._checks >= _CHECKS_A_LOOK or self._units >= _UNITS_A_LOOK:
            self._checks = self._units = 0
            if time.thread_time() > self._deadline:
                raise TemplateLimitError(f"it takes more than {SECONDS:.0f} s for one conversation")

    def shallow(self, value: Any) -> None:
        """Pay for an operation that touches `value` and its items, but nothing inside of them."""
        self.charge(STEP + _length(value))

    def deep(self, value: Any, per_level: int = 0) -> int:
        """Pay for an operation that walks all of `value`, such as writing or comparing it.

        A list that holds another one twice, which does so again, and so on, is small and yet has no end.

        Args:
            value: anything.
            per_level: further units for each item and level of nesting (indentation).

        Returns:
            What was paid.
        """
        if type(value) is str:
            self.charge(STEP + len(value))
            return STEP + len(value)
        total = 0
        stack = [(value, 0)]
        while stack:
            item, depth = stack.pop()
            cost = STEP + _length(item) + depth * per_level
            self.charge(cost)
            total += cost
            if depth > _MOST_DEPTH:
                raise TemplateLimitError(f"it nests lists more than {_MOST_DEPTH} deep")
            if isinstance(item, dict):
                stack += [(key, depth + 1) for key in item]
                stack += [(item[key], depth + 1) for key in item]
            elif isinstance(item, _CONTAINERS):
                stack += [(inner, depth + 1) for inner in item]
            elif isinstance(item, Namespace):
                stack.append((item._Namespace__attrs, depth + 1))
        return total

    def items(self, values: Iterable[Any]) -> Iterator[Any]:
        """The same items, each paid for."""
        for value in values:
            self.charge(STEP)
            yield value


def size_of(value: Any) -> int:
    """The units of a whole input: its characters, and a step an item.

    Raises:
        TemplateLimitError: it is nested without end.
    """
    return Budget(1 << 62, seconds=60.0).deep(value)


def check_number(value: Any) -> None:
    """Refuse integers of thousands of digits.

    Raises:
        TemplateLimitError: it is one.
    """
    if isinstance(value, int) and value.bit_length() > MOST_INTEGER_BITS:
        raise TemplateLimitError("it computes with numbers of thousands of digits")


_CONTAINERS: tuple[type[Collection[Any]], ...] = (
    list,
    tuple,
    set,
    frozenset,
    type({}.keys()),
    type({}.values()),
    type({}.items()),
)
_SIZED: tuple[type[Collection[Any]], ...] = (dict, *_CONTAINERS)


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, _SIZED):
        return STEP * len(value)
    check_number(value)
    return 0
