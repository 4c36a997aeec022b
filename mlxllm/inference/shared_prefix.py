"""The beginning that several texts share is read once: its keys and values, for any number of texts that go on from it.

Shapes: B texts, K key-value heads, L positions of the beginning, T new positions, d width of one head.
"""

from collections.abc import Sequence

import mlx.core as mx

from mlxllm.model.attention import causal_mask
from mlxllm.model.kv_cache import GrowingKVCache
from mlxllm.model.transformer import Transformer

_CHUNK = 512
"""Positions of the beginning that go through the model at once: bounds the memory of a long one."""


def read_prefix(model: Transformer, token_ids: Sequence[int]) -> list[GrowingKVCache]:
    """The keys and values of a beginning, one cache of one row a layer.

    Everything is kept, also what a sliding window has left behind: it is for the masks to hide it.
    """
    cache = [GrowingKVCache() for _ in model.model.layers]
    window = model.config.sliding_window
    for start in range(0, len(token_ids), _CHUNK):
        ids = mx.array([list(token_ids[start : start + _CHUNK])], dtype=mx.uint32)
        stop = start + ids.shape[1]
        mask = causal_mask(ids.shape[1], stop, window) if window is not None and window < stop else None
        mx.eval(model.model(ids, cache, mask=mask))
    return cache


class PrefixCache:
    """One layer's keys and values of a shared beginning, before those of a batch that is computed in one pass.

    Nothing is added to it, and the copies for the batch live only as long as their layer is computed.
    """

    def __init__(self, prefix: GrowingKVCache, window: int | None) -> None:
        self.offset = prefix.offset
        self._prefix, self._window = prefix, window

    def update(self, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        """(B, K, T, d) keys and values -> the same behind those of the beginning, (B, K, L + T, d)."""
        return self._prefix.repeated(k.shape[0]).update(k, v)

    def mask(self, queries: int) -> mx.array | str | None:
        """See `KVCache.mask`."""
        keys = self.offset + queries
        if self._window is not None and self._window < keys:
            return causal_mask(queries, keys, self._window)
        return "causal" if queries > 1 else None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._prefix.nbytes


def common_prefix(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all texts begin with; each keeps at least one of its own."""
    if not texts:
        return 0
    first, last = min(map(tuple, texts)), max(map(tuple, texts))  # in this order all others lie between them
    most = min(len(text) for text in texts) - 1
    return next((at for at in range(most) if first[at] != last[at]), max(most, 0))
