"""What the order of the words is worth to a model: the same tokens shuffled, with and without positions and causal mask.

Attention is a weighted sum, and a sum has no order. Without positions, what the last token makes of the others in the
first layer is the same in whatever order they stand. Further up it is not, though nobody is told a position: what a token
has become by then depends on which ones it was allowed to see, and that is those before it. The causal mask tells the
order. With the mask lifted as well, every layer is free of it, but for rounding.

Shapes: T time, L layers, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import mlx.core as mx
import numpy as np

from mlxllm.errors import ConfigError
from mlxllm.explain.interventions import UNCHANGED, Interventions
from mlxllm.explain.walk import Step, lens_logits, steps
from mlxllm.model.transformer import Transformer


@dataclass(frozen=True)
class Order:
    """How much the prediction after one position moves when the tokens before it are shuffled."""

    positions: bool
    """Tokens know where they stand."""
    causal: bool
    """No token sees those behind it."""
    by_layer: tuple[float, ...]
    """The largest change of a probability, if the model stopped at the embedding, behind layer 0, ... (L + 1 of them)."""

    @property
    def change(self) -> float:
        """Of the model's own prediction."""
        return self.by_layer[-1]


def shuffled(token_ids: Sequence[int], at: int, seed: int, *, fixed: int = 0) -> list[int]:
    """The same ids with those before position `at` in another order.

    Args:
        token_ids: of the prompt.
        at: this one and what follows stay where they are.
        seed: decides the order.
        fixed: so many at the beginning stay, too: what a tokenizer puts before every text.

    Raises:
        ConfigError: there are not two different tokens to shuffle.
    """
    middle = list(token_ids[fixed:at])
    if len(set(middle)) < 2:
        raise ConfigError(
            f"there is nothing to shuffle: {len(middle)} pieces stand before position {at}, and it takes two different ones; "
            f"give a longer text"
        )
    rng = np.random.default_rng(seed)
    new = middle
    while new == middle:  # the order that it was in would show nothing
        new = [middle[i] for i in rng.permutation(len(middle))]
    return [*token_ids[:fixed], *new, *token_ids[at:]]


def compare_orders(
    model: Transformer, token_ids: Sequence[int], other: Sequence[int], at: int, changes: Interventions = UNCHANGED
) -> list[Order]:
    """What another order changes: with positions and without, each with the causal mask and with it lifted.

    Args:
        model: in evaluation mode.
        token_ids: T of them.
        other: the same in another order.
        at: the position whose next token is predicted.
        changes: what else is changed, on both sides; its patches are left out.
    """
    found = []
    for positions in (True, False):
        for causal in (True, False):
            here = replace(changes, positions=positions, causal=causal)
            one, two = (_probabilities(model, ids, at, here) for ids in (token_ids, other))  # (L + 1, V)
            moved = mx.max(mx.abs(one - two), axis=-1).tolist()
            found.append(Order(positions, causal, tuple(float(each) for each in moved)))  # type: ignore[arg-type, union-attr]
    return found


def _probabilities(model: Transformer, token_ids: Sequence[int], at: int, changes: Interventions) -> mx.array:
    """(L + 1, V): of the next token, if the model stopped at the embedding, behind layer 0, ..."""
    rows = []
    for step in steps(model, token_ids, changes):
        stream = step.stream if isinstance(step, Step) else step
        logits = lens_logits(model, stream[:, at : at + 1])[0, 0].astype(mx.float32)
        rows.append(mx.softmax(logits / changes.temperature, axis=-1))
        mx.eval(rows[-1])
    return mx.stack(rows)
