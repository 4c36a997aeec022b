"""Which pieces a model holds for alike: the nearest neighbours of embeddings.

Shapes: N ids asked about, V vocabulary, D hidden.
"""

from collections.abc import Sequence

import mlx.core as mx
import numpy as np

from mlxllm.model.transformer import Transformer

_ROWS = 1 << 14
"""So many embeddings are looked at at once."""

Neighbour = tuple[int, float]
"""Id and cosine."""


def neighbours(model: Transformer, ids: Sequence[int], count: int, vocab_size: int) -> dict[int, list[Neighbour]]:
    """The nearest other embeddings of each id by cosine similarity, the nearest first.

    Args:
        model: any.
        ids: which ones are asked about; each once is enough.
        count: how many neighbours.
        vocab_size: ids from here on are padding, which is nobody's neighbour.
    """
    asked = list(dict.fromkeys(ids))
    own = _unit(model, asked)  # (N, D)
    best = np.zeros((len(asked), 0), np.float32)
    best_ids = np.zeros((len(asked), 0), np.int64)
    for start in range(0, vocab_size, _ROWS):
        rows = range(start, min(start + _ROWS, vocab_size))
        cosines = np.array(own @ _unit(model, rows).T)  # (N, rows)
        for n, token_id in enumerate(asked):
            if token_id in rows:
                cosines[n, token_id - start] = -np.inf
        there = np.broadcast_to(np.arange(rows.start, rows.stop), cosines.shape)
        best, best_ids = np.concatenate([best, cosines], axis=1), np.concatenate([best_ids, there], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :count]
        best, best_ids = np.take_along_axis(best, order, axis=1), np.take_along_axis(best_ids, order, axis=1)
    found = zip(asked, best_ids.tolist(), best.tolist(), strict=True)
    return {
        token_id: [(other, cosine) for other, cosine in zip(others, cosines, strict=True) if np.isfinite(cosine)]
        for token_id, others, cosines in found
    }


def _unit(model: Transformer, ids: Sequence[int]) -> mx.array:
    """The embeddings of some ids with length one, in float32; rows of zeros stay."""
    rows: mx.array = model.model.embed_tokens(mx.array(list(ids))).astype(mx.float32)
    return rows / mx.maximum(mx.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)
