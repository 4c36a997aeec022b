"""What a user names to records: the files found, read, and each record recognised by its keys."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

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
    return _open(names, parse_conversation)


def open_preferences(names: Sequence[str]) -> Opened[Preference]:
    """The preferences behind `names`; see `open_records`."""
    return _open(names, parse_preference)


def _open(names: Sequence[str], parse: Callable[[dict[str, Any], str], Kind]) -> Opened[Kind]:
    files, report, val_report = find_record_files(names), Report(), Report()
    return Opened(
        parse_files(list(files.train), parse, report),
        parse_files(list(files.val), parse, val_report),
        report,
        val_report,
    )
