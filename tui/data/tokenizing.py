"""A tokenizer at work, without a screen: its merges on a text step by step, and the same text in several tokenizers."""

from dataclasses import dataclass, field
from pathlib import Path

from mlxllm.errors import UserError
from mlxllm.tokenizer import Tokenizer, load_tokenizer
from mlxllm.tokenizer.comparing import EXAMPLES, Cut, contenders, cut
from mlxllm.tokenizer.known import Known, known_tokenizers
from mlxllm.tokenizer.merging import MergeWalk, merges_of
from mlxllm.visible import visible

SAMPLE = 'Once upon a time, the little dog said: "Hello!" It was 3.14 degrees, and she couldn\'t sleep.'
TEXTS = (("a sentence", SAMPLE), *EXAMPLES)
"""What is looked at until something is typed: a name, and a text."""
LONGEST = 2_000
"""Characters of a text that can be played with."""


@dataclass(frozen=True)
class Cell:
    """A symbol at a step."""

    text: str
    made: bool = False
    """The step has made it."""
    next: bool = False
    """The next step joins it with its neighbour."""


@dataclass(frozen=True)
class Row:
    """The text in one tokenizer."""

    name: str
    vocab: str
    tokens: int
    rate: str
    """Bytes a token."""
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Work:
    """What a tokenizer makes of a text."""

    text: str = ""
    walk: MergeWalk | None = None
    trouble: str = ""
    """Why there are no merges to look at, in a sentence."""
    rows: tuple[Row, ...] = ()

    @property
    def steps(self) -> int:
        """How many merges there are."""
        return len(self.walk.merges) if self.walk is not None else 0

    def cells(self, step: int) -> list[Cell]:
        """The symbols behind so many steps; behind the last one the tokens."""
        walk = self.walk
        if walk is None:
            return []
        state = walk.state(step)
        if step >= self.steps and tuple(state) != walk.last:  # characters without a piece are bytes by then
            return [Cell(visible(walk.shown(symbol))) for symbol in walk.last]
        made = walk.merges[step - 1].at if step else -1
        joined: range = range(0)
        if step < self.steps:
            merge = walk.merges[step]
            joined = range(merge.at, merge.at + len(merge.parts))
        return [
            Cell(visible(walk.shown(symbol)), number == made, number in joined) for number, symbol in enumerate(state)
        ]

    def told(self, step: int) -> str:
        """What the step did, in a line."""
        walk = self.walk
        if walk is None:
            return self.trouble
        left = len(walk.first) - sum(len(merge.parts) - 1 for merge in walk.merges[:step])
        where = f"step {step:,} of {self.steps:,}   {left:,} symbols"
        if step == self.steps and len(walk.last) > left:
            where += f", {len(walk.last):,} tokens: characters without a piece become bytes"
        if not step:
            return f"{where}   nothing is merged yet"
        merge = walk.merges[step - 1]
        pair = " + ".join(visible(walk.shown(part)) for part in merge.parts)
        rule = "a word of the vocabulary" if merge.rank is None else f"merge {merge.rank:,} of {walk.rules:,}"
        return f"{where}   {pair} becomes {visible(walk.shown(merge.piece))}: {rule}"


@dataclass
class Bench:
    """Opens tokenizers once. Called in a worker thread, by one at a time."""

    known: list[Known] = field(default_factory=list)
    """The BPE tokenizers that are there."""
    _open: dict[Path, Tokenizer] = field(default_factory=dict)

    def look_again(self) -> None:
        """Find out which tokenizers there are."""
        self.known = [each for each in known_tokenizers() if each.kind == "bpe"]

    def work(self, chosen: Known | None, text: str) -> Work:
        """What a tokenizer makes of a text; never raises, what is wrong is said."""
        text = text[:LONGEST]
        try:
            tokenizer = self._opened(chosen) if chosen is not None else None
            named = [(chosen.label, tokenizer)] if chosen is not None and tokenizer is not None else []
            rows = tuple(_row(cut(text, each)) for each in contenders([text], named))
            walk = merges_of(tokenizer, text) if tokenizer is not None else None
        except UserError as error:
            return Work(text, trouble=str(error))
        none = (
            "There is no BPE tokenizer yet: build a dataset with one (b on the Data screen), then its merges are here."
        )
        return Work(text, walk, "" if walk is not None else none, rows)

    def _opened(self, known: Known) -> Tokenizer:
        if known.path not in self._open:
            self._open[known.path] = load_tokenizer(known.path)
        return self._open[known.path]


def _row(found: Cut) -> Row:
    size, rate = found.contender.vocab_size, found.bytes_per_token
    return Row(
        name=found.contender.name,
        vocab="any" if size is None else f"{size:,}",
        tokens=len(found.ids),
        rate="-" if rate is None else f"{rate:.2f}",
        pieces=tuple(visible(piece) for piece in found.pieces),
    )
