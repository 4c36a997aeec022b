"""The same text in several tokenizers: by characters, by bytes, and by BPE of several sizes."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlxllm.tokenizer.base import FIRST_LEARNED_ID, Tokenizer, utf8
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from mlxllm.tokenizer.merging import merge_count, smaller
from mlxllm.tokenizer.showing import read_as

EXAMPLES = (
    ("numbers", "In 2024, 3.14159 + 2,718,281 = 2,718,284.14159; 007 and 1e-9 as well."),
    ("spaces", "one  two   three    four\n\n    indented\ttab and  end  "),
    ("code", "def add(x, y):\n    return x + y  # 42\n\nif __name__ == '__main__':\n    print(add(1, 2))\n"),
    ("German", "Größe ändert Süßes: Straßenbahnhaltestelle."),
    ("Russian", "Привет, мир! Как дела?"),
    ("Chinese", "今天天气很好，我们去公园散步。"),
    ("Hindi", "नमस्ते दुनिया, आप कैसे हैं?"),
    ("Arabic", "مرحبا بالعالم، كيف حالك؟"),
    ("emoji", "🙂 👍🏽 👩‍👩‍👧 🇺🇳"),
)
"""Lines on which tokenizers part: a name, and a text."""
_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768, 65536)
_MOST_SIZES = 3
"""Smaller sizes that are shown of one BPE."""


@dataclass(frozen=True)
class Contender:
    """One way to cut a text."""

    name: str
    tokenizer: Tokenizer
    characters: bool = False
    """It is the one that knows every character of the text at hand."""

    @property
    def vocab_size(self) -> int | None:
        """Its ids; None where every character is one, however many there are."""
        return None if self.characters else self.tokenizer.vocab_size


@dataclass(frozen=True)
class Cut:
    """A text in tokens."""

    contender: Contender
    ids: list[int]
    pieces: list[str]
    """As they are read."""
    bytes: int
    """Of the text, in UTF-8."""

    @property
    def bytes_per_token(self) -> float | None:
        """None for an empty text."""
        return self.bytes / len(self.ids) if self.ids else None


def contenders(texts: Sequence[str], named: Sequence[tuple[str, Tokenizer]]) -> list[Contender]:
    """Characters, bytes, and each tokenizer that is named, our own BPE in several sizes.

    A BPE of fewer ids is made of the first merges of a larger one; see `merging.smaller`.

    Args:
        texts: whose characters there are.
        named: name and tokenizer.

    Raises:
        DataError: a text holds a lone surrogate.
    """
    for text in texts:
        utf8(text)  # whose message names the place
    letters = CharTokenizer(set().union(*texts))
    found = [Contender("characters", letters, True), Contender("bytes", ByteTokenizer())]
    for name, tokenizer in named:
        if isinstance(tokenizer, BpeTokenizer):
            found += [Contender(f"{name}, {size:,} ids", part) for size, part in sizes_of(tokenizer)]
        found.append(Contender(name, tokenizer))
    return found


def sizes_of(tokenizer: BpeTokenizer) -> list[tuple[int, BpeTokenizer]]:
    """Smaller tokenizers of the same merges, a few powers of two, the smallest first."""
    least = FIRST_LEARNED_ID + len(tokenizer.pieces) - merge_count(tokenizer)
    sizes = [size for size in _SIZES if least < size < tokenizer.vocab_size]
    chosen = sizes[:: max(1, -(-len(sizes) // _MOST_SIZES))]
    return [(size, smaller(tokenizer, size - least)) for size in chosen]


def cut(text: str, contender: Contender) -> Cut:
    """A text in the tokens of one of them.

    Raises:
        DataError: the text holds a lone surrogate.
    """
    tokenizer = contender.tokenizer
    ids = tokenizer.encode(text)
    return Cut(contender, ids, [read_as(tokenizer, i) for i in ids], len(text.encode("utf-8")))
