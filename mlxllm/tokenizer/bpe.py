"""The BPE tokenizer: SentencePiece with byte fallback, every text kept to the byte.

Byte-pair encoding (Sennrich, Haddow and Birch 2016, arXiv:1508.07909) as SentencePiece does it: a text
starts as single characters; of all neighbours that together are a piece, the pair whose piece has the lowest
id is merged, the leftmost first, until none is left; characters without a piece become their UTF-8 bytes.
There is no normalisation, no added space and no splitting beforehand: the pieces alone decide, so other
readers of the same pieces (tokenizer.json without a normaliser or pre-tokenizer, GGUF's SPM) find the same
ids.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from multiprocessing import parent_process
from typing import Self

import numpy as np
import sentencepiece

from mlxllm.errors import DataError
from mlxllm.tokenizer.base import FIRST_LEARNED_ID, MODEL_FILE, TokenArray, Tokenizer, utf8
from mlxllm.tokenizer.sentencepiece_proto import model_proto
from mlxllm.tokenizer.word_cache import WordCache

CHUNK_CHARS = 8192
"""Long texts are cut to about this: SentencePiece slows down with length, and threads share the chunks."""
_CHUNKS_AT_ONCE = 256  # bounds the memory of the lists of Python ints that SentencePiece answers with


class BpeTokenizer(Tokenizer):
    """Learned pieces of words; what no piece covers is spelled in bytes."""

    kind = "bpe"

    def __init__(self, learned: Sequence[str]) -> None:
        """Make a tokenizer of its pieces.

        Args:
            learned: the pieces in order of strength, single characters among them.
        """
        self._model = model_proto(learned)
        super().__init__(learned)
        self._processor = sentencepiece.SentencePieceProcessor(model_proto=self._model)
        self._neighbours = {pair for piece in learned for pair in pairwise(piece)}
        self._words = WordCache(self._neighbours, self._encode_all)

    @classmethod
    def from_files(cls, files: dict[str, bytes]) -> Self:
        """The tokenizer that `model_files` describes.

        Raises:
            ValueError: `files` holds something else.
        """
        try:
            processor = sentencepiece.SentencePieceProcessor(model_proto=files[MODEL_FILE])
        except (RuntimeError, OSError) as error:
            raise ValueError(f"{MODEL_FILE} is not a SentencePiece model") from error
        tokenizer = cls([processor.id_to_piece(i) for i in range(FIRST_LEARNED_ID, processor.vocab_size())])
        if tokenizer._model != files[MODEL_FILE]:
            raise ValueError(f"{MODEL_FILE} is a SentencePiece model, but not one that mlxllm wrote")
        return tokenizer

    @property
    def pieces(self) -> tuple[str, ...]:
        """The learned pieces of the ids from FIRST_LEARNED_ID on; the earlier of two is merged first."""
        return self._learned

    def model_files(self) -> dict[str, bytes]:
        """The SentencePiece model."""
        return {MODEL_FILE: self._model}

    def encode_to_array(self, texts: Sequence[str]) -> list[TokenArray]:
        """See `Tokenizer.encode_to_array`. A text is found again word by word, and only new words are encoded."""
        try:
            return self._words.encode(texts)
        except DataError:  # it names the place within a word
            for text in texts:
                utf8(text)
            raise

    def _encode_all(self, texts: Sequence[str]) -> list[TokenArray]:
        """The ids of each text; uses all cores, whose number does not change the ids."""
        arrays: list[TokenArray] = []
        parts: list[TokenArray] = []
        chunks = self._chunks(texts)
        while group := list(islice(chunks, _CHUNKS_AT_ONCE)):
            # One of several processes that share the work has a core, not all of them.
            threads = 1 if parent_process() else min(len(group), os.cpu_count() or 1)
            encoded = self._processor.encode([chunk for chunk, _ in group], num_threads=threads)
            for (_, is_last), ids in zip(group, encoded, strict=True):
                parts.append(np.array(ids, dtype=np.uint32))
                if is_last:
                    arrays.append(parts[0] if len(parts) == 1 else np.concatenate(parts))
                    parts = []
        return arrays

    def encode(self, text: str) -> list[int]:
        """See `Tokenizer.encode`."""
        if len(text) <= CHUNK_CHARS:
            ids: list[int] = self._processor.encode(utf8(text))
            return ids
        return super().encode(text)

    def _chunks(self, texts: Sequence[str]) -> Iterator[tuple[bytes, bool]]:
        """The UTF-8 of every text in chunks, each with whether it is its text's last."""
        for text in texts:
            start = 0
            while len(text) - start > CHUNK_CHARS:
                end = self._safe_cut(text, start + CHUNK_CHARS)
                if end == len(text):
                    break
                yield self._utf8(text, start, end), False
                start = end
            yield self._utf8(text, start, len(text)), True

    def _safe_cut(self, text: str, position: int) -> int:
        """The first place from `position` on that no piece can reach across: the cut changes no id."""
        neighbours = self._neighbours
        while position < len(text) and (text[position - 1], text[position]) in neighbours:
            position += 1
        return position

    @staticmethod
    def _utf8(text: str, start: int, end: int) -> bytes:
        try:
            return text[start:end].encode("utf-8")
        except UnicodeEncodeError:
            return utf8(text)  # raises, and names the place within the whole text
