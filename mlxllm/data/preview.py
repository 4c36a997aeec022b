"""Looking at a source before it is built: its first documents, the same in tokens, and how they would be trained on.

All of it is bounded, in time and in size, and none of it is written anywhere.
"""

import statistics as numbers
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice

from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.sources.base import Document, Dropped, Problems, Source, extent_of
from mlxllm.tokenizer import Tokenizer, TokenizerRecipe, choose_tokenizer

MOST_BYTES = 4 << 20
"""Of text that a preview reads, and of each file that it looks into."""
MOST_SECONDS = 2.0
SHOWN_DOCUMENTS = 20
SHOWN_CHARS = 8000
"""Of a document."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The beginning of one document."""

    id: str
    """Where it came from."""
    text: str
    """Its first characters."""
    complete: bool
    """Whether that is all of it."""


@dataclass(frozen=True, slots=True)
class SourcePreview:
    """What the beginning of a source looks like."""

    name: str
    spec: str
    single_text: bool
    """One long text, which is split by position."""
    shown: tuple[Shown, ...]
    """The first documents."""
    texts: tuple[str, ...]
    """Everything that was read, a text a document; the last may be a beginning only."""
    complete: bool
    """Whether that is the whole source."""
    problems: Problems
    """What was left out or mended on the way."""
    expected_bytes: int | None
    """UTF-8 bytes of text in the whole source, about."""
    expected_documents: int | None
    """Documents in the whole source, about."""

    @property
    def bytes(self) -> int:
        """UTF-8 bytes of what was read."""
        return sum(len(text.encode(errors="surrogatepass")) for text in self.texts)

    @property
    def chars(self) -> int:
        """Characters of what was read."""
        return sum(map(len, self.texts))


@dataclass(frozen=True, slots=True)
class TokenPreview:
    """A preview in tokens."""

    token_ids: list[int]
    """The beginning, each document ended by <|endoftext|>."""
    pieces: list[str]
    """Each of them as a reader would know it."""
    tokens: int
    """Of all that was read, the ends of documents included."""
    bytes: int
    """UTF-8 bytes of the same text."""
    lengths: tuple[int, ...]
    """Tokens of each document, its end included."""
    most_frequent: tuple[tuple[int, str, int], ...]
    """Id, piece and count, the most frequent first."""
    used_ids: int
    """How many different ids occur."""
    vocab_size: int

    @property
    def bytes_per_token(self) -> float | None:
        """Bytes that a token of text stands for on average."""
        text_tokens = self.tokens - len(self.lengths)
        return self.bytes / text_tokens if text_tokens else None


@dataclass(frozen=True, slots=True)
class StreamRow:
    """A row of pre-training: a stretch of the stream in which documents stand one behind the other."""

    parts: tuple[tuple[int, int], ...]
    """Number of a document and how many of its tokens stand here, in order; attention crosses from one to the next."""


def preview_source(
    source: Source,
    cleaner: Cleaner | None = None,
    *,
    most_bytes: int = MOST_BYTES,
    seconds: float = MOST_SECONDS,
    cancelled: Callable[[], bool] = lambda: False,
) -> SourcePreview:
    """Read the beginning of a source.

    Args:
        source: it is read from the start; of large files only the beginning, where the source can do that.
        cleaner: what it leaves out is left out and told; None cleans nothing.
        most_bytes: stop behind so many bytes of text.
        seconds: stop so long after the first document.
        cancelled: nobody waits for it any more: stop at the next document.

    Raises:
        DataError: there is nothing to read.
    """
    extent = extent_of(source)
    head = getattr(source, "head", None)
    if head is not None:
        source = head(most_bytes)
    until: float | None = None
    texts: list[str] = []
    names: list[str] = []
    size, complete, more = 0, True, False
    for read in source.documents():
        document: Document | Dropped = read if cleaner is None or more or read.more else cleaner.clean(read)
        if isinstance(document, Dropped):
            source.problems.drop(document.reason, document.where, document.detail)
            if (until is not None and time.monotonic() > until) or cancelled():
                complete = False
                break
            continue
        if more:
            texts[-1] += document.text
        else:
            texts.append(document.text)
            names.append(document.id)
        more = document.more
        size += len(document.text.encode(errors="surrogatepass"))
        until = until or time.monotonic() + seconds  # some sources think before they give their first
        if size >= most_bytes or time.monotonic() > until or cancelled():
            complete = False
            break
    complete = complete and (extent.bytes is None or head is None or extent.bytes <= most_bytes)
    shown = [
        Shown(name, text[:SHOWN_CHARS], len(text) <= SHOWN_CHARS and (complete or number < len(texts) - 1 or not more))
        for number, (name, text) in enumerate(islice(zip(names, texts, strict=True), SHOWN_DOCUMENTS))
    ]
    mean = size / len(texts) if texts else None
    documents, expected = extent.documents, extent.bytes
    if complete:
        documents, expected = len(texts), size
    elif expected is None and documents and mean:
        expected = round(documents * mean)
    elif documents is None and expected and mean and len(texts) > 1:
        documents = round(expected / mean)
    return SourcePreview(
        source.name,
        source.spec,
        source.single_text,
        tuple(shown),
        tuple(texts),
        complete,
        source.problems,
        expected,
        documents,
    )


def preview_tokenizer(name: str, texts: Sequence[str]) -> Tokenizer:
    """The tokenizer called `name`; one that is still to be made is made from the texts of a preview.

    Raises:
        ConfigError: there is none of that name.
        DataError: it is damaged, or there is no text to make it from.
    """
    chosen = choose_tokenizer(name)
    return chosen.make(texts) if isinstance(chosen, TokenizerRecipe) else chosen


def tokenize_preview(
    texts: Sequence[str], tokenizer: Tokenizer, *, shown: int = 4000, frequent: int = 40
) -> TokenPreview:
    """The texts in tokens.

    Args:
        texts: as a preview has them.
        tokenizer: theirs.
        shown: how many tokens of the beginning to give.
        frequent: how many of the most frequent ones.
    """
    counts: Counter[int] = Counter()
    first: list[int] = []
    lengths = []
    for ids in tokenizer.encode_to_array(list(texts)):
        listed = [*tokenizer.prefix_ids, *ids.tolist(), tokenizer.eot_id]
        counts.update(listed)
        lengths.append(len(listed))
        first += listed[: max(0, shown - len(first))]
    most = tuple((i, tokenizer.piece(i), count) for i, count in counts.most_common(frequent))
    size = sum(len(text.encode(errors="surrogatepass")) for text in texts)
    pieces = [tokenizer.piece(i) for i in first]
    return TokenPreview(first, pieces, sum(lengths), size, tuple(lengths), most, len(counts), tokenizer.vocab_size)


def stream_rows(lengths: Sequence[int], max_seq_len: int, number: int) -> list[StreamRow]:
    """The first rows that pre-training cuts from documents standing one behind the other.

    Args:
        lengths: tokens of each document, its end included.
        max_seq_len: tokens of a row.
        number: how many rows; there may be fewer. A rest that does not fill a row is left out.
    """
    rows: list[StreamRow] = []
    parts: list[tuple[int, int]] = []
    room = max_seq_len
    for document, length in enumerate(lengths):
        while length:
            here = min(room, length)
            parts.append((document, here))
            length, room = length - here, room - here
            if not room:
                rows.append(StreamRow(tuple(parts)))
                parts, room = [], max_seq_len
                if len(rows) == number:
                    return rows
    return rows


@dataclass(frozen=True, slots=True)
class Spread:
    """How many numbers there are of each size."""

    shortest: int
    median: float
    mean: float
    longest: int
    bins: tuple[tuple[int, int, int], ...]
    """From, up to and with, how many: powers of two."""


def spread(sizes: Sequence[int]) -> Spread | None:
    """Lengths in numbers; None where there are none."""
    if not sizes:
        return None
    counts: Counter[int] = Counter(max(0, size - 1).bit_length() for size in sizes)
    low, high = min(counts), max(counts)
    bins = tuple((((1 << (n - 1)) + 1) if n else 0, 1 << n, counts[n]) for n in range(low, high + 1))
    return Spread(min(sizes), numbers.median(sizes), numbers.fmean(sizes), max(sizes), bins)
