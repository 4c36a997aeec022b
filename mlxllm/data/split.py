"""Which documents are held out for validation, the same ones in whatever order they come.

Many documents: by a hash of the text, so that equal texts never stand on both sides. One long text: by
position, its end is validation. Both are functions of the text and the fraction alone.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import xxhash

from mlxllm.data.sources.base import Problems, Source

Split = Literal["train", "val"]

PIECE_CHARS = 1 << 16
"""Longer texts are tokenized in pieces of at most this many characters."""
_JOINERS = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a document on one side of the split."""

    text: str
    split: Split
    ends: bool
    """The document ends behind this piece."""


class ByPosition:
    """A source whose last part is held out, whole documents or not: for too few texts to split by a hash."""

    single_text = True

    def __init__(self, source: Source) -> None:
        """Documents, name and problems stay those of `source`."""
        self.name, self.spec, self.problems = source.name, source.spec, source.problems
        self.documents = source.documents


def is_validation(text: str, val_split: float) -> bool:
    """Whether the document `text` is held out (`val_split` in [0, 1))."""
    return val_threshold(text) < val_split


def val_threshold(text: str) -> float:
    """The `val_split` above which the document `text` is held out."""
    return xxhash.xxh3_128_intdigest(text.encode(errors="surrogatepass")) / 2.0**128


def split_pieces(source: Source, val_split: float, problems: Problems | None = None) -> Iterator[Piece]:
    """The documents of a source in order, each in pieces small enough to tokenize, with their side of the
    split.

    A document that its source hands out in pieces is judged by the first of them. Texts of nothing but blanks
    are left out and counted in `problems`.
    """
    if source.single_text:
        yield from _by_position(source, val_split)
        return
    split: Split | None = None
    for document in source.documents():
        if split is None:
            if not document.more and not document.text.strip():
                if problems is not None:
                    problems.drop("empty", document.id)
                continue
            split = "val" if is_validation(document.text, val_split) else "train"
        yield from _pieces(document.text, split, ends=not document.more)
        if not document.more:
            split = None


def training_texts(sources: Sequence[Source], val_split: float) -> Iterator[str]:
    """The texts of the train side alone, for a tokenizer to learn from."""
    for source in sources:
        for piece in split_pieces(source, val_split):
            if piece.split == "train" and piece.text:
                yield piece.text


def cut_text(text: str, limit: int = PIECE_CHARS) -> Iterator[str]:
    """`text` in stretches of at most `limit` characters, cut behind white space where there is any."""
    start = 0
    while len(text) - start > limit:
        end = _sensible_cut(text, start + limit, limit // 2)
        yield text[start:end]
        start = end
    yield text[start:]


def _by_position(source: Source, val_split: float) -> Iterator[Piece]:
    """The texts cut near character (1 - val_split) * length, at a line or word end where one is near."""
    total = sum(len(document.text) for document in source.documents())
    held_out = round(total * val_split)
    cut, position, within = total - held_out, 0, False
    split: Split = "train"
    for document in source.documents():
        text = document.text
        if split == "train" and position + len(text) > cut:
            here = _sensible_cut(text, cut - position, min(1000, held_out // 10))
            if here or within:
                yield from _pieces(text[:here], "train", ends=True)
            text, split = text[here:], "val"
            position += here
        yield from _pieces(text, split, ends=not document.more)
        position += len(text)
        within = document.more


def _pieces(text: str, split: Split, ends: bool) -> Iterator[Piece]:
    stretches = [text] if len(text) <= PIECE_CHARS else list(cut_text(text))
    for number, stretch in enumerate(stretches):
        yield Piece(stretch, split, ends and number == len(stretches) - 1)


def _sensible_cut(text: str, end: int, window: int) -> int:
    """A place in text[end - window : end] behind a line break, else before a blank, else anywhere."""
    low = max(end - window, 0)
    line = text.rfind("\n", low, end) + 1
    if line > low:
        return line
    # From near to far: the last blank is seldom more than a word away.
    for start in (max(low, end - 64), max(low, end - 4096), low):
        blanks = [match.start() for match in re.finditer(r"(?<=\S)\s", text[start:end])]
        if blanks:
            return start + blanks[-1]
    for back in range(min(16, end)):
        here = end - back
        if here < len(text) and not _belongs_together(text[here - 1], text[here]):
            return here
    return end


def _belongs_together(before: str, after: str) -> bool:
    """Whether two code points show as one character: CR LF, a letter and its accent, a joined emoji."""
    return (
        (before == "\r" and after == "\n")
        or before == "\u200d"
        or after in _JOINERS
        or unicodedata.combining(after) != 0
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    )
