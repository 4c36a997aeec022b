"""Files of conversations or preferences, looked at before a model is tuned on them: how many, of what kind, what is wrong."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.masks import examples
from mlxllm.conversation.opening import read_conversations, read_preferences
from mlxllm.conversation.preferences import pairs
from mlxllm.conversation.records import Preference, Record, Text
from mlxllm.conversation.report import Report
from mlxllm.errors import DataError, UserError
from mlxllm.tokenizer import load_tokenizer
from mlxllm.visible import counted

_PATIENCE_SECONDS = 4.0
_MEASURED = 200
"""Records that are turned into tokens to know how long they are."""


@dataclass(frozen=True)
class RecordsLook:
    """What was seen."""

    names: tuple[str, ...]
    records: int = 0
    """As far as was read."""
    whole: bool = True
    """Whether all was read; a long file is only begun."""
    kinds: str = ""
    """In words: "12 conversations and 3 texts"."""
    mean_tokens: float | None = None
    """Of a record, both answers of a pair together; None without a tokenizer."""
    problem: str = ""
    """Why they cannot be used."""
    notes: tuple[str, ...] = ()
    """What is left out, and why."""
    on_hub: bool = False
    """They have to be fetched first, which training does."""

    def rows(self, method: str, max_seq_len: int) -> int | None:
        """Rows of one time through: packed conversations, or pairs; None where that is not known."""
        if not self.records or not self.whole or self.mean_tokens is None:
            return None
        if method == "dpo":
            return self.records
        return max(1, -(-int(self.records * min(self.mean_tokens, max_seq_len)) // max_seq_len))

    @property
    def sentence(self) -> str:
        """All of it in a line or two."""
        if self.problem:
            return self.problem
        if self.on_hub:
            return "a data set of the Hub; it is fetched when training starts"
        left = f"; {'; '.join(self.notes)}" if self.notes else ""
        length = f", about {self.mean_tokens:,.0f} tokens each" if self.mean_tokens is not None else ""
        return f"{'' if self.whole else 'more than '}{self.kinds}{length}{left}"


def look_at_records(
    names: Sequence[str],
    method: str,
    tokenizer: Path | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> RecordsLook:
    """Read the records as training would, for a few seconds at most; call it off the event loop.

    Args:
        names: files, folders, or Hub names, which are not fetched.
        method: `sft` wants conversations, `dpo` preferences.
        tokenizer: of the model, to know how long records are.
        is_cancelled: asked between records.
    """
    given = tuple(names)
    try:
        if any(_is_hub_name(name) for name in given):
            return RecordsLook(given, on_hub=True)
        return _look(given, method, tokenizer, is_cancelled)
    except UserError as error:
        return RecordsLook(given, problem=str(error))


def _is_hub_name(name: str) -> bool:
    if paths.is_path(name) or name.count("/") != 1 or "*" in name or Path(name).suffix in (".json", ".jsonl"):
        return False
    return not Path(name).expanduser().parent.exists()


def _look(names: tuple[str, ...], method: str, tokenizer: Path | None, is_cancelled: Callable[[], bool]) -> RecordsLook:
    files, report = find_record_files(names).train, Report()
    read: Callable[[Sequence[Path], Report], Iterator[Record | Preference]]
    read = read_conversations if method == "sft" else read_preferences
    first: list[Any] = []
    kinds: Counter[str] = Counter()
    deadline, whole = time.monotonic() + _PATIENCE_SECONDS, True
    for record in read(files, report):
        kinds[_kind(record)] += 1
        if len(first) < _MEASURED:
            first.append(record)
        if time.monotonic() > deadline or is_cancelled():
            whole = False
            break
    if not kinds:
        raise DataError(report.nothing_left("conversations" if method == "sft" else "preferences"))
    mean = _mean_tokens(first, method, tokenizer, report) if tokenizer is not None else None
    words = " and ".join(counted(count, kind) for kind, count in kinds.most_common())
    return RecordsLook(names, kinds.total(), whole, words, mean, notes=tuple(report.sentences()[:3]))


def _mean_tokens(records: list[Any], method: str, tokenizer: Path, report: Report) -> float:
    """Of those that can be learned from; the others are counted in the report.

    Raises:
        DataError: none can be.
    """
    chat_format = chat_format_of(load_tokenizer(tokenizer), tokenizer)
    if method == "sft":
        lengths = [len(example.token_ids) for example in examples(records, chat_format, report)]
    else:
        found = pairs(records, chat_format, report)
        lengths = [len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids) for pair in found]
    return sum(lengths) / len(records)


def _kind(record: Record | Preference) -> str:
    if isinstance(record, Preference):
        return "preference pair"
    return "text" if isinstance(record, Text) else "conversation"
