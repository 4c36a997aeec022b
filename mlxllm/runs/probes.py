"""A held-out passage through training: the loss of each of its tokens at every validation, as `probe` events tell it.

The first `probe` event of an attempt has the tokens (`token_ids`, `pieces`); each has `losses`, nats, null for a token that
is not scored. The numbers are those that enter the loss of the `val` event before it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mlxllm.errors import RunError
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.events import Event, parse_line

HALF = math.log(2)
"""The loss of a token that got half of the probability: below it the model finds it likelier than all others together."""
_BOUNDS = (-math.log(0.9), HALF, -math.log(0.1), -math.log(0.01))
CLASSES = ("90 % and more", "50 to 90 %", "10 to 50 %", "1 to 10 %", "below 1 %")
"""How likely a token was, the best first: see `class_of`."""
_PROBE_LINE = b'{"kind":"probe",'

Item = TypeVar("Item")
Loss = float | None
"""Nats; None where a token has none, or it is no number."""


def class_of(loss: float) -> int:
    """The place in `CLASSES` of a token with this loss: its probability is exp(-loss)."""
    return next((number for number, bound in enumerate(_BOUNDS) if loss <= bound), len(_BOUNDS))


@dataclass(frozen=True)
class PieceStory:
    """All tokens of a passage that are spelled alike."""

    piece: str
    count: int
    learnt: int
    """How many of them were learnt."""
    first: int | None
    """The step at which the first of them was."""
    last: int | None
    """The step at which all of them were; None while one is not."""
    loss: Loss
    """Their mean loss at the newest step."""


@dataclass(frozen=True)
class Probe:
    """The passage of a run, and its losses so far."""

    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    steps: tuple[int, ...]
    """At which it was scored, rising."""
    losses: tuple[tuple[Loss, ...], ...]
    """Of each step, one number a token."""

    def place(self, step: int | None) -> int:
        """The place of the newest scoring at or before a step; of the last one without a step, else of the first."""
        if step is None:
            return len(self.steps) - 1
        return max((number for number, at in enumerate(self.steps) if at <= step), default=0)

    def scored(self) -> list[bool]:
        """Which tokens have a loss at all."""
        return [any(row[token] is not None for row in self.losses) for token in range(len(self.token_ids))]

    def mean(self, place: int) -> Loss:
        """Nats a token over the scored tokens of the passage; None where one is no number."""
        found = [loss for loss, counts in zip(self.losses[place], self.scored(), strict=True) if counts]
        known = [loss for loss in found if loss is not None]
        return math.fsum(known) / len(known) if known and len(known) == len(found) else None

    def learnt(self, threshold: float = HALF) -> list[int | None]:
        """For each token the first step from which on its loss stays below `threshold`; None where there is none."""
        found: list[int | None] = []
        for token in range(len(self.token_ids)):
            since = None
            for step, row in zip(reversed(self.steps), reversed(self.losses), strict=True):
                loss = row[token]
                if loss is None or loss >= threshold:
                    break
                since = step
            found.append(since)
        return found

    def by_piece(self, threshold: float = HALF) -> list[PieceStory]:
        """Tokens grouped by how they are spelled: what was learnt first comes first, what never was comes last."""
        learnt, scored, newest = self.learnt(threshold), self.scored(), self.losses[-1]
        groups: dict[str, list[int]] = {}
        for token, piece in enumerate(self.pieces):
            if scored[token]:
                groups.setdefault(piece, []).append(token)
        stories = []
        for piece, tokens in groups.items():
            steps = [step for token in tokens if (step := learnt[token]) is not None]
            known = [loss for token in tokens if (loss := newest[token]) is not None]
            all_learnt = len(steps) == len(tokens)
            stories.append(
                PieceStory(
                    piece=piece,
                    count=len(tokens),
                    learnt=len(steps),
                    first=min(steps, default=None),
                    last=max(steps) if all_learnt else None,
                    loss=math.fsum(known) / len(known) if known else None,
                )
            )
        # Of equals the one that the model is surer of now.
        return sorted(
            stories,
            key=lambda s: (s.first is None, s.first or 0, -s.learnt / s.count, math.inf if s.loss is None else s.loss),
        )


def learnt_first(stories: Sequence[PieceStory]) -> list[tuple[int, list[PieceStory]]]:
    """Those of which one was learnt, by the step at which the first one was."""
    found: dict[int, list[PieceStory]] = {}
    for story in stories:
        if story.first is not None:
            found.setdefault(story.first, []).append(story)
    return sorted(found.items())


def never_learnt(stories: Sequence[PieceStory]) -> list[PieceStory]:
    """Those of which one was not, the most frequent first, of equals the one that is predicted worst."""
    missing = [story for story in stories if story.learnt < story.count]
    return sorted(missing, key=lambda s: (s.learnt - s.count, -(s.loss or 0.0)))


class ProbeLog:
    """Adds up `probe` events."""

    def __init__(self) -> None:
        """Nothing has been told."""
        self._tokens: tuple[tuple[int, ...], tuple[str, ...]] = ((), ())
        self._losses: dict[int, tuple[Loss, ...]] = {}
        self._probe: Probe | None = None

    def add(self, event: Event) -> None:
        """Take one event, in order; a damaged one is passed over."""
        if event["kind"] != "probe":
            return
        ids, pieces = _all_of(event.get("token_ids"), int), _all_of(event.get("pieces"), str)
        if ids and len(ids) == len(pieces):
            tokens = (ids, pieces)
            if tokens != self._tokens:
                self._tokens, self._losses = tokens, {}
        step, losses = event.get("step"), event.get("losses")
        if isinstance(step, int) and isinstance(losses, list) and 0 < len(losses) == len(self._tokens[0]):
            self._losses[step] = tuple(_loss(each) for each in losses)
            self._probe = None

    @property
    def probe(self) -> Probe | None:
        """What is known now; None without any."""
        if self._probe is None and self._losses:
            steps = sorted(self._losses)
            self._probe = Probe(*self._tokens, tuple(steps), tuple(self._losses[step] for step in steps))
        return self._probe


def read_probe(run: RunDirectory) -> Probe:
    """The passage of a run.

    Raises:
        RunError: its events cannot be read, or tell of none.
    """
    log = ProbeLog()
    for event in _events(run.events):
        log.add(event)
    if log.probe is None:
        raise RunError(
            f"run {run.name!r} has kept no losses of single tokens: it was trained by an older version, or nothing was "
            f"held out; `mlxllm resume {run.address}` keeps them from now on where there is something to validate on"
        )
    return log.probe


def _events(path: Path) -> list[Event]:
    """The `probe` events of a file; the lines of others are not parsed."""
    try:
        with open(path, "rb") as file:
            lines = [line for line in file if line.startswith(_PROBE_LINE) and line.endswith(b"\n")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    return [event for line in lines if (event := parse_line(line)) is not None]


def _all_of(values: object, kind: type[Item]) -> tuple[Item, ...]:
    """A list of one kind; empty where it is anything else."""
    if not isinstance(values, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
        return ()
    return tuple(values)


def _loss(value: object) -> Loss:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and math.isfinite(value) else None  # type: ignore[arg-type]
