"""How well a model predicts the answers of held-out conversations: the loss of what the mask says is to be learned.

Shapes: B rows, T tokens of a row.
"""

import math
from dataclasses import asdict, dataclass
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.data.packing import PackedRows
from mlxllm.evaluation.passage import Watch, cut_around
from mlxllm.evaluation.perplexity import token_losses
from mlxllm.model.transformer import Transformer

KEYS = ("inputs", "targets", "loss_mask", "positions")
"""The arrays of a row, (T,) each."""


@dataclass(frozen=True)
class SftScore:
    """How well held-out answers are predicted."""

    loss: float
    """Mean cross-entropy, nats a trained token."""
    perplexity: float
    """exp(loss)."""
    tokens: int
    """Trained tokens that were scored."""
    bits_per_byte: None = None
    """Parts of texts have no bytes of their own."""

    def as_dict(self) -> dict[str, float | int | None]:
        """For JSON."""
        return asdict(self)


class SftValidation:
    """Scores held-out rows, B at a time."""

    def __init__(self, rows: PackedRows, batch_size: int) -> None:
        self._rows, self._batch = rows, min(batch_size, len(rows.inputs))
        # The first text of the first row: its positions count up from 0, and 0 comes again behind it.
        others = np.flatnonzero(rows.positions[0, 1:] == 0)
        end = int(others[0]) + 1 if len(others) else rows.inputs.shape[1]
        ids = np.concatenate([rows.inputs[0, :1], rows.targets[0, :end]])
        self.passage, begin = cut_around(ids, np.concatenate([[0], rows.loss_mask[0, :end]]))
        # Token p of the text is the target at place p - 1.
        self._watched = np.flatnonzero(self.passage.scored) + begin - 1

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return math.ceil(len(self._rows.inputs) / self._batch)

    def __call__(
        self, model: Transformer, max_batches: int | None = None, *, watch: Watch | None = None
    ) -> dict[str, SftScore]:
        """The score under "all"; dropout is off meanwhile. `watch` gets the losses of `passage`."""
        was_training = model.training
        model.eval()
        total, count = 0.0, 0.0
        for number in range(self.num_batches if max_batches is None else min(max_batches, self.num_batches)):
            piece = slice(number * self._batch, (number + 1) * self._batch)
            arrays = [_filled(getattr(self._rows, key)[piece], self._batch) for key in KEYS]
            inputs, targets, mask, positions = (mx.array(a) for a in arrays)
            losses = token_losses(model, inputs, targets, positions=positions)
            summed = mx.sum(losses * mask)
            if watch is not None and number == 0:
                watch(np.array(losses[0])[self._watched])
            total, count = total + cast(float, summed.item()), count + float(arrays[2].sum())
        if was_training:
            model.train()
        mean = total / max(count, 1)
        return {"all": SftScore(mean, math.exp(mean) if mean < 700 else math.inf, int(count))}


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    """The last batch gets empty rows, so that there is one shape."""
    return np.pad(array, ((0, rows - len(array)), (0, 0)))
