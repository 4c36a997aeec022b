"""How likely a model finds both answers of a preference pair, each after the prompt that they share.

Only the answers' own tokens are scored: their hidden states are picked out before the output head, which is the widest
matrix product of a small model.

Shapes: P pairs, T tokens of a row, A tokens of both answers of a pair, D hidden, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import mlx.core as mx
import numpy as np

from mlxllm.config import TrainConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.evaluation.pair_rows import CHOSEN, REJECTED, PairShapes, batches_by_length, stacked
from mlxllm.model.attention import Packed
from mlxllm.model.logprobs import token_logprobs, token_logprobs_only
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.runtime import blas_for_lanes, compute_dtype


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
    each = answer_token_logprobs(model, inputs, segments, positions, answer_at, answers, chunk=chunk, learn=learn)
    return of_answers(each, answer_of)


def answer_token_logprobs(
    model: Transformer,
    inputs: mx.array,
    segments: mx.array,
    positions: mx.array,
    answer_at: mx.array,
    answers: mx.array,
    *,
    chunk: int,
    learn: bool = True,
) -> mx.array:
    """log pi of each token of both answers: (P, A) float32. For the arguments see `answer_logprobs`."""
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
    return logprobs.reshape(P, -1)


def of_answers(each: mx.array, answer_of: mx.array) -> mx.array:
    """Numbers of tokens (P, A), summed over those of each answer: (P, 2)."""
    return mx.sum(each[:, None, :] * answer_sides(answer_of), axis=-1)


def answer_sides(answer_of: mx.array) -> mx.array:
    """(P, A) -> (P, 2, A) booleans: whether a token is of the chosen answer, of the rejected one.

    Sums go over the last axis, where MLX has many partial sums: one after the other, float32 would lose a digit.
    """
    return answer_of[:, None, :] == mx.array([CHOSEN, REJECTED])[:, None]


def reference_logprobs(
    model: Transformer, all_pairs: Sequence[Pair], shapes: PairShapes, train: TrainConfig
) -> np.ndarray:
    """log ref of both answers of every pair under the model as it is now: (P, 2) float32."""
    result = np.zeros((len(all_pairs), 2), dtype=np.float32)
    size, nothing = train.batch_size, np.zeros(2)
    device, lanes = mx.default_device(), max(1, train.lanes)
    # Side by side as a training step's lanes are; see `TrainStep`.
    streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]
    with scoring(model, train), blas_for_lanes(lanes):
        for batch in batches_by_length([shapes.length(p) for p in all_pairs], size):
            rows = [shapes.row(all_pairs[i], nothing) for i in batch]
            *arrays, _ = stacked(rows, size)
            scores = []
            for lane, stream in enumerate(streams):
                part = slice(lane * size // lanes, (lane + 1) * size // lanes)
                with mx.stream(stream):
                    one = answer_logprobs(model, *(a[part] for a in arrays), chunk=train.loss_chunk_tokens, learn=False)
                    scores.append(one.astype(mx.float32))
            mx.eval(scores)
            result[batch] = np.concatenate([np.array(one) for one in scores])[: len(batch)]
    return result


@contextmanager
def scoring(model: Transformer, train: TrainConfig) -> Iterator[None]:
    """Within this the model computes as a step does, but without dropout.

    In half precision policy and reference are then off by the same.
    """
    was_training, dtype = model.training, compute_dtype(train.compute_dtype)
    weights = trainable_parameters(model)
    set_parameters(model, {name: p.astype(dtype) for name, p in weights.items()})
    model.eval()
    try:
        yield
    finally:
        set_parameters(model, weights)
        model.train(was_training)
