"""Keys and values of the positions already seen, so that each new token costs one position and not all of them.

Shapes: B batch, K key-value heads, T new positions, S stored positions, d width of one head.
"""

from typing import Protocol

import mlx.core as mx
import numpy as np

from mlxllm.config import ModelConfig

STEP = 256
"""A growing cache is enlarged by so many positions at once: few shapes, few copies."""


class KVCache(Protocol):
    """One layer's keys and values."""

    offset: int
    """Positions seen since the start, also those no longer stored."""

    def update(self, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        """Store (B, K, T, d) keys and values; returns all that the T new queries may need, (B, K, S, d)."""
        ...

    def mask(self, queries: int) -> mx.array | str | None:
        """What the next T queries may see of what `update` will return."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...


def _nbytes(*arrays: mx.array | None) -> int:
    return sum(a.nbytes for a in arrays if a is not None)


class GrowingKVCache:
    """Keeps everything, in arrays that grow by `STEP` positions."""

    def __init__(self) -> None:
        self.offset = 0
        self._k: mx.array | None = None
        self._v: mx.array | None = None
        self._memory: tuple[np.ndarray, np.ndarray] | None = None  # of both, where NumPy writes to it

    def update(self, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        """See `KVCache.update`; S is all positions seen."""
        self._memory = None
        start, self.offset = self.offset, self.offset + k.shape[2]
        self._k = _room_for(self._k, k, self.offset)
        self._v = _room_for(self._v, v, self.offset)
        self._k[:, :, start : self.offset] = k
        self._v[:, :, start : self.offset] = v
        return self._k[:, :, : self.offset], self._v[:, :, : self.offset]

    def grown(self) -> tuple[np.ndarray, np.ndarray]:
        """Go on by one position, whose numbers the caller writes: the memory of all keys and values, (B, K, S, d).

        For a float32 cache on the CPU that is not empty. The memory is this cache's own: arrays that others may hold, or that
        are not computed yet, are copied before the first position is written. Let go of it before anything else is done
        with the cache.
        """
        assert self._k is not None
        assert self._v is not None
        here, self.offset = self.offset, self.offset + 1
        if self._memory is None or self._memory[0].shape[2] < self.offset:
            self._memory = None
            # One position is lacking, so both are copied.
            self._k = _room_for(self._k[:, :, :here], self._k[:, :, :1], self.offset)
            self._v = _room_for(self._v[:, :, :here], self._v[:, :, :1], self.offset)
            self._memory = np.array(self._k, copy=False), np.array(self._v, copy=False)
        k, v = self._memory
        return k[:, :, : self.offset], v[:, :, : self.offset]

    def holds(self, dtype: mx.Dtype) -> bool:
        """Whether there are keys and values, in this type."""
        return self._k is not None and self._k.dtype == dtype

    def mask(self, queries: int) -> str | None:
        """See `KVCache.mask`."""
        return "causal" if queries > 1 else None

    def trim(self, count: int) -> None:
        """Forget the last `count` positions."""
        self._memory = None
        self.offset -= count

    def repeated(self, rows: int) -> "GrowingKVCache":
        """A cache of its own for `rows` texts that all go on from the one here."""
        self._memory = None
        copy = GrowingKVCache()
        copy.offset = self.offset
        if self._k is not None and self._v is not None:
            copy._k = mx.repeat(self._k[:, :, : self.offset], rows, axis=0)
            copy._v = mx.repeat(self._v[:, :, : self.offset], rows, axis=0)
        return copy

    def keep(self, rows: mx.array) -> None:
        """Forget all texts of the batch but these, given by their numbers."""
        self._memory = None
        if self._k is not None and self._v is not None:
            self._k, self._v = self._k[rows], self._v[rows]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _nbytes(self._k, self._v)


def _room_for(stored: mx.array | None, new: mx.array, needed: int) -> mx.array:
    """`stored` with room for `needed` positions."""
    have = 0 if stored is None else stored.shape[2]
    if stored is not None and needed <= have:
        return stored
    B, K, _, d = new.shape
    grown = mx.zeros((B, K, -(-needed // STEP) * STEP - have, d), dtype=new.dtype)
    return grown if stored is None else mx.concatenate([stored, grown], axis=2)


class RotatingKVCache:
    """Keeps the last `size` positions, and always the first `keep` (attention sinks, arXiv:2309.17453)."""

    def __init__(self, size: int, keep: int = 0) -> None:
        if keep >= size:
            raise ValueError(f"a cache of {size} positions cannot always keep the first {keep}")
        self.offset = 0
        self._size, self._keep = size, keep
        self._k: mx.array | None = (
            None  # (B, K, S <= size, d); in order of time until it is full, then a ring after `keep`
        )
        self._v: mx.array | None = None
        self._next = 0  # the slot that the next position goes to

    def update(self, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        """See `KVCache.update`; S is at most `size`, or what `mask` speaks of when T > 1."""
        T = k.shape[2]
        self.offset += T
        if T == 1 and self._k is not None and self._k.shape[2] == self._size:
            assert self._v is not None
            self._k[:, :, self._next : self._next + 1] = k
            self._v[:, :, self._next : self._next + 1] = v
            self._next = self._next + 1 if self._next + 1 < self._size else self._keep
            return self._k, self._v
        if self._k is not None and self._v is not None:
            k = mx.concatenate([self._in_order(self._k), k], axis=2)
            v = mx.concatenate([self._in_order(self._v), v], axis=2)
        self._k, self._v = self._newest(k), self._newest(v)
        self._next = self._k.shape[2] if self._k.shape[2] < self._size else self._keep
        # The T new queries may between them look at more than `size` positions: hand out all, `mask` narrows it.
        return k, v

    def mask(self, queries: int) -> mx.array | None:
        """See `KVCache.mask`."""
        stored = 0 if self._k is None else self._k.shape[2]
        if queries == 1 and stored in (0, self._size):
            return None
        query_at = mx.arange(stored, stored + queries)[:, None]
        key_at = mx.arange(stored + queries)[None, :]
        near = key_at > query_at - (self._size - self._keep)
        return (key_at <= query_at) & (near | (key_at < self._keep))

    def _in_order(self, stored: mx.array) -> mx.array:
        if stored.shape[2] < self._size or self._next == self._keep:
            return stored
        keep, at = self._keep, self._next
        return mx.concatenate([stored[:, :, :keep], stored[:, :, at:], stored[:, :, keep:at]], axis=2)

    def _newest(self, x: mx.array) -> mx.array:
        if x.shape[2] <= self._size:
            return x
        return mx.concatenate([x[:, :, : self._keep], x[:, :, self._keep - self._size :]], axis=2)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _nbytes(self._k, self._v)


class QuantizedKVCache:
    """Keeps everything in 4 or 8 bits a number, in groups along the head's width."""

    def __init__(self, bits: int, group_size: int) -> None:
        self.offset = 0
        self._bits, self._group_size = bits, group_size
        self._k: tuple[mx.array, ...] | None = None  # (codes, scales, biases), each (B, K, S, ...)
        self._v: tuple[mx.array, ...] | None = None

    def update(self, k: mx.array, v: mx.array) -> tuple[mx.array, mx.array]:
        """See `KVCache.update`; what comes back is dequantised, so it carries the rounding."""
        start, self.offset = self.offset, self.offset + k.shape[2]
        self._k = self._store(self._k, k, start)
        self._v = self._store(self._v, v, start)
        return self._load(self._k, k.dtype), self._load(self._v, v.dtype)

    def mask(self, queries: int) -> str | None:
        """See `KVCache.mask`."""
        return "causal" if queries > 1 else None

    def trim(self, count: int) -> None:
        """Forget the last `count` positions."""
        self.offset -= count

    def _store(self, stored: tuple[mx.array, ...] | None, x: mx.array, start: int) -> tuple[mx.array, ...]:
        parts = mx.quantize(x, group_size=self._group_size, bits=self._bits)
        kept = []
        for i, part in enumerate(parts):
            room = _room_for(None if stored is None else stored[i], part, self.offset)
            room[:, :, start : self.offset] = part
            kept.append(room)
        return tuple(kept)

    def _load(self, stored: tuple[mx.array, ...], dtype: mx.Dtype) -> mx.array:
        codes, scales, biases = (part[:, :, : self.offset] for part in stored)
        return mx.dequantize(codes, scales, biases, group_size=self._group_size, bits=self._bits).astype(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return _nbytes(*(self._k or ()), *(self._v or ()))


def make_cache(config: ModelConfig, max_size: int | None = None, bits: int | None = None) -> list[KVCache]:
    """One empty cache a layer.

    Args:
        config: a sliding window bounds the cache by itself.
        max_size: keep at most this many positions (the first four and the newest).
        bits: store 4 or 8 bits a number; not together with a bound.

    Raises:
        ValueError: a combination that cannot work; the message says what would.
    """
    if bits is not None:
        width = config.resolved_head_dim
        groups = [g for g in (64, 32) if width % g == 0]
        if bits not in (4, 8):
            raise ValueError(f"a cache of {bits} bits is not possible; use 4 or 8")
        if not groups:
            raise ValueError(f"heads of width {width} cannot be quantised in groups of 32; leave --kv-bits out")
        if max_size is not None or config.sliding_window is not None:
            raise ValueError("a bounded cache cannot be quantised as well; use --max-kv-size or --kv-bits")
        return [QuantizedKVCache(bits, groups[0]) for _ in range(config.num_hidden_layers)]
    window = config.sliding_window
    if max_size is not None and max_size < 8:
        raise ValueError(f"a cache of {max_size} positions is too small to talk with; use 8 or more")
    if window is not None and (max_size is None or window <= max_size):
        return [RotatingKVCache(window) for _ in range(config.num_hidden_layers)]
    if max_size is not None:
        return [RotatingKVCache(max_size, keep=4) for _ in range(config.num_hidden_layers)]
    return [GrowingKVCache() for _ in range(config.num_hidden_layers)]
