"""The log-probability that a model gives to each token of an answer, where its gradient is not the same for all.

Shapes: N tokens, C tokens of one chunk, D hidden, V vocabulary.
"""

from typing import cast

import mlx.core as mx

from mlxllm.model.cpu_math import exp_nonpositive, log_sum_exp, worthwhile

_KEPT_NUMBERS = 1 << 22
"""So many exponentials of the forward pass are kept for the head's gradient (16 MiB); more are computed again."""
_SMALL_CHUNK = 128
"""Tokens of a chunk where nothing as large as the head is summed up over chunks: small ones cost nothing then."""


def token_logprobs(
    hidden: mx.array,
    weight: mx.array,
    targets: mx.array,
    *,
    chunk_tokens: int = 1024,
    head_is_trained: bool = True,
) -> mx.array:
    """log softmax(hidden weight^T)[target] of each token, nats: (N,) float32; differentiable.

    The logits of only C tokens exist at a time. How much each token counts follows from the result, so it is known in
    the backward pass only; but for the gradient of `hidden` it is a factor of each row, and the row itself,
    weight[target] - softmax weight, is formed in the forward pass, while the exponentials are there.

    Args:
        hidden: (N, D).
        weight: (V, D), the output head.
        targets: (N,) integers.
        chunk_tokens: C.
        head_is_trained: whether `weight` has a gradient; it is sum(count_n (onehot(target_n) - softmax_n) hidden_n^T),
            which takes the exponentials once more.
    """
    N, V = hidden.shape[0], weight.shape[0]
    exp = exp_nonpositive if worthwhile(min(N, chunk_tokens) * V, mx.float32) else mx.exp
    pieces = _pieces(N, chunk_tokens if head_is_trained else min(chunk_tokens, _SMALL_CHUNK))
    keep = head_is_trained and N * V <= _KEPT_NUMBERS

    @mx.custom_function
    def picked(hidden: mx.array, weight: mx.array) -> tuple[mx.array, ...]:
        logprobs: list[mx.array] = []
        sums: list[mx.array] = []
        d_hidden: list[mx.array] = []
        kept: list[mx.array] = []
        for piece in pieces:
            # The dependency makes chunks run one after another, so that only one chunk's logits are alive.
            rows = mx.depends([hidden[piece]], [d_hidden[-1]])[0] if d_hidden else hidden[piece]
            logits = (rows @ weight.T).astype(mx.float32)
            top = mx.max(logits, axis=-1, keepdims=True)
            exps = exp(logits - top)
            total = mx.sum(exps, axis=-1, keepdims=True)  # (C, 1)
            sums.append(mx.log(total) + top)
            chosen = mx.take_along_axis(logits, targets[piece][:, None], axis=-1)
            logprobs.append((chosen - sums[-1]).squeeze(-1))
            exps = exps.astype(rows.dtype)
            d_hidden.append(weight[targets[piece]] - (exps @ weight).astype(mx.float32) / total)
            if keep:
                kept.append(exps)
        return mx.concatenate(logprobs), mx.concatenate(d_hidden), mx.concatenate(sums), *kept

    @picked.vjp
    def backward(
        primals: tuple[mx.array, mx.array], cotangents: tuple[mx.array, ...], outputs: tuple[mx.array, ...]
    ) -> tuple[mx.array, mx.array]:
        hidden, weight = primals
        _, d_hidden, sums, *kept = outputs
        share = cotangents[0][:, None]
        if not head_is_trained:
            return (share * d_hidden).astype(hidden.dtype), mx.zeros_like(weight)  # nobody asks for the second
        d_weight: mx.array | None = None
        for number, piece in enumerate(pieces):
            rows = hidden[piece]
            if keep:
                pull = kept[number] * (share[piece] / mx.sum(kept[number], axis=-1, keepdims=True))
            else:
                # One chunk after the other, and the first after the forward pass: or a compiled step would notice that
                # these logits are the ones from there, and keep those.
                rows = mx.depends([rows], [share if d_weight is None else d_weight])[0]
                pull = exp((rows @ weight.T).astype(mx.float32) - sums[piece]) * share[piece]
            pull = pull.at[mx.arange(rows.shape[0]), targets[piece]].add(-share[piece].squeeze(-1))  # (C, V)
            more = (-pull.T.astype(rows.dtype) @ rows).astype(mx.float32)
            d_weight = more if d_weight is None else d_weight + more
        assert d_weight is not None
        return (share * d_hidden).astype(hidden.dtype), d_weight.astype(weight.dtype)

    return cast(tuple[mx.array, ...], picked(hidden, weight))[0]


def token_logprobs_only(hidden: mx.array, weight: mx.array, targets: mx.array, *, chunk_tokens: int = 1024) -> mx.array:
    """The same numbers as `token_logprobs` where nothing is to be learned: a reference, a validation."""
    logprobs: list[mx.array] = []
    for piece in _pieces(hidden.shape[0], min(chunk_tokens, _SMALL_CHUNK)):
        rows = mx.depends([hidden[piece]], [logprobs[-1]])[0] if logprobs else hidden[piece]
        logits = (rows @ weight.T).astype(mx.float32)
        chosen = mx.take_along_axis(logits, targets[piece][:, None], axis=-1).squeeze(-1)
        logprobs.append(chosen - log_sum_exp(logits))
    return mx.concatenate(logprobs)


def _pieces(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
