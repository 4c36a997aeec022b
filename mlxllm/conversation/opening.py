"""What a user names to records: the files found, read, and each record recognised by its keys."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from mlxllm.conversation.formats import parse_conversation
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.preference_formats import parse_preference
from mlxllm.conversation.reading import parse_files
from mlxllm.conversation.records import Preference, Record
from mlxllm.conversation.report import Report

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Opened(Generic[Kind]):
    """Records to learn from, and those that their folder sets apart for validation; read as they are asked for."""

    train: Iterator[Kind]
    val: Iterator[Kind]
    """Empty unless a folder or a data set of the Hub has a part of that name."""
    report: Report
    """Of `train`; complete when all has been read."""
    val_report: Report


def open_records(names: Sequence[str]) -> Opened[Record]:
    """The conversations and texts behind `names`; see `find_record_files`.

    Raises:
        DataError: nothing is found; while reading: a damaged file or a record of no known format.
    """
    return _open(names, read_conversations)


def open_preferences(names: Sequence[str]) -> Opened[Preference]:
    """The preferences behind `names`; see `open_records`."""
    return _open(names, read_preferences)


def read_conversations(paths: Sequence[Path], report: Report) -> Iterator[Record]:
    """The conversations and texts of `paths`, in order.

    Raises:
        DataError: a record is malformed; the message names file, line, what was found and what is known.
    """
    return parse_files(list(paths), parse_conversation, report)


def read_preferences(paths: Sequence[Path], report: Report) -> Iterator[Preference]:
    """The preferences of `paths`, in order.

    Raises:
        DataError: as `read_conversations`.
    """
    return parse_files(list(paths), parse_preference, report)


def _open(names: Sequence[str], read: Callable[[Sequence[Path], Report], Iterator[Kind]]) -> Opened[Kind]:
    files, report, val_report = find_record_files(names), Report(), Report()
    return Opened(read(files.train, report), read(files.val, val_report), report, val_report)
