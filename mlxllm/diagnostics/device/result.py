"""One line of the self-test: what was compared, how far apart it was, how far it may be."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import mlx.core as mx

Status = Literal["pass", "fail", "skip"]


class Skip(Exception):  # noqa: N818  (nothing is wrong)
    """Raised by a test that cannot say anything here; the message says why."""


@dataclass(frozen=True)
class Result:
    """A test that has run."""

    name: str
    status: Status
    difference: float | None
    """The largest one found, in `unit`; None where the test could not measure it."""
    tolerance: float
    """The test passes up to here."""
    seconds: float
    unit: str = ""
    """Empty: relative to the largest value of the reference."""
    note: str = ""
    """Why it was skipped, or what went wrong."""

    def as_json(self) -> dict[str, Any]:
        """The fields by name."""
        return asdict(self)


@dataclass(frozen=True)
class Test:
    """A test that can be run: `measure` returns the largest difference."""

    __test__ = False  # pytest: not a test class

    name: str
    tolerance: float
    measure: Callable[[], float]
    unit: str = ""

    def run(self) -> Result:
        """Measure; whatever goes wrong on the way is a failure of this test, not of the ones after it."""
        start = time.perf_counter()
        difference, note = None, ""
        status: Status = "fail"
        try:
            difference = self.measure()
        except Skip as reason:
            status, note = "skip", str(reason)
        except Exception as error:  # a report of a broken machine needs the other lines as well
            note = f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            if math.isfinite(difference):
                status = "pass" if difference <= self.tolerance else "fail"
            else:
                difference, note = None, "the difference is not a finite number"
        seconds = time.perf_counter() - start
        return Result(self.name, status, difference, self.tolerance, seconds, self.unit, note)


def relative_difference(got: mx.array, expected: mx.array) -> float:
    """max |got - expected| / max |expected|, computed in float32 on the CPU.

    Raises:
        ValueError: the shapes differ.
    """
    if got.shape != expected.shape:
        raise ValueError(f"shape {got.shape} instead of {expected.shape}")
    with mx.stream(mx.cpu):
        got, expected = got.astype(mx.float32), expected.astype(mx.float32)
        largest = mx.max(mx.abs(expected))
        return float(mx.max(mx.abs(got - expected)) / mx.maximum(largest, 1e-30))


def largest_difference(got: Sequence[mx.array], expected: Sequence[mx.array]) -> float:
    """The largest `relative_difference` of the pairs; not a number if one of them is not."""
    differences = [relative_difference(a, b) for a, b in zip(got, expected, strict=True)]
    return math.nan if any(math.isnan(d) for d in differences) else max(differences)
