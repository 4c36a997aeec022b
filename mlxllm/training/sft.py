"""Supervised fine-tuning: the next token of conversations, where the mask says that it is to be learned.

Shapes: B rows, T tokens of a row.
"""

import math
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import chain
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.config import RunConfig
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.masks import examples
from mlxllm.conversation.opening import open_records
from mlxllm.conversation.packing import pack_examples
from mlxllm.conversation.report import Report
from mlxllm.data.packing import PackedRows, Text, pack
from mlxllm.errors import DataError
from mlxllm.evaluation.perplexity import token_losses
from mlxllm.model.transformer import Transformer
from mlxllm.training.rows import RowLoader, held_out

KEYS = ("inputs", "targets", "loss_mask", "positions")


@dataclass(frozen=True)
class SftData:
    """Packed rows of conversations."""

    train: PackedRows
    val: PackedRows | None
    report: Report
    fingerprint: str
    """SHA-256 of everything that is trained on or validated on."""

    @property
    def num_tokens(self) -> int:
        """Positions of all training rows, padding included."""
        return int(self.train.inputs.size)

    @property
    def summary(self) -> str:
        """What there is to train on, in a line."""
        rows, val = self.train, self.val
        held = f"; {val.texts:,} held out" if val is not None else ""
        return (
            f"{rows.texts:,} conversations in {len(rows.inputs):,} rows of {rows.inputs.shape[1]:,} tokens, "
            f"{100 * rows.padding:.1f} % padding; {rows.trained_tokens:,} tokens to learn{held}"
        )


def open_sft_data(config: RunConfig, chat_format: ChatFormat) -> SftData:
    """Read, encode and pack what `data.records` and `data.val_records` name.

    Raises:
        ConfigError: there is no such file, or the template cannot be used.
        DataError: a file is damaged, or nothing is left to train on.
    """
    data, opened = config.data, open_records(config.data.records)
    report = opened.report
    texts = list(examples(opened.train, chat_format, report, train_on=data.train_on))
    if data.val_records:
        named = open_records(data.val_records)
        val = list(examples(named.train, chat_format, named.report, train_on=data.train_on))
    elif first := next(opened.val, None):
        val = list(examples(chain([first], opened.val), chat_format, opened.val_report, train_on=data.train_on))
    else:
        texts, val = held_out(texts, data.val_split)
    rows = pack_examples(texts, data.max_seq_len, report)
    if not len(rows.inputs):
        raise DataError(
            f"none of {report.read:,} records has anything left to train on within {data.max_seq_len:,} tokens; use a "
            f"larger --max-seq-len"
        )
    val_rows = pack([Text(e.token_ids, e.loss_mask) for e in val], data.max_seq_len) if val else None
    if val_rows is not None and not len(val_rows.inputs):
        val_rows = None
    return SftData(rows, val_rows, report, _fingerprint(rows, val_rows))


def _fingerprint(*parts: PackedRows | None) -> str:
    digest = sha256()
    for rows in parts:
        digest.update(b"rows" if rows is not None else b"none")
        for key in KEYS if rows is not None else ():
            digest.update(np.ascontiguousarray(getattr(rows, key)).tobytes())
    return digest.hexdigest()


def sft_rows(data: SftData, rows_per_step: int, seed: int) -> RowLoader:
    """The loader of the training rows."""
    rows = [{key: getattr(data.train, key)[r] for key in KEYS} for r in range(len(data.train.inputs))]
    return RowLoader(rows, KEYS, rows_per_step, seed)


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

    @property
    def num_batches(self) -> int:
        """Forward passes of one call."""
        return math.ceil(len(self._rows.inputs) / self._batch)

    def __call__(self, model: Transformer, max_batches: int | None = None) -> dict[str, SftScore]:
        """The score under "all"; dropout is off meanwhile."""
        was_training = model.training
        model.eval()
        total, count = 0.0, 0.0
        for number in range(self.num_batches if max_batches is None else min(max_batches, self.num_batches)):
            piece = slice(number * self._batch, (number + 1) * self._batch)
            arrays = [_filled(getattr(self._rows, key)[piece], self._batch) for key in KEYS]
            inputs, targets, mask, positions = (mx.array(a) for a in arrays)
            losses = token_losses(model, inputs, targets, positions=positions)
            summed = mx.sum(losses * mask)
            total, count = total + cast(float, summed.item()), count + float(arrays[2].sum())
        if was_training:
            model.train()
        mean = total / max(count, 1)
        return {"all": SftScore(mean, math.exp(mean) if mean < 700 else math.inf, int(count))}


def _filled(array: np.ndarray, rows: int) -> np.ndarray:
    """The last batch gets empty rows, so that there is one shape."""
    return np.pad(array, ((0, rows - len(array)), (0, 0)))
