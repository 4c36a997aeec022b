"""Direct preference optimisation: two answers to a prompt, and the chosen one is to become the likelier (arXiv:2305.18290).

A pair is one row, prompt + chosen + rejected, padded to one of a few lengths: both answers look at one prompt, which is
computed once, and neither at the other. Only the answers are scored: their hidden states are picked out before the output
head, which is the widest matrix product of a small model.

Shapes: P pairs, T tokens of a row, A tokens of both answers of a pair, D hidden, V vocabulary.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.config import DpoConfig, RunConfig
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.opening import open_preferences
from mlxllm.conversation.preferences import Pair, pairs
from mlxllm.conversation.report import Report
from mlxllm.model.attention import Packed
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.runtime import blas_for_lanes, compute_dtype
from mlxllm.training.logprobs import token_logprobs, token_logprobs_only
from mlxllm.training.optimizers import Arrays
from mlxllm.training.preference_losses import Pairs, pair_losses, pair_metrics
from mlxllm.training.records import split_records
from mlxllm.training.rows import RowLoader
from mlxllm.training.step import TOKENS, Objective
from mlxllm.visible import counted

KEYS = ("inputs", "segments", "positions", "answer_at", "answers", "answer_of", "reference")
_BUCKETS = (16, 24, 32, 40, 48, 56, 64, 80, 96, 128, 160, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
_CHOSEN, _REJECTED = 1, 2

Row = Mapping[str, np.ndarray]
"""One padded pair: inputs (T,), segments (T,) 0 for the prompt, 1 chosen, 2 rejected, 3 padding, positions (T,) of each
token in its own sequence, answer_at (A,) where each token of an answer is predicted, answers (A,) those tokens,
answer_of (A,) 1 chosen, 2 rejected, 0 padding, and reference (2,) the reference's log-probabilities."""


@dataclass(frozen=True)
class DpoData:
    """Pairs as ids."""

    train: list[Pair]
    val: list[Pair]
    report: Report
    fingerprint: str
    """SHA-256 of all ids."""
    val_report: Report | None = None
    """Of what is held out, where other files or another part of a folder have it."""

    @property
    def num_tokens(self) -> int:
        """Tokens of all training pairs, the prompt counted with each answer."""
        return sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in self.train)

    @property
    def summary(self) -> str:
        """What there is to train on, in a line."""
        held = f"; {len(self.val):,} held out" if self.val else ""
        return f"{counted(len(self.train), 'pair')}, {self.num_tokens:,} tokens{held}"


def open_dpo_data(config: RunConfig, chat_format: ChatFormat) -> DpoData:
    """Read and encode what `data.records` and `data.val_records` name.

    Raises:
        ConfigError: there is no such file, or the template cannot be used.
        DataError: a file is damaged, or no pair is left.
    """
    longest = config.data.max_seq_len + 1
    split = split_records(
        config.data,
        open_preferences,
        lambda records, report: pairs(records, chat_format, report, max_seq_len=longest),
    )
    digest = sha256()
    for pair in (*split.train, None, *split.val):
        for ids in (pair.prompt_ids, pair.chosen_ids, pair.rejected_ids) if pair is not None else ():
            digest.update(len(ids).to_bytes(8, "little") + ids.astype("<u4").tobytes())
        digest.update(b"|")
    return DpoData(split.train, split.val, split.report, digest.hexdigest(), split.val_report)


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
        for side, ids in ((_CHOSEN, pair.chosen_ids), (_REJECTED, pair.rejected_ids)):
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


def answer_logprobs(
    model: Transformer,
    inputs: mx.array,
    segments: mx.array,
    positions: mx.array,
    answer_at: mx.array,
    answers: mx.array,
    answer_of: mx.array,
    *,
    chunk: int,
    learn: bool = True,
) -> mx.array:
    """log pi of each answer, summed over its tokens: (P, 2) float32.

    Args:
        model: the policy or the reference.
        inputs: (P, T).
        segments: (P, T), 0 for the prompt.
        positions: (P, T), of each token in its own sequence.
        answer_at: (P, A), the places in the row whose next token is an answer's.
        answers: (P, A), those tokens.
        answer_of: (P, A), 1 for those of the chosen answer, 2 for the rejected one's, 0 for padding.
        chunk: tokens whose logits exist at a time.
        learn: prepare for a backward pass.
    """
    mask = Packed(segments, model.config.sliding_window, positions)
    hidden = model.model(inputs, positions=positions, mask=mask)  # (P, T, D)
    P, T, D = hidden.shape
    rows = hidden.reshape(P * T, D)[(answer_at + mx.arange(0, P * T, T)[:, None]).reshape(-1)]  # (P * A, D)
    weight, targets = model.output_weight(), answers.reshape(-1)
    if learn:
        trained = model.head_is_trained
        logprobs = token_logprobs(rows, weight, targets, chunk_tokens=chunk, head_is_trained=trained)
    else:
        logprobs = token_logprobs_only(rows, weight, targets, chunk_tokens=chunk)
    return mx.sum(logprobs.reshape(P, 1, -1) * _sides(answer_of), axis=-1)


def _sides(answer_of: mx.array) -> mx.array:
    """(P, A) -> (P, 2, A) booleans: whether a token is of the chosen answer, of the rejected one.

    Sums go over the last axis, where MLX has many partial sums: one after the other, float32 would lose a digit.
    """
    return answer_of[:, None, :] == mx.array([_CHOSEN, _REJECTED])[:, None]


def dpo_objective(config: RunConfig) -> Objective:
    """The preference loss of a batch of pairs, summed, with the metrics that are watched."""
    dpo, chunk = config.dpo or DpoConfig(), config.train.loss_chunk_tokens

    def objective(
        model: Transformer,
        inputs: mx.array,
        segments: mx.array,
        positions: mx.array,
        answer_at: mx.array,
        answers: mx.array,
        answer_of: mx.array,
        reference: mx.array,
    ) -> tuple[mx.array, mx.array, Arrays]:
        policy = answer_logprobs(model, inputs, segments, positions, answer_at, answers, answer_of, chunk=chunk)
        scored = Pairs(policy, reference, mx.sum(_sides(answer_of), axis=-1))
        count = mx.array(inputs.shape[0], dtype=mx.float32)
        loss = mx.sum(pair_losses(scored, dpo))
        balance = model.balance_loss()
        if balance is not None and model.training:
            loss = loss + model.config.router_aux_loss_coef * balance * count
        sums = {name: mx.sum(m) for name, m in pair_metrics(scored, dpo).items()}
        # The prompt is counted with each answer.
        tokens = 2 * mx.sum(answer_at[:, 0] + 1) + mx.sum(answer_of > 0)
        return loss, count, {**sums, TOKENS: tokens.astype(mx.float32)}

    return objective


def batches_by_length(lengths: Sequence[int], size: int) -> list[list[int]]:
    """All items once, in batches of `size` of about equal length; the last one may be smaller."""
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    return [order[i : i + size] for i in range(0, len(order), size)]


def reference_logprobs(
    model: Transformer, all_pairs: Sequence[Pair], shapes: PairShapes, config: RunConfig
) -> np.ndarray:
    """log ref of both answers of every pair under the model as it is now: (P, 2) float32."""
    result = np.zeros((len(all_pairs), 2), dtype=np.float32)
    size, nothing = config.train.batch_size, np.zeros(2)
    device, lanes = mx.default_device(), max(1, config.train.lanes)
    # Side by side as a training step's lanes are; see `TrainStep`.
    streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]
    with _scoring(model, config), blas_for_lanes(lanes):
        for batch in batches_by_length([shapes.length(p) for p in all_pairs], size):
            rows = [shapes.row(all_pairs[i], nothing) for i in batch]
            *arrays, _ = stacked(rows, size)
            scores = []
            for lane, stream in enumerate(streams):
                part = slice(lane * size // lanes, (lane + 1) * size // lanes)
                with mx.stream(stream):
                    one = answer_logprobs(
                        model, *(a[part] for a in arrays), chunk=config.train.loss_chunk_tokens, learn=False
                    )
                    scores.append(one.astype(mx.float32))
            mx.eval(scores)
            result[batch] = np.concatenate([np.array(one) for one in scores])[: len(batch)]
    return result


@contextmanager
def _scoring(model: Transformer, config: RunConfig) -> Iterator[None]:
    """Within this the model computes as a step does, but without dropout.

    In half precision policy and reference are then off by the same.
    """
    was_training, dtype = model.training, compute_dtype(config.train.compute_dtype)
    weights = trainable_parameters(model)
    set_parameters(model, {name: p.astype(dtype) for name, p in weights.items()})
    model.eval()
    try:
        yield
    finally:
        set_parameters(model, weights)
        model.train(was_training)


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


@dataclass(frozen=True)
class DpoScore:
    """How held-out pairs are judged; `metrics` are the means of `preference_losses.pair_metrics`."""

    loss: float
    pairs: int
    metrics: Mapping[str, float]

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return {"loss": self.loss, "bits_per_byte": None, "pairs": self.pairs, **self.metrics}


class DpoValidation:
    """Scores held-out pairs."""

    def __init__(self, rows: Sequence[Row], config: RunConfig) -> None:
        self._rows, self._config, self._size = rows, config, config.train.batch_size
        self._dpo, self._chunk = config.dpo or DpoConfig(), config.train.loss_chunk_tokens
        self._batches = batches_by_length([row["inputs"].shape[-1] for row in rows], self._size)

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return len(self._batches)

    def __call__(self, model: Transformer, max_batches: int | None = None) -> dict[str, DpoScore]:
        """The score under "all"; dropout is off meanwhile."""
        sums: dict[str, float] = {}
        count = 0
        with _scoring(model, self._config):
            for batch in self._batches[:max_batches]:
                *arrays, reference = stacked([self._rows[i] for i in batch], self._size)
                policy = answer_logprobs(model, *arrays, chunk=self._chunk, learn=False)
                lengths = mx.sum(_sides(arrays[-1]), axis=-1)
                scored = Pairs(*(each[: len(batch)] for each in (policy, reference, lengths)))
                values = {"loss": pair_losses(scored, self._dpo), **pair_metrics(scored, self._dpo)}
                for name, value in values.items():
                    sums[name] = sums.get(name, 0.0) + cast(float, mx.sum(value).item())
                count += len(batch)
        means = {name: value / max(count, 1) for name, value in sums.items()}
        return {"all": DpoScore(means.pop("loss", math.nan), count, means)}


def dpo_rows(rows: Sequence[Row], rows_per_step: int, seed: int) -> RowLoader:
    """The loader of training pairs; the pairs of a step are about equally long."""
    return RowLoader(rows, KEYS, rows_per_step, seed, lengths=[row["inputs"].shape[-1] for row in rows])
