"""The held-out passage of a run at one validation, and what of it was learnt when, as plain values for a screen."""

import math
from dataclasses import dataclass

from mlxllm.runs.probes import CLASSES, HALF, Loss, PieceStory, Probe, class_of, learnt_first, never_learnt
from mlxllm.visible import readable, visible
from tui.words import number

LEGEND = (*CLASSES[:-1], f"{CLASSES[-1]} likely")
"""What the classes of tokens mean, the best first."""
_MOST_PIECES = 14
_MOST_STEPS = 4


@dataclass(frozen=True)
class PassageSeen:
    """The passage as the model predicted it at a step."""

    head: str
    tokens: tuple[tuple[str, int | None], ...]
    """Text and class of each token; None where the token is not scored."""
    means: tuple[float, ...]
    """Nats a token at each validation; NaN where that is no number."""
    place: int
    """Which of them is shown."""


def seen_at(probe: Probe, place: int) -> PassageSeen:
    """The passage at validation number `place`."""
    step, mean, first = probe.steps[place], probe.mean(place), probe.mean(0)
    before = f", {_nats(first)} at step {probe.steps[0]:,}" if place else ""
    head = f"step {step:,}   {_nats(mean)} nats a token{before}   validation {place + 1} of {len(probe.steps)}"
    tokens = tuple(
        (readable(piece), None if loss is None else class_of(loss))
        for piece, loss in zip(probe.pieces, probe.losses[place], strict=True)
    )
    known = [probe.mean(each) for each in range(len(probe.steps))]
    return PassageSeen(head, tokens, tuple(math.nan if each is None else each for each in known), place)


def story_of(probe: Probe, threshold: float = HALF) -> list[tuple[str, str]]:
    """What was learnt first and what never, as lines of a name and its text."""
    stories = probe.by_piece(threshold)
    learnt, count = sum(s.learnt for s in stories), sum(s.count for s in stories)
    limit = f"{100 * math.exp(-threshold):.0f} % likely or more from some step on"
    lines = [("learnt", f"{learnt:,} of {count:,} tokens: {limit}")]
    for place, (step, pieces) in enumerate(learnt_first(stories)[:_MOST_STEPS]):
        lines.append(("" if place else "first", f"step {step:,}: {_listed(pieces, never=False)}"))
    if never := never_learnt(stories):
        lines.append(("never yet", _listed(never, never=True)))
    return lines


def _listed(stories: list[PieceStory], *, never: bool) -> str:
    parts = []
    for story in stories[:_MOST_PIECES]:
        here = story.count - story.learnt if never else story.learnt
        parts.append(visible(story.piece) + (f" {here} of {story.count}" if story.count > 1 else ""))
    more = len(stories) - _MOST_PIECES
    return "  ".join(parts) + (f"  and {more:,} more" if more > 0 else "")


def _nats(loss: Loss) -> str:
    return "no number of" if loss is None else number(loss)
