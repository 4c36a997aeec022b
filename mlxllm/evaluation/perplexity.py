"""How surprised a model is by text that it was not trained on: loss, perplexity, bits per byte.

Shapes: B windows, T time, V vocabulary.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlxllm.errors import DataError
from mlxllm.model.cpu_math import log_sum_exp
from mlxllm.model.transformer import Transformer


class SourceSpan(Protocol):
    """Where one source stands in a split."""

    @property
    def start(self) -> int:
        """First token."""
        ...

    @property
    def end(self) -> int:
        """Behind the last token."""
        ...


class ScoredSplit(Protocol):
    """What is needed of a dataset's split."""

    num_tokens: int

    @property
    def sources(self) -> Mapping[str, SourceSpan]:
        """Where each source stands, by name."""
        ...

    def read(self, start: int, count: int) -> np.ndarray:
        """Token ids [start, start + count)."""
        ...


@dataclass(frozen=True)
class Perplexity:
    """Scores of one stretch of text."""

    loss: float
    """Mean cross-entropy, nats a token."""
    perplexity: float
    """exp(loss): as unsure as a fair choice among so many tokens."""
    bits_per_byte: float | None
    """Summed loss / ln 2 / UTF-8 bytes of the text; comparable across tokenizers. None where there are no bytes."""
    tokens: int
    """Tokens scored."""
    bytes: int
    """UTF-8 bytes that they stand for; <|endoftext|> stands for none, but its loss counts."""

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return asdict(self)


def token_losses(
    model: Transformer,
    inputs: mx.array,
    targets: mx.array,
    chunk_tokens: int = 1024,
    positions: mx.array | None = None,
) -> mx.array:
    """-log p(target) of each position, nats: (B, T) float32. Only `chunk_tokens` rows of logits exist at a time.

    For `positions` see `Decoder.__call__`.
    """
    hidden = model.model(inputs, positions=positions)
    rows = hidden.reshape(-1, hidden.shape[-1])
    flat = targets.reshape(-1)
    losses: list[mx.array] = []
    for start in range(0, rows.shape[0], chunk_tokens):
        piece = rows[start : start + chunk_tokens]
        if losses:
            piece = mx.depends([piece], [losses[-1]])[0]
        logits = model.logits(piece).astype(mx.float32)
        target = flat[start : start + chunk_tokens, None]
        losses.append(log_sum_exp(logits) - mx.take_along_axis(logits, target, axis=-1).squeeze(-1))
    return mx.concatenate(losses).reshape(targets.shape)


class Evaluator:
    """Scores whole splits of a dataset.

    The split is cut into windows of T tokens side by side, so that each token but the first is scored once, with up to
    T - 1 tokens before it. The last window may be shorter; it is padded, and the padding is not counted.

    Args:
        split: what to score.
        byte_lengths: (V,) UTF-8 bytes of each token id.
        max_seq_len: T.
        batch_size: B.
        lanes: batches computed side by side on CPU streams; see `training.step.TrainStep`.

    Raises:
        DataError: fewer than two tokens.
    """

    def __init__(
        self, split: ScoredSplit, byte_lengths: np.ndarray, max_seq_len: int, batch_size: int = 16, lanes: int = 1
    ) -> None:
        if split.num_tokens < 2:
            raise DataError(
                f"the validation split has {split.num_tokens} tokens, too few to score; rebuild the dataset with a larger "
                f"--val-split"
            )
        self._split = split
        self._byte_lengths = byte_lengths.astype(np.int64)
        self._length = min(max_seq_len, split.num_tokens - 1)
        self._windows = math.ceil((split.num_tokens - 1) / self._length)
        self._batch = max(1, min(batch_size, math.ceil(self._windows / lanes)))
        device = mx.default_device()
        self._streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return math.ceil(self._windows / self._batch)

    def __call__(self, model: Transformer, max_batches: int | None = None) -> dict[str, Perplexity]:
        """Scores under "all", and one entry a source where there are several.

        Args:
            model: its weights are used as they are; dropout is off meanwhile.
            max_batches: only the first so many (to measure time).
        """
        was_training = model.training
        model.eval()
        count = self.num_batches if max_batches is None else min(max_batches, self.num_batches)
        losses = np.zeros(count * self._batch * self._length, dtype=np.float64)
        size = self._batch * self._length
        for first in range(0, count, len(self._streams)):
            pending = []
            for number, stream in zip(range(first, count), self._streams, strict=False):
                inputs, targets = self._rows(number)
                with mx.stream(stream):
                    pending.append((number, token_losses(model, inputs, targets)))
            mx.eval([array for _, array in pending])
            for number, array in pending:
                losses[number * size : (number + 1) * size] = np.array(array).reshape(-1)
        if was_training:
            model.train()
        return self._totals(losses)

    def _rows(self, number: int) -> tuple[mx.array, mx.array]:
        start = number * self._batch * self._length
        stop = min(start + self._batch * self._length, self._split.num_tokens - 1)
        ids = self._split.read(start, stop - start + 1).astype(np.int32)
        padding = self._batch * self._length - (stop - start)
        shape = (self._batch, self._length)
        inputs = np.pad(ids[:-1], (0, padding)).reshape(shape)
        targets = np.pad(ids[1:], (0, padding)).reshape(shape)
        return mx.array(inputs), mx.array(targets)

    def _totals(self, losses: np.ndarray) -> dict[str, Perplexity]:
        scored = min(self._split.num_tokens - 1, len(losses))
        results = {"all": self._total(losses, 1, scored + 1)}
        if len(self._split.sources) > 1:
            for name, span in self._split.sources.items():
                # Target position p (from 1) has its loss at index p - 1.
                start, end = max(span.start, 1), min(span.end, scored + 1)
                if end > start:
                    results[name] = self._total(losses, start, end)
        return results

    def _total(self, losses: np.ndarray, start: int, end: int) -> Perplexity:
        summed = float(losses[start - 1 : end - 1].sum())
        num_bytes = 0
        for at in range(start, end, 1 << 22):
            ids = self._split.read(at, min(1 << 22, end - at))
            num_bytes += int(self._byte_lengths[ids].sum())
        mean = summed / (end - start)
        return Perplexity(
            loss=mean,
            perplexity=math.exp(mean) if mean < 700 else math.inf,
            bits_per_byte=summed / math.log(2) / num_bytes if num_bytes else None,
            tokens=end - start,
            bytes=num_bytes,
        )
