"""Whether what a reader made of an export is what the model makes of it: the bounds, and one row of the table.

The bounds on logits grow with the largest logit beyond 5, since float32 has seven digits of it. Deep models add up more
rounding than that in a few logits: up to ten times the bound passes where the distributions are the same within a hundredth
of their own bound, which no wrong weight leaves them; the note of the row says so. A first difference among the greedy
tokens is excused where the model itself holds the two tokens equal within twice the bound (or within twice what was
excused): that is a tie, and the rest of the two continuations cannot be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mlxllm.export.measuring import Logits, Measured
from mlxllm.export.readers.running import Reading
from mlxllm.visible import brief


class Bounds(NamedTuple):
    """What may differ at most."""

    logits: float
    """Of any logit."""
    kl: float
    """Mean KL divergence, nats a token."""
    greedy: bool = True
    """Whether the greedy tokens have to be equal."""


_BOUNDS = {
    "float32": Bounds(1e-4, 1e-6),
    "bfloat16": Bounds(0.5, 2e-2, greedy=False),
    "float16": Bounds(0.05, 2e-3, greedy=False),
}
_ROUNDING, _ROUNDING_KL = 10, 0.01
_QUANTISED_KL = {8: 0.1, 6: 0.2}
"""Bits a weight -> mean KL divergence that passes; below 6 bits it is 1 nat."""


@dataclass(frozen=True)
class Row:
    """One reader's result."""

    reader: str
    status: str
    """`passed`, `failed`, or why it was not asked: `not installed`, `skipped`."""
    version: str = ""
    ids_equal: bool | None = None
    """Of all texts, and of the conversation."""
    max_logit_difference: float | None = None
    kl: float | None = None
    """Mean over the positions, nats a token."""
    greedy_equal: bool | None = None
    top_kept: float | None = None
    """Share of the positions at which the likeliest token is the same; measured where weights are rounded to a few bits."""
    note: str = ""
    """What is wrong, or was excused, in a sentence."""


@dataclass(frozen=True)
class Reference:
    """What readers are held to."""

    ids: list[list[int]]
    """Of each text."""
    chat_ids: list[int] | None
    measured: Measured
    bounds: Bounds
    texts: Sequence[str] = ()
    """What the ids are of, to be shown."""

    @property
    def max_logit_bound(self) -> float:
        """The bound for logits of this size."""
        return self.bounds.logits * max(1.0, float(np.abs(self.measured.logits).max()) / 5)


def bounds_for(computed_in: str) -> Bounds:
    """The bounds for a computation in this dtype."""
    return _BOUNDS[computed_in]


def quantised_bounds(bits: int) -> Bounds:
    """For a model whose matrices were packed, against the one before: it is another one, but still knows the text."""
    return Bounds(float("inf"), _QUANTISED_KL.get(bits, 1.0), greedy=False)


def judge(reader: str, reading: Reading, reference: Reference, excused_ids: str = "") -> Row:
    """The row of a reader that could read the export.

    Args:
        reader: its name.
        reading: what it made of it.
        reference: what it is held to.
        excused_ids: why its ids may be others, in a sentence; empty where they may not.
    """
    measured, bound, problems = reference.measured, reference.max_logit_bound, []
    where = _first_different_ids(reading, reference) if not excused_ids else ""
    if where:
        problems.append(where)
    difference, divergence, excuses = None, None, []
    if reading.logits.shape != measured.logits.shape:
        problems.append(f"logits have the shape {reading.logits.shape}, not {measured.logits.shape}")
    elif not np.isfinite(measured.logits).all():
        problems.append("some logits of the model itself are not numbers")
    elif not np.isfinite(reading.logits).all():
        problems.append("some logits are not numbers")
    else:
        difference = float(np.abs(reading.logits - measured.logits).max())
        divergence = mean_kl(measured.logits, reading.logits)
        if bound < difference <= _ROUNDING * bound and divergence <= _ROUNDING_KL * reference.bounds.kl:
            excuses.append(
                f"a logit differs by {difference:.2g}, more than {bound:.2g}, which is rounding: KL is {divergence:.2g} nats"
            )
            bound = difference
        if difference > bound:
            problems.append(f"a logit differs by {difference:.2g}, more than {bound:.2g}")
        elif divergence > reference.bounds.kl:
            problems.append(f"KL is {divergence:.2g} nats, more than {reference.bounds.kl:.2g}")
    equal = reading.greedy == list(measured.greedy)
    if not equal and reading.prompt_ids == list(measured.prompt_ids):
        at, gap = _first_other_token(reading.greedy, measured)
        what = f"greedy token {at + 1} of {len(measured.greedy)} is another one"
        if reference.bounds.greedy and gap <= 2 * bound:
            equal = True
            excuses.append(f"{what}, which is a tie: their logits are {gap:.2g} apart")
        elif reference.bounds.greedy:
            problems.append(what)
        else:
            excuses.append(what)
    return Row(
        reader=reader,
        status="failed" if problems else "passed",
        version=reading.version,
        ids_equal=not where,
        max_logit_difference=difference,
        kl=divergence,
        greedy_equal=equal,
        note="; ".join(problems or filter(None, [excused_ids, *excuses])),
    )


def mean_kl(reference: Logits, other: Logits) -> float:
    """Mean over the rows of KL(reference || other) of the distributions that (T, V) logits stand for, in nats."""
    total = 0.0
    for ours, theirs in zip(reference, other, strict=True):  # one row at a time: V may be large
        p, q = _log_probabilities(ours), _log_probabilities(theirs)
        total += float(np.sum(np.exp(p) * (p - q)))
    return max(0.0, total / len(reference))


def _log_probabilities(logits: Logits) -> np.ndarray:
    row = logits.astype(np.float64)
    row -= row.max()
    row -= np.log(np.exp(row).sum())
    return row


def _first_different_ids(reading: Reading, reference: Reference) -> str:
    """Where the ids are others, in a few words; empty where they are equal."""
    for number, (theirs, ours) in enumerate(zip(reading.ids, reference.ids, strict=True), 1):
        if theirs != ours:
            shown = f" ({brief(reference.texts[number - 1][:30])})" if number <= len(reference.texts) else ""
            return f"text {number}{shown} has other ids {_from_where(theirs, ours)}"
    if reading.prompt_ids != list(reference.measured.prompt_ids):
        where = _from_where(reading.prompt_ids, list(reference.measured.prompt_ids))
        return f"the prompt has other ids {where}, with what the tokenizer puts before it"
    if reference.chat_ids is not None and reading.chat_ids != reference.chat_ids:
        return f"the conversation has other ids {_from_where(reading.chat_ids or [], reference.chat_ids)}"
    return ""


def _from_where(theirs: Sequence[int], ours: Sequence[int]) -> str:
    """`from token 3 on (5, 6 and not 7)`."""
    at = _first_difference(theirs, ours)
    there, here = (", ".join(map(str, ids[at : at + 3])) or "nothing" for ids in (theirs, ours))
    return f"from token {at + 1:,} on ({there} and not {here})"


def _first_difference(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _first_other_token(greedy: Sequence[int], measured: Measured) -> tuple[int, float]:
    """Where a continuation leaves the model's, and how far the model holds the two tokens apart there."""
    at = _first_difference(greedy, measured.greedy)
    if at >= min(len(greedy), len(measured.greedy)):
        return at, float("inf")  # it ended early
    row = measured.greedy_logits[at]
    return at, float(row[measured.greedy[at]] - row[greedy[at]])
