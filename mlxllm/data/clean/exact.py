"""Exact duplicates: the 128-bit XXH3 hash of a text as it stands, with no normalisation at all.

Two different texts among n have the same one with probability n^2 / 2^129.
"""

from collections.abc import Sequence

import numpy as np
import xxhash
from numpy.typing import NDArray


def exact_hash(text: str) -> NDArray[np.uint64]:
    """Two numbers (2,) that stand for the UTF-8 bytes of `text`."""
    return exact_hashes([text]).reshape(2)


def exact_hashes(texts: Sequence[str]) -> NDArray[np.uint64]:
    """`exact_hash` of each text, (N, 2)."""
    # A lone surrogate, which no UTF-8 has, still gets bytes of its own.
    digests = [xxhash.xxh3_128_digest(text.encode("utf-8", "surrogatepass")) for text in texts]
    return np.frombuffer(b"".join(digests), ">u8").astype(np.uint64).reshape(-1, 2)
