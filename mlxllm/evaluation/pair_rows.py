"""Two answers to a prompt as one row of ids: prompt + chosen + rejected, padded to one of a few lengths.

Shapes: P pairs, T tokens of a row, A tokens of both answers of a pair.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256

import mlx.core as mx
import numpy as np

from mlxllm.conversation.preferences import Pair

KEYS = ("inputs", "segments", "positions", "answer_at", "answers", "answer_of", "reference")
_BUCKETS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
CHOSEN, REJECTED = 1, 2

Row = Mapping[str, np.ndarray]
"""One padded pair: inputs (T,), segments (T,) 0 for the prompt, 1 chosen, 2 rejected, 3 padding, positions (T,) of each
token in its own sequence, answer_at (A,) where each token of an answer is predicted, answers (A,) those tokens,
answer_of (A,) 1 chosen, 2 rejected, 0 padding, and reference (2,) the reference's log-probabilities."""


def fingerprint_of(all_pairs: Iterable[Pair | None]) -> str:
    """SHA-256 of all ids; None parts those before it from those behind."""
    digest = sha256()
    for pair in all_pairs:
        for ids in (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) if pair is not None else ():
            digest.update(len(ids).to_bytes(8, "little") + ids.astype("<u4").tobytes())
        digest.update(b"|")
    return digest.hexdigest()


def bucket(length: int, longest: int) -> int:
    """The padded length of `length` tokens: one of few, so that a step is compiled for few shapes."""
    return min(next((b for b in _BUCKETS if b >= length), longest), longest)


class PairShapes:
    """The shapes that the pairs of one run are padded to: for each T one A, the longest answers that come with it."""

    def __init__(self, all_pairs: Sequence[Pair], max_seq_len: int) -> None:
        self._longest = 2 * max_seq_len
        most: dict[int, int] = {}
        for pair in all_pairs:
            T = self.length(pair)
            most[T] = max(most.get(T, 0), len(pair.chosen_ids) + len(pair.rejected_ids))
        # A short pair may share a batch with a long one: widths grow with lengths, so that the longest decides alone.
        self.widths: dict[int, int] = {}
        for T in sorted(most):
            A = -(-most[T] // 8) * 8
            self.widths[T] = max(A, *self.widths.values()) if self.widths else A

    def length(self, pair: Pair) -> int:
        """T of a pair; the last token of each answer is only a target."""
        return bucket(len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) - 2, self._longest)

    def row(self, pair: Pair, reference: np.ndarray) -> Row:
        """The padded arrays of a pair."""
        T = self.length(pair)
        inputs, segments, positions = (np.zeros(T, dtype=np.int32) for _ in range(3))
        at, answers, of = (np.zeros(self.widths[T], dtype=np.int32) for _ in range(3))
        prompt = len(pair.prompt_ids)
        inputs[:prompt], positions[:prompt], segments[prompt:] = pair.prompt_ids, np.arange(prompt), 3
        begin, first = prompt, 0
        for side, ids in ((CHOSEN, pair.chosen_ids), (REJECTED, pair.rejected_ids)):
            end, last = begin + len(ids) - 1, first + len(ids)
            inputs[begin:end], segments[begin:end] = ids[:-1], side
            positions[begin:end] = np.arange(prompt, prompt + len(ids) - 1)
            at[first] = prompt - 1  # the prompt's last token predicts the first one of either answer
            at[first + 1 : last] = np.arange(begin, end)
            answers[first:last], of[first:last] = ids, side
            begin, first = end, last
        return {
            "inputs": inputs,
            "segments": segments,
            "positions": positions,
            "answer_at": at,
            "answers": answers,
            "answer_of": of,
            "reference": reference.astype(np.float32),
        }


def batches_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """All items once, in batches of `size` of about equal length; the last one may be smaller."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + size] for i in range(0, len(order), size)]


def stacked(rows: Sequence[Row], size: int) -> list[mx.array]:
    """The arrays of a batch, padded to `size` pairs of the longest one's shape."""
    out = []
    for key in KEYS:
        arrays = [row[key] for row in rows]
        width = max(a.shape[-1] for a in arrays)
        batch = np.zeros((size, *arrays[0].shape[:-1], width), dtype=arrays[0].dtype)
        for i, a in enumerate(arrays):
            batch[i, ..., : a.shape[-1]] = a
        out.append(mx.array(batch))
    return out
