"""BPE's merges on a text, one after another: what the encoder does inside, step by step.

A text begins as symbols, single characters or what stands for bytes. At each step, of all neighbours that have a rule, the
pair with the lowest rank is joined, the leftmost first, until none is left. Our own BPE ranks the piece that comes of it,
by its id; a tokenizer.json ranks the pair. Where a tokenizer.json cuts a text into words first, no merge crosses them: then
the order of ranks over the whole text is the order within each word.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from mlxllm.errors import DataError
from mlxllm.tokenizer.base import FIRST_BYTE_ID, FIRST_LEARNED_ID, Tokenizer, utf8
from mlxllm.tokenizer.bpe import BpeTokenizer

LONGEST = 20_000
"""Characters of a text whose merges are shown."""

Rule = Callable[[tuple[str, str]], tuple[int, str] | None]
"""Two neighbours -> the rank of their merge, lower is earlier, and what they become; None where they stay two."""


@dataclass(frozen=True, slots=True)
class Merge:
    """One step."""

    at: int
    """Which symbol it begins at, counted in the symbols before the step."""
    parts: tuple[str, ...]
    """The symbols that were joined; more than two where a word is taken whole."""
    piece: str
    """What they became."""
    rank: int | None
    """Of the rule, from 0; None where a word is taken whole because the vocabulary has it."""


@dataclass(frozen=True)
class MergeWalk:
    """All steps of a text. Symbols are written in the tokenizer's own letters."""

    first: tuple[str, ...]
    """The symbols before the first step."""
    merges: tuple[Merge, ...]
    last: tuple[str, ...]
    """The symbols behind the last step."""
    ids: tuple[int, ...]
    """The ids of the tokens, which are what encoding the text gives."""
    rules: int
    """How many merges the tokenizer knows."""
    shown: Callable[[str], str]
    """A symbol as text for the eye."""

    def state(self, steps: int) -> list[str]:
        """The symbols behind so many steps."""
        symbols = list(self.first)
        for merge in self.merges[: max(0, steps)]:
            symbols[merge.at : merge.at + len(merge.parts)] = [merge.piece]
        return symbols


def merges_of(tokenizer: Tokenizer, text: str) -> MergeWalk:
    """The merges of a BPE tokenizer on a text.

    Raises:
        DataError: the text is longer than `LONGEST`, or the tokenizer is not BPE.
    """
    if len(text) > LONGEST:
        raise DataError(
            f"the text has {len(text):,} characters; merges are shown of up to {LONGEST:,}, so give a shorter one"
        )
    if isinstance(tokenizer, BpeTokenizer):
        return _of_pieces(tokenizer, text)
    if tokenizer.kind == "hub":
        return _of_pairs(tokenizer, text)
    raise DataError(
        f"a {tokenizer.kind} tokenizer merges nothing: each {'byte' if tokenizer.kind == 'byte' else 'character'} is a "
        f"token; take a BPE tokenizer, which `mlxllm tokenizer train NAME --kind bpe --input FILES` makes"
    )


def smaller(tokenizer: BpeTokenizer, merges: int) -> BpeTokenizer:
    """The tokenizer that has all single characters of `tokenizer` and only its first `merges` merges.

    Pieces are learned one after another, each out of those before, so that this is what training with a smaller vocabulary
    makes of the same text (but for pieces that the larger training found to be of no use).
    """
    kept = iter(range(merges))
    return BpeTokenizer([p for p in tokenizer.pieces if len(p) == 1 or next(kept, None) is not None])


def merge_count(tokenizer: BpeTokenizer) -> int:
    """How many pieces come of a merge, which single characters do not."""
    return sum(len(piece) > 1 for piece in tokenizer.pieces)


def _of_pieces(tokenizer: BpeTokenizer, text: str) -> MergeWalk:
    utf8(text)
    ranks = {piece: rank for rank, piece in enumerate(p for p in tokenizer.pieces if len(p) > 1)}
    ids = {piece: FIRST_LEARNED_ID + n for n, piece in enumerate(tokenizer.pieces)}

    def rule(pair: tuple[str, str]) -> tuple[int, str] | None:
        piece = pair[0] + pair[1]
        rank = ranks.get(piece)
        return None if rank is None else (rank, piece)

    merges, symbols = _walk([_Word(list(text))], rule)
    last: list[str] = []
    numbers: list[int] = []
    for symbol in symbols:
        number = ids.get(symbol)
        if number is not None:
            last.append(symbol)
            numbers.append(number)
            continue
        for byte in symbol.encode("utf-8"):  # a character without a piece
            last.append(f"<0x{byte:02X}>")
            numbers.append(FIRST_BYTE_ID + byte)
    return MergeWalk(tuple(text), tuple(merges), tuple(last), tuple(numbers), len(ranks), str)


def _of_pairs(tokenizer: Tokenizer, text: str) -> MergeWalk:
    from mlxllm.tokenizer.hub import HubTokenizer  # the tokenizers library is loaded only for these
    from mlxllm.tokenizer.hub_pairs import HubPairs

    assert isinstance(tokenizer, HubTokenizer)
    pairs = HubPairs(tokenizer)
    words = [_Word(*pairs.begin(ids)) for ids in tokenizer.encode_words(text)]
    merges, symbols = _walk(words, pairs.ranked.get)
    ids = [pairs.ids[symbol] for symbol in symbols]
    if ids != tokenizer.encode(text):
        raise DataError(
            "the merges of this tokenizer.json do not lead to the tokens that it gives for this text, so that they cannot be "
            "shown; a piece of the text may spell one of its special tokens"
        )
    first = tuple(symbol for word in words for symbol in word.symbols)
    return MergeWalk(first, tuple(merges), tuple(symbols), tuple(ids), len(pairs.ranked), pairs.shown)


@dataclass(frozen=True, slots=True)
class _Word:
    """A stretch that no merge crosses."""

    symbols: list[str]
    whole: bool = False
    """It is taken as one token without any merge."""


def _walk(words: Sequence[_Word], rule: Rule) -> tuple[list[Merge], list[str]]:
    """All merges in their order, and the symbols at the end."""
    symbols = [symbol for word in words for symbol in word.symbols]
    count = len(symbols)
    follows, before = list(range(1, count + 1)), list(range(-1, count - 1))
    alive = list(range(count))
    merges: list[Merge] = []
    waiting: list[tuple[int, int, str, str, str]] = []
    start = 0
    for word in words:
        end = start + len(word.symbols)
        if end > start:
            follows[end - 1] = before[start] = -1
        if word.whole and end - start > 1:
            at = bisect_left(alive, start)
            symbols[start] = "".join(word.symbols)
            merges.append(Merge(at, tuple(word.symbols), symbols[start], None))
            del alive[at + 1 : at + end - start]
            follows[start] = -1
        start = end

    def consider(left: int) -> None:
        if left >= 0 and (right := follows[left]) >= 0 and (found := rule((symbols[left], symbols[right]))) is not None:
            heappush(waiting, (found[0], left, symbols[left], symbols[right], found[1]))

    for left in alive:
        consider(left)
    gone = set(range(count)) - set(alive)
    while waiting:
        rank, left, one, other, piece = heappop(waiting)
        right = follows[left]
        if left in gone or right < 0 or symbols[left] != one or symbols[right] != other:
            continue  # one of the two has become part of something else
        at = bisect_left(alive, left)
        merges.append(Merge(at, (one, other), piece, rank))
        del alive[at + 1]
        gone.add(right)
        symbols[left], follows[left] = piece, follows[right]
        if follows[left] >= 0:
            before[follows[left]] = left
        consider(before[left])
        consider(left)
    return merges, [symbols[place] for place in alive]
