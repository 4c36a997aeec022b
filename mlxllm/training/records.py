"""What fine-tuning learns from, and what it holds out for validation."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from mlxllm.config import DataConfig
from mlxllm.conversation.opening import Opened
from mlxllm.conversation.report import Report
from mlxllm.training.rows import held_out

Kind = TypeVar("Kind")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Split(Generic[Item]):
    """Encoded records."""

    train: list[Item]
    val: list[Item]
    report: Report
    """Of `train`."""
    val_report: Report | None
    """Of `val`; None where a share of the records is held out."""


def split_records(
    data: DataConfig,
    open_: Callable[[Sequence[str]], Opened[Kind]],
    encode: Callable[[Iterable[Kind], Report], Iterable[Item]],
) -> Split[Item]:
    """Read and encode what `records` and `val_records` name.

    Held out is what `val_records` names, else what a folder among `records` has for validation, else `val_split`.

    Args:
        data: the settings.
        open_: `open_records` or `open_preferences`.
        encode: records to what is trained on; counts in the report.

    Raises:
        DataError: a file is missing or damaged, or there is nothing to learn from, or to validate on where that is named.
    """
    opened = open_(data.records)
    train = list(encode(opened.train, opened.report))
    if data.val_records:
        named = open_(data.val_records)
        return Split(train, list(encode(named.train, named.report)), opened.report, named.report)
    first, apart = next(opened.val, None), opened.val_report
    if first is not None or apart.dropped or apart.problems.mended:  # there are files, whatever is in them
        val = encode(chain([] if first is None else [first], opened.val), apart)
        return Split(train, list(val), opened.report, apart)
    return Split(*held_out(train, data.val_split), opened.report, None)
