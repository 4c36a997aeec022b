"""Examples of conversations laid side by side in rows, with what was cut off or left out counted."""

from collections.abc import Sequence

from mlxllm.conversation.masks import Example
from mlxllm.conversation.report import Report
from mlxllm.data.packing import PackedRows, Text, pack


def pack_examples(examples: Sequence[Example], max_seq_len: int, report: Report) -> PackedRows:
    """The rows that training reads; see `data.packing.pack`."""
    rows = pack([Text(e.token_ids, e.loss_mask) for e in examples], max_seq_len)
    for number in rows.truncated:
        report.note(f"longer than a row of {max_seq_len:,} tokens: the end is cut off", examples[number].where)
    for number in rows.dropped:
        report.drop(f"nothing to train on within {max_seq_len:,} tokens", examples[number].where)
        report.used -= 1
    return rows
