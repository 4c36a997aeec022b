"""Files of conversations or preferences, looked at before a model is tuned on them: how many, of what kind, what is wrong."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxllm import paths
from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.formats import UnusableRecordError
from mlxllm.conversation.locating import find_record_files
from mlxllm.conversation.masks import encode_record
from mlxllm.conversation.opening import read_conversations, read_preferences
from mlxllm.conversation.preferences import encode_preference
from mlxllm.conversation.records import Preference, Record, Text
from mlxllm.conversation.report import Report
from mlxllm.conversation.template import TemplateRefusalError
from mlxllm.errors import DataError, UserError
from mlxllm.tokenizer import load_tokenizer

_PATIENCE_SECONDS = 4.0
_MEASURED = 200
"""Records that are turned into tokens to know how long they are."""


@dataclass(frozen=True)
class RecordsLook:
    """What was seen."""

    names: tuple[str, ...]
    records: int = 0
    """Of which something can be learned, as far as was read."""
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
    length = _Lengths(tokenizer)
    kinds: Counter[str] = Counter()
    deadline, whole = time.monotonic() + _PATIENCE_SECONDS, True
    for record in read(files, report):
        kinds[_kind(record)] += 1
        length.add(record)
        if time.monotonic() > deadline or is_cancelled():
            whole = False
            break
    if not kinds:
        wanted = "conversations" if method == "sft" else "preferences"
        raise DataError(report.nothing_left(wanted))
    words = " and ".join(_counted(count, kind) for kind, count in kinds.most_common())
    return RecordsLook(names, kinds.total(), whole, words, length.mean, notes=tuple(report.sentences()[:3]))


def _kind(record: Record | Preference) -> str:
    if isinstance(record, Preference):
        return "preference pair"
    return "text" if isinstance(record, Text) else "conversation"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" + ("" if number == 1 else "s")


class _Lengths:
    """The mean length of the first records in tokens of a model."""

    def __init__(self, tokenizer: Path | None) -> None:
        self._format: ChatFormat | None = None
        if tokenizer is not None:
            self._format = chat_format_of(load_tokenizer(tokenizer), tokenizer)
        self._tokens = self._records = 0

    def add(self, record: Record | Preference) -> None:
        """Count it, if it is among the first."""
        if self._format is None or self._records >= _MEASURED:
            return
        try:
            if isinstance(record, Preference):
                pair = encode_preference(record, self._format)
                self._tokens += len(pair.prompt_ids) + len(pair.chosen_ids) + len(pair.rejected_ids)
            else:
                self._tokens += sum(len(example.token_ids) for example in encode_record(record, self._format))
        except (UnusableRecordError, TemplateRefusalError, DataError):
            return
        self._records += 1

    @property
    def mean(self) -> float | None:
        """None where nothing was counted."""
        return self._tokens / self._records if self._records else None
