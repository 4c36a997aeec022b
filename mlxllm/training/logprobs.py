"""The log-probability that a model gives to each token of an answer, where its gradient is not the same for all.

Shapes: N tokens, C tokens of one chunk, D hidden, V vocabulary.
"""

from typing import cast

import mlx.core as mx

from mlxllm.model.cpu_math import exp_nonpositive, log_sum_exp, worthwhile

_SMALL_CHUNK = 64
"""Tokens of a chunk where no gradient of the head is summed up, which is as large as the head: small ones cost nothing."""


def _pieces(count: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


def token_logprobs(
    hidden: mx.array, weight: mx.array, targets: mx.array, *, chunk_tokens: int = 1024, head_is_trained: bool = True
) -> mx.array:
    """log softmax(hidden weight^T)[target] of each token, nats: (N,) float32.

    The logits of only C tokens exist at a time. The cross-entropy of training (`objectives.cross_entropy`) forms its
    gradient in the forward pass, which needs to know how much each token counts; where that follows from the result, as
    in preference losses, the backward pass has to compute the logits once more.

    Args:
        hidden: (N, D).
        weight: (V, D), the output head.
        targets: (N,) integers.
        chunk_tokens: C.
        head_is_trained: whether `weight` has a gradient; without it chunks may as well be small.
    """
    N, V = hidden.shape[0], weight.shape[0]
    exp = exp_nonpositive if worthwhile(min(N, chunk_tokens) * V, mx.float32) else mx.exp
    small = min(chunk_tokens, _SMALL_CHUNK)
    forward, back = _pieces(N, small), _pieces(N, chunk_tokens if head_is_trained else small)

    @mx.custom_function
    def picked(hidden: mx.array, weight: mx.array) -> tuple[mx.array, mx.array]:
        logprobs: list[mx.array] = []
        sums: list[mx.array] = []
        for piece in forward:
            # The dependency makes chunks run one after another, so that only one chunk's logits are alive.
            rows = mx.depends([hidden[piece]], [sums[-1]])[0] if sums else hidden[piece]
            logits = (rows @ weight.T).astype(mx.float32)
            lse = log_sum_exp(logits)  # (C,)
            chosen = mx.take_along_axis(logits, targets[piece][:, None], axis=-1).squeeze(-1)
            logprobs.append(chosen - lse)
            sums.append(lse)
        return mx.concatenate(logprobs), mx.concatenate(sums)

    @picked.vjp
    def backward(
        primals: tuple[mx.array, mx.array],
        cotangents: tuple[mx.array, mx.array],
        outputs: tuple[mx.array, mx.array],
    ) -> tuple[mx.array, mx.array]:
        """d logprob / d logits = onehot(target) - softmax."""
        hidden, weight = primals
        share, lse = cotangents[0], outputs[1]
        d_hidden: list[mx.array] = []
        d_weight = mx.zeros(weight.shape, dtype=mx.float32)
        for piece in back:
            # One chunk after the other, and the first after the forward pass: or a compiled step would notice that
            # these logits are the ones from there, and keep those.
            before = share if not d_hidden else d_weight if head_is_trained else d_hidden[-1]
            rows = mx.depends([hidden[piece]], [before])[0]
            logits = (rows @ weight.T).astype(mx.float32)
            pull = (exp(logits - lse[piece][:, None]) * share[piece][:, None]).astype(rows.dtype)  # (C, V)
            d_hidden.append((pull @ weight).astype(mx.float32))
            if head_is_trained:
                d_weight = d_weight - (pull.T @ rows).astype(mx.float32)
        counted = share[:, None]
        if head_is_trained:
            d_weight = d_weight.at[targets].add(counted * hidden)
        d_rows = counted * weight[targets] - mx.concatenate(d_hidden)
        return d_rows.astype(hidden.dtype), d_weight.astype(weight.dtype)

    return cast(tuple[mx.array, ...], picked(hidden, weight))[0]
