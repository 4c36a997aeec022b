"""Building an index of origins: training documents, read as text in pieces of bounded size, each sorted by its suffixes.

Cost: see the README, "Where did it get that?". Memory is about eleven bytes a byte of a piece, however large the dataset.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mlxllm.data.origins.files import (
    ABOUT_FILE,
    PLACE,
    About,
    PieceEntry,
    folder_of,
    piece_file,
    remove_indexes,
)
from mlxllm.data.origins.units import DOCUMENT_END, GLUED, SIGN_END, WORD_END, Speller
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import DataError
from mlxllm.runs.files import write_json_atomic

PIECE_BYTES = 1 << 25
STRETCH_TOKENS = 1 << 14
"""A longer document is read in stretches of about so many tokens."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A document, or a part of a long one."""

    text: str
    document: int
    """Its number in the training split."""
    character: int
    """Characters of the document before it."""
    token: int
    """Token of the split that reading begins with."""
    skip: int
    """Bytes of the text from there that come before the stretch."""
    ends: bool
    """The document ends behind it."""


def build_index(
    dataset: TokenDataset,
    *,
    piece_bytes: int = PIECE_BYTES,
    stretch_tokens: int = STRETCH_TOKENS,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Path, About]:
    """Build the index of a dataset's training documents; one that is there is replaced when this one is whole.

    Args:
        dataset: its held-out documents are left out.
        piece_bytes: text that is sorted at once.
        stretch_tokens: of a long document that are read at once.
        progress: told of tokens that are done and of all there are.

    Raises:
        DataError: there is no training text, or the files cannot be written.
    """
    if not dataset.train.num_documents:
        raise DataError(f"dataset '{dataset.name}' has no training documents to look for anything in")
    begun = time.monotonic()
    folder = folder_of(dataset.name, dataset.fingerprint)
    draft = folder.with_name(f".{folder.name}.building-{os.getpid()}")
    try:
        draft.mkdir(parents=True)
        pieces = []
        for entry, tokens in _write_pieces(dataset, draft, piece_bytes, stretch_tokens):
            pieces.append(entry)
            if progress is not None:
                progress(tokens, dataset.train.num_tokens)
        about = About(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            documents=dataset.train.num_documents,
            seconds=round(time.monotonic() - begun, 2),
            pieces=tuple(pieces),
        )
        write_json_atomic(draft / ABOUT_FILE, about.model_dump(mode="json"))
        # Files that somebody has mapped stay readable for as long as they are.
        remove_indexes(dataset.name, dataset.fingerprint)
        draft.rename(folder)
    except OSError as error:
        raise DataError(f"cannot write the index in {draft}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder, about


def stretches(dataset: TokenDataset, stretch_tokens: int = STRETCH_TOKENS) -> Iterator[Stretch]:
    """The training documents as text, in order; a long one cut behind a blank, or where there is none anywhere."""
    start = 0
    for number, end in enumerate(dataset.train.document_ends.tolist()):
        yield from _stretches(dataset, number, start, int(end), stretch_tokens)
        start = int(end)


def decoded(dataset: TokenDataset, start: int, count: int) -> bytes:
    """The text of training tokens, without the special tokens that begin and end documents."""
    ids = dataset.train.read(start, count)
    special = [dataset.tokenizer.eot_id, *dataset.tokenizer.prefix_ids]
    return dataset.tokenizer.decode_bytes(ids[~np.isin(ids, special)].tolist())


def _stretches(dataset: TokenDataset, number: int, start: int, end: int, most: int) -> Iterator[Stretch]:
    token, skip, character, left = start, 0, 0, b""
    while start < end:
        count = min(most, end - start)
        read = decoded(dataset, start, count)
        block, ends = left + read, start + count == end
        cut = len(block) if ends else _cut(block)
        text = block[:cut].decode("utf-8", "replace")
        yield Stretch(text, number, character, token, skip, ends)
        # What is left over begins within the tokens that were read last; a stretch without any end begins where it did.
        left = block[cut:]
        if len(left) <= len(read):
            token, skip = start, len(read) - len(left)
        else:
            skip += cut
        character += len(text)
        start += count


def _cut(block: bytes) -> int:
    """Where to cut a text: behind its last blank, else before a character that may not be whole."""
    blank = max(block.rfind(b" "), block.rfind(b"\n")) + 1
    if blank:
        return blank
    end = len(block)
    while end > max(0, len(block) - 4) and block[end - 1] & 0xC0 == 0x80:
        end -= 1
    return max(0, end - 1) if block[-1:] >= b"\x80" else len(block)


def _write_pieces(
    dataset: TokenDataset, folder: Path, piece_bytes: int, stretch_tokens: int
) -> Iterator[tuple[PieceEntry, int]]:
    """Write one piece after the other; yields each with the tokens that are done by then."""
    spell, text, places = Speller().spell, bytearray(), list[tuple[int, int, int, int, int]]()
    number, within = 0, False
    for stretch in stretches(dataset, stretch_tokens):
        spelled = spell(stretch.text)
        if len(text) >= piece_bytes:
            # A document that goes on is repeated behind the end, so that a span across it is found whole.
            yield _write(folder, number, bytes(text), spelled if within else b"", places), stretch.token
            number, text, places = number + 1, bytearray(), []
        places.append((len(text), stretch.document, stretch.character, stretch.token, stretch.skip))
        text += spelled
        if stretch.ends and not text.endswith(DOCUMENT_END):  # of documents without a word only one end is written
            text += DOCUMENT_END
        within = not stretch.ends
    yield _write(folder, number, bytes(text), b"", places), dataset.train.num_tokens


def _write(folder: Path, number: int, own: bytes, behind: bytes, places: Sequence[tuple[int, ...]]) -> PieceEntry:
    from pydivsufsort import divsufsort  # here: it is needed for building alone

    text = own + behind
    starts = np.zeros(len(text), np.bool_)
    starts[word_starts(np.frombuffer(own, np.uint8))] = True
    # Last, since it takes most of the memory.
    sorted_suffixes: NDArray[np.int32] = divsufsort(text) if text else np.zeros(0, np.int32)
    order = sorted_suffixes[starts[sorted_suffixes]].astype("<u4", copy=False)
    (folder / piece_file(number, "text")).write_bytes(text)
    (folder / piece_file(number, "order")).write_bytes(order.tobytes())
    (folder / piece_file(number, "places")).write_bytes(np.array(places, PLACE).tobytes())
    return PieceEntry(bytes=len(text), own_bytes=len(own), words=len(order), places=len(places))


def word_starts(text: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where the words of a spelling begin, signs left out; (words,)."""
    ends = np.flatnonzero((text == WORD_END[0]) | (text == SIGN_END[0]))
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    # Before a unit stand at most one end of a document and one sign that it is glued to what stands before.
    starts += text[starts] == DOCUMENT_END[0]
    starts += text[starts] == GLUED[0]
    words: NDArray[np.intp] = starts[text[ends] == WORD_END[0]]
    return words
