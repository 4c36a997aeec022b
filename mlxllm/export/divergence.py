"""How far the predictions of one model are from those of another on the same tokens.

KL(P || Q) = sum over the vocabulary of p (log p - log q), in nats: how many a token Q loses against P on text that P
writes. It is 0 only where both predict the same.

Shapes: T tokens, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import mlx.core as mx
import mlx.nn as nn

from mlxllm.model.transformer import Transformer

SAMPLE = """\
The train left the valley before sunrise, and nobody on the platform had seen the old man get in. He sat by the window
with a basket on his knees and counted the bridges: one over the mill, two over the river, and a long one of iron that
sang under the wheels. "You count every time," said the girl across from him. "Does the number ever change?"

Water boils at 100 degrees at sea level and at about 90 on a mountain of 3,000 metres, because the air above it weighs
less. A cook who knows this adds some minutes; one who does not blames the potatoes.

def mean(values):
    return sum(values) / len(values) if values else 0.0

Question: which is larger, 3/4 or 0.7? Answer: 3/4, because it is 0.75. Als der Zug hielt, stieg niemand aus.
"""
"""Prose, a fact, some code, some numbers, another language: what a loss is measured on where nothing else is given."""

WINDOW = 256
"""Tokens that are read at once."""


@dataclass(frozen=True)
class Divergence:
    """What two models predict, compared."""

    kl: float
    """Mean KL divergence, nats a token."""
    max_kl: float
    """Of the token with the largest one."""
    top_equal: float
    """Share of positions whose most likely token is the same."""
    tokens: int
    """Positions compared."""

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return asdict(self)


def divergence(model: Transformer, other: Transformer, token_ids: Sequence[int]) -> Divergence:
    """Compare what two models with one vocabulary predict after each token of a text.

    Args:
        model: P, the one that counts.
        other: Q.
        token_ids: at least one; read in windows that the models have positions for.
    """
    window = min(WINDOW, model.config.max_position_embeddings)
    total, largest, equal = 0.0, 0.0, 0
    for start in range(0, len(token_ids), window):
        ids = mx.array([list(token_ids[start : start + window])])
        p, q = (nn.log_softmax(each(ids).astype(mx.float32), axis=-1) for each in (model, other))  # (1, T, V)
        kl = mx.sum(mx.exp(p) * (p - q), axis=-1)
        same = mx.sum(mx.argmax(p, axis=-1) == mx.argmax(q, axis=-1))
        total += float(mx.sum(kl))
        largest = max(largest, float(mx.max(kl)))
        equal += int(same)
    return Divergence(total / len(token_ids), largest, equal / len(token_ids), len(token_ids))
