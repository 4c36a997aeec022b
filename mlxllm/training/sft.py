"""Supervised fine-tuning: the next token of conversations, where the mask says that it is to be learned.

Shapes: B rows, T tokens of a row.
"""

from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from mlxllm.config import RunConfig
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.masks import Example, examples
from mlxllm.conversation.opening import open_records
from mlxllm.conversation.packing import pack_examples
from mlxllm.conversation.report import Report
from mlxllm.data.packing import PackedRows
from mlxllm.errors import DataError
from mlxllm.evaluation.answer_loss import KEYS
from mlxllm.training.records import split_records
from mlxllm.training.rows import RowLoader
from mlxllm.visible import counted


@dataclass(frozen=True)
class SftData:
    """Packed rows of conversations."""

    train: PackedRows
    val: PackedRows | None
    report: Report
    fingerprint: str
    """SHA-256 of everything that is trained on or validated on."""
    val_report: Report | None = None
    """Of what is held out, where other files or another part of a folder have it."""

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
            f"{counted(rows.texts, 'conversation')} in {counted(len(rows.inputs), 'row')} of {rows.inputs.shape[1]:,} "
            f"tokens, {100 * rows.padding:.1f} % padding; {counted(rows.trained_tokens, 'token')} to learn{held}"
        )


def open_sft_data(config: RunConfig, chat_format: ChatFormat) -> SftData:
    """Read, encode and pack what `data.records` and `data.val_records` name.

    Raises:
        ConfigError: there is no such file, or the template cannot be used.
        DataError: a file is damaged, or nothing is left to train on.
    """
    data = config.data
    split = split_records(
        data, open_records, lambda records, report: examples(records, chat_format, report, train_on=data.train_on)
    )
    rows = _rows(split.train, data.max_seq_len, split.report, "")
    val_report = split.val_report or split.report
    val = _rows(split.val, data.max_seq_len, val_report, " held out for validation") if split.val else None
    return SftData(rows, val, split.report, _fingerprint(rows, val), split.val_report)


def _rows(found: list[Example], max_seq_len: int, report: Report, which: str) -> PackedRows:
    rows = pack_examples(found, max_seq_len, report)
    if not len(rows.inputs):
        raise DataError(
            f"none of {counted(len(found), 'record')}{which} has anything left to train on within {max_seq_len:,} "
            f"tokens; use a larger --max-seq-len"
        )
    return rows


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
