"""How surprised a model is by text that it was not trained on: loss, perplexity, bits per byte.

Shapes: B windows, T time, V vocabulary.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

import mlx.core as mx
import numpy as np

from mlxllm.errors import DataError
from mlxllm.evaluation.ratio_sums import RatioSums
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
    windows: int = 1
    """Windows that they stand in."""
    loss_stderr: float | None = None
    """Standard error of the loss over windows; None for a single one."""
    bits_per_byte_stderr: float | None = None
    """The same of bits per byte."""

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

    For `positions` see `Decoder.__call__`. `targets` may have fewer positions than `inputs`: they are the last ones.
    """
    hidden = model.model(inputs, positions=positions)
    hidden = hidden[:, inputs.shape[1] - targets.shape[1] :]
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


Sums = dict[str, RatioSums]
"""What has been summed up so far, by source; "all" is everything."""


class Evaluator:
    """Scores whole splits of a dataset.

    The split is cut into windows of T tokens, one beginning S tokens behind the other. Each token but the first of all is
    scored once: in a window all that the one before has not scored, so with at least T - S tokens before it. With S = T
    windows stand side by side. The last window may be shorter; it is padded, and the padding is not counted.

    Args:
        split: what to score.
        byte_lengths: (V,) UTF-8 bytes of each token id.
        max_seq_len: T.
        batch_size: B.
        lanes: batches computed side by side on CPU streams; see `training.step.TrainStep`.
        stride: S, from 1 to T; by default T.
        limit: only the first so many windows.

    Raises:
        DataError: fewer than two tokens.
    """

    def __init__(
        self,
        split: ScoredSplit,
        byte_lengths: np.ndarray,
        max_seq_len: int,
        batch_size: int = 16,
        lanes: int = 1,
        stride: int | None = None,
        limit: int | None = None,
    ) -> None:
        if split.num_tokens < 2:
            raise DataError(
                f"the validation split has {split.num_tokens} tokens, too few to score; rebuild the dataset with a larger "
                f"--val-split"
            )
        self._split = split
        self._byte_lengths = byte_lengths.astype(np.int64)
        self._length = min(max_seq_len, split.num_tokens - 1)
        self._stride = min(stride or self._length, self._length)
        self.num_windows = 1 + math.ceil((split.num_tokens - 1 - self._length) / self._stride)
        """Windows of one call."""
        if limit is not None:
            self.num_windows = min(self.num_windows, limit)
        self._batch = max(1, min(batch_size, math.ceil(self.num_windows / lanes)))
        device = mx.default_device()
        self._streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return math.ceil(self.num_windows / self._batch)

    def __call__(
        self,
        model: Transformer,
        max_batches: int | None = None,
        *,
        begin: tuple[int, Sums] | None = None,
        done: Callable[[int, Sums], None] | None = None,
        scored: Callable[[int, np.ndarray], None] | None = None,
    ) -> dict[str, Perplexity]:
        """Scores under "all", and one entry a source where there are several.

        Args:
            model: its weights are used as they are; dropout is off meanwhile.
            max_batches: only the first so many (to measure time).
            begin: go on behind so many windows, whose sums these are.
            done: told of what `begin` takes, after each few batches.
            scored: gets the losses of tokens in the order of the split: the place of the first one in it, and nats,
                float64 with the value that was computed in float32. The scores are the means of these numbers.
        """
        was_training = model.training
        model.eval()
        first, sums = begin or (0, {})
        stop = self.num_windows if max_batches is None else min(self.num_windows, first + max_batches * self._batch)
        try:
            while first < stop:
                starts = range(first, stop, self._batch)[: len(self._streams)]
                pending = []
                for start, stream in zip(starts, self._streams, strict=False):
                    inputs, targets = self._rows(start)
                    with mx.stream(stream):
                        pending.append((start, token_losses(model, inputs, targets)))
                mx.eval([array for _, array in pending])
                for start, array in pending:
                    losses = np.array(array, dtype=np.float64)
                    begun, flat = self._add(sums, start, min(start + self._batch, stop), losses)
                    if scored is not None:
                        scored(begun + 1, flat)
                first = min(starts[-1] + self._batch, stop)
                if done is not None:
                    done(first, sums)
        finally:
            if was_training:
                model.train()
        return {name: _perplexity(summed) for name, summed in sums.items()}

    def _end_of(self, window: int) -> int:
        """How many tokens the windows up to this one score."""
        return min(window * self._stride + self._length, self._split.num_tokens - 1)

    def _begin_of(self, window: int) -> int:
        """How many the windows before it score."""
        return self._end_of(window - 1) if window else 0

    def _rows(self, first: int) -> tuple[mx.array, mx.array]:
        """Inputs (B, T) of the windows from `first` on, and their last targets: as many as are scored."""
        start = first * self._stride
        span = (self._batch - 1) * self._stride + self._length
        ids = self._split.read(start, min(span, self._split.num_tokens - 1 - start) + 1).astype(np.int32)
        ids = np.pad(ids, (0, span + 1 - len(ids)))
        rows = np.lib.stride_tricks.sliding_window_view(ids, self._length + 1)[:: self._stride]
        last = self._length if first == 0 else self._stride
        return mx.array(rows[:, :-1]), mx.array(rows[:, -last:])

    def _add(self, sums: Sums, first: int, stop: int, losses: np.ndarray) -> tuple[int, np.ndarray]:
        """Add what windows `first` to `stop` score, losses (B, T or S); how many tokens come before, and these losses."""
        begin, end = self._begin_of(first), self._end_of(stop - 1)
        rest = losses[:, losses.shape[1] - self._stride :].reshape(-1)
        flat = np.concatenate([losses[0], rest[self._stride :]])[: end - begin]
        # Target position p (from 1) has its loss at index p - 1.
        num_bytes = self._byte_lengths[self._split.read(begin + 1, end - begin)]
        window = np.repeat(np.arange(stop - first), [self._end_of(w) - self._begin_of(w) for w in range(first, stop)])
        spans = {"all": (1, end + 1)}
        if len(self._split.sources) > 1:
            spans |= {name: (span.start, span.end) for name, span in self._split.sources.items()}
        for name, (start, behind) in spans.items():
            here = slice(max(start - 1 - begin, 0), max(behind - 1 - begin, 0))
            tokens = np.bincount(window[here], minlength=stop - first)
            if tokens.any():
                loss = np.bincount(window[here], flat[here], stop - first)
                counted = np.bincount(window[here], num_bytes[here], stop - first)
                sums.setdefault(name, RatioSums()).add(loss, tokens, counted)
        return begin, flat


def _perplexity(sums: RatioSums) -> Perplexity:
    mean = sums.loss / sums.tokens
    return Perplexity(
        loss=mean,
        perplexity=math.exp(mean) if mean < 700 else math.inf,
        bits_per_byte=sums.loss / math.log(2) / sums.bytes if sums.bytes > 0 else None,
        tokens=sums.tokens,
        bytes=sums.bytes,
        windows=sums.windows,
        loss_stderr=sums.loss_stderr(),
        bits_per_byte_stderr=sums.bits_per_byte_stderr(),
    )
