"""Conversations to `(token_ids, loss_mask)`: what a model reads, and which of it it learns to write.

`loss_mask[i]` says whether token i is a target. The first token never is: nothing comes before it. By default
the targets are every answer of the assistant with its end token, and nothing else.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from mlxllm.conversation.chat_format import ChatFormat, Piece, Pieces
from mlxllm.conversation.formats import UnusableRecordError
from mlxllm.conversation.records import Conversation, Record, Text
from mlxllm.conversation.report import Report
from mlxllm.conversation.template import TemplateRefusalError
from mlxllm.errors import ConfigError, DataError

TrainOn = Literal["assistant", "last", "all", "completion"]
"""`assistant`: every answer. `last`: the last answer. `all`: every token. `completion`: every
answer behind the prompt with all that the template closes it with; the prompt ends before the last answer, or where a
record with `prompt` and `completion` says."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Ids in a row that are trained or not, for whoever looks at a mask."""

    role: str
    start: int
    end: int
    trained: int
    """How many of its tokens are targets."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """What one step of training sees of a record."""

    token_ids: npt.NDArray[np.uint32]
    """(T,)"""
    loss_mask: npt.NDArray[np.bool_]
    """(T,): True where the token is a target."""
    turns: tuple[Turn, ...]
    where: str = ""

    @property
    def trained_tokens(self) -> int:
        """Targets."""
        return int(self.loss_mask.sum())


def check_train_on(value: str) -> TrainOn:
    """The setting, if it is one.

    Raises:
        ConfigError: it is none.
    """
    for known in get_args(TrainOn):
        if value == known:
            return known  # type: ignore[no-any-return]
    raise ConfigError(f"train-on {value!r} is not known; choose {', '.join(get_args(TrainOn))}")


def examples(
    records: Iterable[Record], chat_format: ChatFormat, report: Report, *, train_on: TrainOn = "assistant"
) -> Iterator[Example]:
    """The examples of all records that have something to learn; the others are counted in `report`.

    Raises:
        DataError: no record is left; the message gives the reasons.
        ModelError: the template does what no template may.
    """
    any_left = False
    for record in records:
        try:
            found = [e for e in encode_record(record, chat_format, train_on) if e.trained_tokens]
        except UnusableRecordError as error:
            report.drop(error.reason, record.where, error.detail)
            continue
        except TemplateRefusalError as error:
            report.drop("refused by the chat template", record.where, str(error))
            continue
        except DataError as error:
            report.drop("text that cannot be encoded", record.where, str(error))
            continue
        if not found:
            report.drop("nothing to train on", record.where, _why_nothing(record, train_on))
            continue
        _note(record, chat_format, report, len(found))
        report.used += 1
        any_left = True
        yield from found
    if not any_left:
        raise DataError(report.nothing_left("conversations"))


def encode_record(record: Record, chat_format: ChatFormat, train_on: TrainOn = "assistant") -> list[Example]:
    """The examples of one record: one, or one an answer where a template rewrites earlier turns.

    A plain text is trained from its second token to its end under every setting.

    Raises:
        UnusableRecordError, TemplateRefusalError: the format cannot write this record.
    """
    if isinstance(record, Text):
        if not record.text.strip():
            return []
        ids = chat_format.text_ids(record.text)
        return [_example([Piece(ids, "text", answer=True)], [True], record.where)]
    if all(m.is_blank for m in record.messages if train_on == "all" or m.role == "assistant"):
        return []
    sequences = chat_format.sequences(record)
    if train_on == "all" or not any(piece.answer for piece in sequences[-1]):
        sequences = sequences[-1:]
    return [
        _example(pieces, trained, record.where)
        for pieces, trained in zip(sequences, _trained(record, sequences, train_on), strict=True)
    ]


def _trained(record: Conversation, sequences: list[Pieces], train_on: TrainOn) -> list[list[bool]]:
    """For each piece of each sequence, whether it is learned."""
    if train_on == "all":
        return [[True] * len(pieces) for pieces in sequences]
    answers = [piece.message for pieces in sequences for piece in pieces if piece.answer]
    last = max(answers, default=-1)
    learned = [message.trained for message in record.messages]
    if train_on == "completion":
        boundary = last if record.prompt_messages is None else record.prompt_messages
        return [_completions(pieces, boundary, learned) for pieces in sequences]
    first = last if train_on == "last" else 0
    return [[p.answer and p.message >= first and learned[p.message] for p in pieces] for pieces in sequences]


def _completions(pieces: Pieces, boundary: int, learned: list[bool]) -> list[bool]:
    """Every answer behind the prompt and what the template closes it with; neither headers nor what others say."""
    answer = -1
    trained = []
    for piece in pieces:
        answer = piece.message if piece.answer else answer
        trained.append(piece.message == answer >= boundary >= 0 and learned[answer])
    return trained


def _example(pieces: Pieces, learned: list[bool], where: str) -> Example:
    ids = [i for piece in pieces for i in piece.token_ids]
    mask = np.array(
        [is_learned for p, is_learned in zip(pieces, learned, strict=True) for _ in p.token_ids], dtype=np.bool_
    )
    mask[:1] = False
    turns: list[Turn] = []
    message, start = -1, 0
    for piece in pieces:
        end = start + len(piece.token_ids)
        trained = int(mask[start:end].sum())
        if turns and piece.message == message:
            turns[-1] = Turn(turns[-1].role, turns[-1].start, end, turns[-1].trained + trained)
        elif end > start:
            turns.append(Turn(piece.role, start, end, trained))
        message, start = piece.message, end
    return Example(np.array(ids, dtype=np.uint32), mask, tuple(turns), where)


def _why_nothing(record: Record, train_on: TrainOn) -> str:
    if isinstance(record, Text):
        return "the text is empty"
    if not record.messages:
        return "it has no messages"
    if all(message.is_blank for message in record.messages if train_on == "all" or message.role == "assistant"):
        if train_on == "all" or any(message.role == "assistant" for message in record.messages):
            return "the answer is empty"
        return f"nobody answers: it has {', '.join(message.role for message in record.messages[:6])}"
    if not any(message.trained for message in record.messages if message.role == "assistant"):
        return "its answers have weight 0"
    return f"train-on {train_on}, and the record has {', '.join(message.role for message in record.messages[:6])}"


def _note(record: Record, chat_format: ChatFormat, report: Report, found: int) -> None:
    if isinstance(record, Conversation):
        for reason, detail in chat_format.notes(record.messages):
            report.note(reason, record.where, detail)
        if found > 1:
            report.note("the template rewrites earlier turns: one sequence an answer", record.where)
