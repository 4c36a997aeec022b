"""What is done with each record by itself, in whatever process: its text, cleaned, hashed, in tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.exact import exact_hashes
from mlxllm.data.clean.near_duplicates import BANDS, band_keys_of
from mlxllm.data.clean.overlap import OVERLAP, EvaluationOverlap
from mlxllm.data.sources.base import EXAMPLES_KEPT, Document, Dropped, Record, RecordSource
from mlxllm.data.split import Split, cut_text, val_threshold
from mlxllm.errors import DataError
from mlxllm.tokenizer import Tokenizer

NOT_JUDGED = "one long text, not cleaned and not compared"
"""The note about a document that is too long to be looked at as a whole."""
SHOWN_CHARS = 500
"""Of a text that is left out this much is kept for people to see."""
_SEARCHED_CHARS = 1 << 22
"""In longer texts the words that they share with an evaluation set are not looked for."""


@dataclass(frozen=True, slots=True)
class Item:
    """What stands for one document, or for a piece of one, on its way through a build."""

    record: Record | Document | Dropped
    continues: bool = False
    """It is a piece, and not the first, of a document that is handed out in pieces."""
    split: Split | None = None
    """Its side, where that is known beforehand: pieces of one long text."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A document, or a piece of one, whose ids stand in `Prepared.ids`."""

    where: str
    bytes: int
    """UTF-8 bytes of its text."""
    ends: bool
    """The document ends here."""
    continues: bool
    split: Split | None
    """As in `Item`; None where `held_out` decides."""
    held_out: float
    """The `val_split` above which it is held out."""
    hashed: bool
    """It has a row in `Prepared.hashes`: it may yet turn out to be a duplicate."""
    beginning: str
    """Of its text, where that is so."""
    metadata: Mapping[str, str]


@dataclass(slots=True)
class Prepared:
    """A batch in the order of its records, those that are kept apart from those that are not."""

    kept: list[Kept] = field(default_factory=list)
    dropped: list[tuple[Dropped, int]] = field(default_factory=list)
    """Each with the UTF-8 bytes of its text, 0 where it never came to one."""
    text_bytes: int = 0
    """UTF-8 bytes of all texts before cleaning, of kept ones and others."""
    notes: list[Dropped] = field(default_factory=list)
    """What people should know of kept ones."""
    texts: list[str] = field(default_factory=list)
    """Of the kept ones, where no tokenizer is there yet."""
    ids: NDArray[np.unsignedinteger[Any]] = field(default_factory=lambda: np.zeros(0, np.uint16))
    """Token ids of all that is kept, <|endoftext|> behind each document."""
    ends: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """The place in `ids` behind each kept one."""
    hashes: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, 2), np.uint64))
    """Of each whole document's text, (documents, 2); empty unless duplicates are looked for."""
    keys: NDArray[np.uint64] = field(default_factory=lambda: np.zeros((0, BANDS), np.uint64))
    """MinHash keys of each whole document, (documents, BANDS)."""
    has_keys: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))
    """False where near-duplicates are not looked for, or a text is too short for that."""


@dataclass(frozen=True)
class Preparer:
    """Makes batches ready. It can be sent to other processes, and gives the same for the same batch in each.

    A text that comes in pieces, or is split by position, is too long to be judged as a whole: it is neither cleaned nor
    compared with other documents, which is noted; where a piece overlaps an evaluation set, that is noted, too.
    """

    source: RecordSource | None = None
    """Makes the texts of records; None where a source yields documents."""
    cleaner: Cleaner | None = None
    """None cleans nothing."""
    exact: bool = False
    """Hash texts, to find equal ones."""
    near: bool = False
    """Hash their 5-grams, to find similar ones."""
    overlap: EvaluationOverlap | None = None
    """Evaluation sets that no training text should hold."""
    drop_overlap: bool = True
    """Leave out what overlaps them; otherwise it is only told."""
    tokenizer: Tokenizer | None = None
    """None hands out texts."""

    def with_tokenizer(self, tokenizer: Tokenizer | None) -> "Preparer":
        """The same with this tokenizer."""
        return replace(self, tokenizer=tokenizer)

    def prepare(self, items: Sequence[Item]) -> Prepared:
        """One batch.

        Raises:
            DataError: the tokenizer is not sound.
        """
        made = Prepared()
        made_of = [(item, *self._document(item, made)) for item in items]
        overlaps = self._overlaps([document for _, document, _ in made_of])
        texts: list[str] = []
        told = 0
        for (item, document, size), overlap in zip(made_of, overlaps, strict=True):
            if overlap is not None and isinstance(document, Document):
                found = Dropped(OVERLAP, document.id, self._told(overlap, document, told), document.text[:SHOWN_CHARS])
                told += 1
                if self.drop_overlap and _is_whole(item):
                    document = found
                else:
                    made.notes.append(found)
            if isinstance(document, Dropped):
                made.dropped.append((document, size))
                continue
            hashed = self.exact and _is_whole(item)
            if self._judges and not _is_whole(item) and not item.continues:
                made.notes.append(Dropped(NOT_JUDGED, document.id))
            texts.append(document.text)
            made.kept.append(
                Kept(
                    where=document.id,
                    bytes=num_bytes(document.text),
                    ends=not document.more,
                    continues=item.continues,
                    split=item.split,
                    held_out=val_threshold(document.text) if item.split is None and not item.continues else 0.0,
                    hashed=hashed,
                    beginning=document.text[:SHOWN_CHARS] if hashed else "",
                    metadata=document.metadata,
                )
            )
        if hashed_texts := [text for text, kept in zip(texts, made.kept, strict=True) if kept.hashed]:
            self._hash(hashed_texts, made)
        if self.tokenizer is None:
            made.texts = texts
        else:
            made.ids, made.ends = tokenize(
                texts,
                [kept.ends for kept in made.kept],
                self.tokenizer,
                begins=[not kept.continues for kept in made.kept],
            )
        return made

    @property
    def _judges(self) -> bool:
        return self.exact or self.cleaner is not None

    def _document(self, item: Item, made: Prepared) -> tuple[Document | Dropped, int]:
        """What became of a record, and its UTF-8 bytes before cleaning: of its text, or where it came to none, its own."""
        record, size = item.record, 0
        if isinstance(record, Record):
            assert self.source is not None
            content = record.content
            size = num_bytes(content) if isinstance(content, str) else len(content) if isinstance(content, bytes) else 0
            record = self.source.extract(record)
        if isinstance(record, Dropped):
            return record, size
        size = num_bytes(record.text)
        made.text_bytes += size
        if not _is_whole(item):
            return record, size
        if not record.text.strip():
            return Dropped("empty", record.id), size
        return (self.cleaner.clean(record) if self.cleaner else record), size

    def _overlaps(self, documents: Sequence[Document | Dropped]) -> list[str | None]:
        """The evaluation record that each document overlaps, if any."""
        found: list[str | None] = [None] * len(documents)
        if self.overlap is not None:
            texts = {number: each.text for number, each in enumerate(documents) if isinstance(each, Document)}
            for number, owner in zip(texts, self.overlap.find_each(list(texts.values())), strict=True):
                found[number] = owner
        return found

    def _told(self, overlap: str, document: Document, before: int) -> str:
        """What is said of an overlap: of the first of a batch, which may be shown, the words that are shared."""
        if self.overlap is None or before >= EXAMPLES_KEPT or len(document.text) > _SEARCHED_CHARS:
            return overlap
        return f'{overlap} shares "{self.overlap.shared(document.text)[:SHOWN_CHARS]}"'

    def _hash(self, texts: Sequence[str], made: Prepared) -> None:
        made.hashes = exact_hashes(texts)
        if self.near:
            made.keys, made.has_keys = band_keys_of(texts)
        else:
            made.keys, made.has_keys = np.zeros((len(texts), BANDS), np.uint64), np.zeros(len(texts), np.bool_)


def _is_whole(item: Item) -> bool:
    """A document from beginning to end."""
    return not item.continues and item.split is None and not getattr(item.record, "more", False)


def tokenize(
    texts: Sequence[str], ends: Sequence[bool], tokenizer: Tokenizer, *, begins: Sequence[bool] | None = None
) -> tuple[NDArray[np.unsignedinteger[Any]], NDArray[np.int64]]:
    """Texts one behind the other in as few bytes an id as will do, and the place behind each.

    Args:
        texts: each is tokenized by itself, long ones in stretches.
        ends: behind which of them a document ends, and <|endoftext|> stands.
        tokenizer: makes the ids.
        begins: which of them begin a document, whose ids the tokenizer's prefix precedes; by default all.

    Raises:
        DataError: an id is not in the tokenizer's vocabulary.
    """
    stretches: list[str] = []
    last: list[int] = []
    for number, text in enumerate(texts):
        stretches += cut_text(text) if text else []
        last += [number] * (len(stretches) - len(last))
    end_of_text = np.array([tokenizer.eot_id], np.uint32)
    parts: list[NDArray[np.uint32]] = []
    lengths = np.zeros(len(texts), np.int64)
    at = 0
    encoded = tokenizer.encode_to_array(stretches)
    prefix = np.array(tokenizer.prefix_ids, np.uint32)
    for number, closes in enumerate(ends):
        first = begins is None or begins[number]
        if first and len(prefix):
            parts.append(prefix)
            lengths[number] += len(prefix)
        while at < len(last) and last[at] == number:
            if tokenizer.adds_space and not first:
                encoded[at] = np.array(tokenizer.encode_continued(stretches[at]), np.uint32)
            parts.append(encoded[at])
            lengths[number] += len(encoded[at])
            first = False
            at += 1
        if closes:
            parts.append(end_of_text)
            lengths[number] += 1
    ids = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    if len(ids) and int(ids.max()) >= tokenizer.vocab_size:
        raise DataError(
            f"tokenizer of kind {tokenizer.kind!r} gave id {int(ids.max()):,} but has only "
            f"{tokenizer.vocab_size:,} ids; train it again"
        )
    return ids.astype(token_dtype(tokenizer)), np.cumsum(lengths)


def token_dtype(tokenizer: Tokenizer) -> "np.dtype[Any]":
    """What an id is stored as."""
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)


def num_bytes(text: str) -> int:
    """UTF-8 bytes of a text; half a surrogate pair counts as if it could be written."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))
