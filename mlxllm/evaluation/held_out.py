"""Held-out text in a model's own tokens, wherever it comes from: a dataset of another tokenizer, or files."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from mlxllm.data.preparing import tokenize
from mlxllm.data.shards import TokenDataset, TokenSplit
from mlxllm.data.sources.base import Source
from mlxllm.errors import DataError
from mlxllm.tokenizer import Tokenizer

_TEXTS_AT_ONCE = 256

Part = tuple[str, str, bool]
"""(name of its source, a stretch of text, whether a document ends behind it)."""


@dataclass(frozen=True)
class Span:
    """Where a source stands."""

    start: int
    end: int


class EncodedText:
    """Texts one behind the other, each ended by the tokenizer's end token, as a split that can be scored."""

    def __init__(self, token_ids: np.ndarray, sources: dict[str, Span]) -> None:
        """Take them as they are."""
        self.num_tokens = len(token_ids)
        self.sources = sources
        self._token_ids = token_ids

    def read(self, start: int, count: int) -> np.ndarray:
        """Token ids [start, start + count)."""
        return self._token_ids[start : start + count]

    def fingerprint(self) -> str:
        """SHA-256 of the ids and where their sources stand; names are left out."""
        digest = hashlib.sha256(np.ascontiguousarray(self._token_ids, dtype="<u4").tobytes())
        digest.update(repr([(span.start, span.end) for span in self.sources.values()]).encode())
        return digest.hexdigest()


def encode_source(source: Source, tokenizer: Tokenizer) -> EncodedText:
    """All documents of a source.

    Raises:
        DataError: there is nothing to read, or a text cannot be encoded.
    """
    return _encode(((source.name, d.text, not d.more) for d in source.documents()), tokenizer)


def encode_dataset(dataset: TokenDataset, tokenizer: Tokenizer) -> EncodedText:
    """The validation split of a dataset that was made with another tokenizer: decoded and encoded again.

    Raises:
        DataError: a text cannot be encoded.
    """
    return _encode(_documents(dataset.val, dataset.tokenizer), tokenizer)


def _documents(split: TokenSplit, tokenizer: Tokenizer) -> Iterator[Part]:
    spans = [(span.end, name) for name, span in split.sources.items() if span.end > span.start]
    start, prefix = 0, list(tokenizer.prefix_ids)
    for number in range(split.num_documents):
        ids = split.document(number).tolist()
        while spans and start >= spans[0][0]:
            spans.pop(0)
        start += len(ids)
        if ids and ids[-1] == tokenizer.eot_id:
            ids.pop()
        if prefix and ids[: len(prefix)] == prefix:
            ids = ids[len(prefix) :]
        yield spans[0][1] if spans else "", tokenizer.decode(ids), True


def _encode(parts: Iterable[Part], tokenizer: Tokenizer) -> EncodedText:
    encoded: list[np.ndarray] = []
    sources: dict[str, Span] = {}
    total, begins = 0, True
    stream = iter(parts)
    while group := list(islice(stream, _TEXTS_AT_ONCE)):
        ends = [ended for _, _, ended in group]
        first = [begins, *ends[:-1]]
        ids, behind = tokenize([text for _, text, _ in group], ends, tokenizer, begins=first)
        for (name, _, _), start, end in zip(group, chain([0], behind.tolist()), behind.tolist(), strict=False):
            before = sources.get(name)
            sources[name] = Span(before.start if before else total + start, total + end)
        encoded.append(ids)
        total, begins = total + len(ids), ends[-1]
    if total < 2:
        raise DataError(f"the text has {total} tokens, too few to score; give a longer one")
    return EncodedText(np.concatenate(encoded), sources)
