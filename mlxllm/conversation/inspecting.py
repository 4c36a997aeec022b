"""What training makes of a file of records, for whoever wants to look before: `data inspect --masks`, and previews."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_conversation
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.masks import Example, TrainOn, examples
from mlxllm.conversation.opening import open_preferences, open_records
from mlxllm.conversation.packing import pack_examples
from mlxllm.conversation.preference_formats import parse_preference
from mlxllm.conversation.preferences import Pair, pairs
from mlxllm.conversation.reading import raw_records
from mlxllm.conversation.records import Preference, Record
from mlxllm.conversation.report import Report
from mlxllm.data.packing import PackedRows
from mlxllm.data.sources.base import Problems

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Conversations:
    """Records as sft learns from them."""

    examples: list[Example]
    rows: PackedRows
    """How they are laid side by side; texts are numbered as `examples`, which it leaves out are in `dropped`."""
    report: Report
    complete: bool
    """Whether all records were looked at."""

    @property
    def tokens(self) -> int:
        """Of all examples."""
        return sum(len(example.token_ids) for example in self.examples)

    @property
    def trained(self) -> int:
        """Those of them that are targets."""
        return sum(example.trained_tokens for example in self.examples)

    def packing(self) -> dict[str, Any]:
        """The packing in numbers."""
        rows = self.rows
        return {
            "rows": len(rows.inputs),
            "sequences": rows.texts,
            "padding": rows.padding,
            "trained": rows.trained_tokens,
            "truncated": len(rows.truncated),
            "dropped": len(rows.dropped),
        }


@dataclass(frozen=True, slots=True)
class Preferences:
    """Records as dpo learns from them."""

    pairs: list[Pair]
    report: Report
    complete: bool
    """Whether all records were looked at."""

    @property
    def tokens(self) -> int:
        """With each prompt counted twice, as both answers follow it."""
        return self.answers + 2 * sum(len(pair.prompt_ids) for pair in self.pairs)

    @property
    def answers(self) -> int:
        """Tokens that are compared."""
        return sum(len(pair.chosen_ids) + len(pair.rejected_ids) for pair in self.pairs)


def holds_pairs(name: str) -> bool:
    """Whether the first record behind `name` is a preference and can be nothing else.

    Raises:
        DataError: there is no such file, or it is damaged.
    """
    where, raw = next(raw_records(find_record_files([name]).train[0], Problems()), ("", None))
    if not isinstance(raw, dict):
        return False
    try:
        parse_conversation(raw, where)
    except MalformedRecordError:
        try:
            parse_preference(raw, where)
        except MalformedRecordError:
            return False
        except UnusableRecordError:
            return True
        return True
    except UnusableRecordError:
        return False
    return False


def look_at_conversations(
    name: str, chat_format: ChatFormat, max_seq_len: int, train_on: TrainOn, *, most: int | None = None
) -> Conversations:
    """The examples of a file, folder or Hub data set, and their rows.

    Args:
        name: see `find_record_files`.
        chat_format: how messages become ids.
        max_seq_len: tokens of a row.
        train_on: which tokens are learned.
        most: look at so many records only; None for all.

    Raises:
        DataError: as training would: no such file, a malformed record, or nothing to train on.
    """
    opened = open_records([name])
    first = _First[Record](opened.train, most)
    found = list(examples(first, chat_format, opened.report, train_on=train_on))
    return Conversations(found, pack_examples(found, max_seq_len, opened.report), opened.report, first.complete)


def look_at_preferences(
    name: str, chat_format: ChatFormat, max_seq_len: int, *, most: int | None = None
) -> Preferences:
    """The pairs of a file, folder or Hub data set; see `look_at_conversations`."""
    opened = open_preferences([name])
    first = _First[Preference](opened.train, most)
    found = list(pairs(first, chat_format, opened.report, max_seq_len=max_seq_len + 1))
    return Preferences(found, opened.report, first.complete)


def turns_within(example: Example, max_seq_len: int) -> Iterator[tuple[str, int, int]]:
    """Role, tokens and trained tokens of each turn, as far as they fit into a row."""
    for turn in example.turns:
        end = min(turn.end, max_seq_len + 1)
        if end > turn.start:
            yield turn.role, end - turn.start, int(example.loss_mask[turn.start : end].sum())


class _First(Iterable[Item]):
    """The first of some records, and whether that was all of them."""

    def __init__(self, records: Iterator[Item], most: int | None) -> None:
        self._records, self._most = records, most
        self.complete = most is None

    def __iter__(self) -> Iterator[Item]:
        yield from islice(self._records, self._most)
        if self._most is not None:
            self.complete = next(self._records, None) is None
