"""What training minimises: the cross-entropy of the next token.

Shapes: B batch, T time, N = B * T, C tokens of one chunk, D hidden, V vocabulary.
"""

from collections.abc import Callable
from functools import partial
from typing import cast

import mlx.core as mx

from mlxllm.config import TrainConfig
from mlxllm.model.cpu_math import exp_nonpositive, worthwhile
from mlxllm.model.transformer import Transformer


def cross_entropy(
    hidden: mx.array,
    weight: mx.array,
    targets: mx.array,
    loss_mask: mx.array,
    *,
    chunk_tokens: int = 1024,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    head_is_trained: bool = True,
) -> mx.array:
    """Sum over tokens of mask * [lse - (1 - s) z_target - s mean(z) + zeta lse^2], with z = hidden weight^T.

    lse is log(sum(exp(z))), s the label smoothing, zeta the z-loss (PaLM, arXiv:2204.02311, section 5). The logits of
    only C tokens exist at a time. Their gradient, softmax(z) - onehot(target), is formed in the forward pass while
    they are there, so nothing has to be kept or computed again: each exponential is taken once.

    Args:
        hidden: (N, D).
        weight: (V, D), the output head.
        targets: (N,) integers.
        loss_mask: (N,) weights of the tokens, usually 0 or 1.
        chunk_tokens: C.
        z_loss: zeta.
        label_smoothing: s.
        head_is_trained: whether `weight` has a gradient, which is a third of the work here.

    Returns:
        float32 scalar; differentiable in `hidden` and `weight`.
    """
    N, V = hidden.shape[0], weight.shape[0]
    exp = exp_nonpositive if worthwhile(min(N, chunk_tokens) * V, mx.float32) else mx.exp
    if targets.shape != (N,) or loss_mask.shape != (N,):
        raise ValueError(f"targets {targets.shape} and loss_mask {loss_mask.shape} must both be ({N},)")

    def chunk(rows: mx.array, target: mx.array, mask: mx.array, weight: mx.array) -> tuple[mx.array, ...]:
        """Loss (scalar), and its gradients with respect to rows (C, D) and weight (V, D), without the target's part.

        With e = exp(z - max), the softmax is e / sum(e). It is never formed: the division is done on the rows, which
        are much narrower than the logits.
        """
        logits = (rows @ weight.T).astype(mx.float32)
        top = mx.max(logits, axis=-1, keepdims=True)
        exps = exp(logits - top)
        total = mx.sum(exps, axis=-1, keepdims=True)  # (C, 1)
        lse = (mx.log(total) + top).squeeze(-1)  # (C,)
        picked = mx.take_along_axis(logits, target[:, None], axis=-1).squeeze(-1)
        loss = lse - (1 - label_smoothing) * picked
        # d lse / d logits is the softmax; the z-loss scales it by 1 + 2 zeta lse.
        factor = mask if z_loss == 0 else mask * (1 + 2 * z_loss * lse)
        factor = factor[:, None] / total
        exps = exps.astype(rows.dtype)
        d_rows = (exps @ weight).astype(mx.float32) * factor
        d_weight = mx.zeros(())
        if head_is_trained:
            d_weight = (exps.T @ (rows * factor).astype(rows.dtype)).astype(mx.float32)
        if label_smoothing:
            loss = loss - label_smoothing * mx.mean(logits, axis=-1)
            even = (label_smoothing / V) * mask[:, None]
            d_rows = d_rows - even * mx.sum(weight, axis=0)
            if head_is_trained:
                d_weight = d_weight - mx.sum(even * rows, axis=0)
        if z_loss:
            loss = loss + z_loss * lse * lse
        return mx.sum(loss * mask), d_rows, d_weight

    @mx.custom_function
    def summed(hidden: mx.array, weight: mx.array) -> tuple[mx.array, mx.array, mx.array]:
        loss, d_weight = mx.zeros(()), mx.zeros(weight.shape if head_is_trained else (), dtype=mx.float32)
        d_hidden: list[mx.array] = []
        for start in range(0, N, chunk_tokens):
            piece = slice(start, min(start + chunk_tokens, N))
            # The dependency makes chunks run one after another, so that only one chunk's logits are alive.
            rows = mx.depends([hidden[piece]], [d_weight, d_hidden[-1], loss])[0] if start else hidden[piece]
            chunk_loss, d_rows, more = chunk(rows, targets[piece], loss_mask[piece], weight)
            loss, d_weight = loss + chunk_loss, d_weight + more
            d_hidden.append(d_rows)
        share = (1 - label_smoothing) * loss_mask[:, None]
        if head_is_trained:
            d_weight = d_weight.at[targets].add(-share * hidden)
        return loss, mx.concatenate(d_hidden, axis=0) - share * weight[targets], d_weight

    @summed.vjp
    def backward(
        primals: tuple[mx.array, mx.array],
        cotangents: tuple[mx.array, mx.array, mx.array],
        outputs: tuple[mx.array, mx.array, mx.array],
    ) -> tuple[mx.array, mx.array]:
        hidden, weight = primals
        _, d_hidden, d_weight = outputs
        scale = cotangents[0]
        if not head_is_trained:
            d_weight = mx.zeros_like(weight)  # nobody asks for it
        return (d_hidden * scale).astype(hidden.dtype), (d_weight * scale).astype(weight.dtype)

    return cast(tuple[mx.array, ...], summed(hidden, weight))[0]


def next_token_loss(
    model: Transformer,
    inputs: mx.array,
    targets: mx.array,
    loss_mask: mx.array | None = None,
    positions: mx.array | None = None,
    *,
    chunk_tokens: int = 1024,
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
) -> tuple[mx.array, mx.array]:
    """Cross-entropy of the next token, summed, and the number of tokens it was summed over.

    Args:
        inputs: (B, T) token ids.
        targets: (B, T), the token that follows each input.
        loss_mask: (B, T) weights; None counts every token.
        positions: (B, T), where several texts share a row; see `Decoder.__call__`.

    Returns:
        (summed loss in nats, number of tokens), float32 scalars; a mixture of experts adds its balance loss per token.
    """
    hidden = model.model(inputs, positions=positions)  # (B, T, D)
    mask = mx.ones(targets.shape) if loss_mask is None else loss_mask.astype(mx.float32)
    loss = cross_entropy(
        hidden.reshape(-1, hidden.shape[-1]),
        model.output_weight(),
        targets.reshape(-1),
        mask.reshape(-1),
        chunk_tokens=chunk_tokens,
        z_loss=z_loss,
        label_smoothing=label_smoothing,
        head_is_trained=model.head_is_trained,
    )
    num_tokens = mx.sum(mask)
    balance = model.balance_loss()
    if balance is not None and model.training:
        loss = loss + model.config.router_aux_loss_coef * balance * num_tokens
    return loss, num_tokens


def next_token_objective(train: TrainConfig) -> Callable[..., tuple[mx.array, mx.array]]:
    """`next_token_loss` under a recipe: (model, inputs, targets[, loss_mask, positions]) -> summed loss and count."""
    return partial(
        next_token_loss,
        chunk_tokens=train.loss_chunk_tokens,
        z_loss=train.z_loss,
        label_smoothing=train.label_smoothing,
    )
