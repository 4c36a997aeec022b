"""Records of public benchmarks to items: each form is told by the keys of a record.

The wording around a question is that of the public definitions in EleutherAI's lm-eval.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from mlxllm.errors import DataError
from mlxllm.evaluation.tasks.items import Choice, Code, Ending, Item, Sum

Record = Mapping[str, Any]

_KNOWN = (
    "query/choices/gold, question/choices/answerKey, goal/sol1/sol2, ctx/endings/label, context/continuation, "
    "question/answer with '####', or HumanEval's task_id/prompt/entry_point/test"
)
_BRACKETED = re.compile(r"\[.*?\]")


def reader_of(record: Any, where: str) -> Callable[[Record, str], Item]:
    """What reads records like this one.

    Raises:
        DataError: no known benchmark has such records.
    """
    if not isinstance(record, dict):
        raise DataError(f"{where}: the record is no JSON object; a question is an object with keys such as {_KNOWN}")
    for keys, read in _FORMS:
        if keys <= record.keys():
            return read
    has = ", ".join(repr(key) for key in list(record)[:8]) or "no keys"
    raise DataError(f"{where}: the record has {has}, which is no known question; known are {_KNOWN}")


def _text(record: Record, key: str, where: str) -> str:
    value = record.get(key)
    if not isinstance(value, str):
        raise DataError(f"{where}: {key!r} should be a text and is {_shown(value)}")
    return _whole(value, key, where)


def _texts(value: Any, key: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(each, str) and each for each in value):
        raise DataError(f"{where}: {key!r} should be a list of two texts or more, none of them empty")
    return tuple(_whole(each, key, where) for each in value)


def _whole(text: str, key: str, where: str) -> str:
    """The text, which has no half of a character: JSON can spell one, and no tokenizer can read it."""
    half = next((each for each in text if "\ud800" <= each <= "\udfff"), None)
    if half is not None:
        raise DataError(f"{where}: {key!r} holds half of a character (\\u{ord(half):04x}); write the whole one")
    return text


def _number(value: Any, key: str, count: int, where: str) -> int:
    """The number of the right choice."""
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise DataError(f"{where}: {key!r} is {_shown(value)}; it should be the number of a choice, 0 to {count - 1}")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _query(record: Record, where: str) -> Choice:
    query, choices = _text(record, "query", where), _texts(record["choices"], "choices", where)
    # A question waits for its answer; anything else is a text that a choice goes on with.
    if query.startswith("Question:") and not query.rstrip().endswith("Answer:"):
        query = f"{query}\nAnswer:"
    return Choice(query, choices, _number(record["gold"], "gold", len(choices), where))


def _arc(record: Record, where: str) -> Choice:
    listed, key = record["choices"], _text(record, "answerKey", where)
    if not isinstance(listed, dict) or not isinstance(listed.get("label"), list):
        raise DataError(f"{where}: 'choices' should be an object with the lists 'text' and 'label'")
    choices, labels = _texts(listed.get("text"), "choices.text", where), listed["label"]
    if len(labels) != len(choices):
        raise DataError(f"{where}: {len(choices)} choices have {len(labels)} labels")
    if key not in labels:
        raise DataError(f"{where}: 'answerKey' is {key!r}, which is none of the labels {', '.join(map(str, labels))}")
    return Choice(f"Question: {_text(record, 'question', where)}\nAnswer:", choices, labels.index(key))


def _piqa(record: Record, where: str) -> Choice:
    choices = (_text(record, "sol1", where), _text(record, "sol2", where))
    gold = _number(record.get("label"), "label", 2, where)
    return Choice(f"Question: {_text(record, 'goal', where)}\nAnswer:", choices, gold)


def _hellaswag(record: Record, where: str) -> Choice:
    if {"ctx_a", "ctx_b"} <= record.keys():
        context = f"{_text(record, 'ctx_a', where)} {_text(record, 'ctx_b', where).capitalize()}"
    else:
        context = _text(record, "ctx", where)
    if "activity_label" in record:
        context = f"{_text(record, 'activity_label', where)}: {context}"
    endings = _texts(record["endings"], "endings", where)
    gold = _number(record["label"], "label", len(endings), where)
    return Choice(_without_brackets(context), tuple(map(_without_brackets, endings)), gold)


def _without_brackets(text: str) -> str:
    """Without the marks such as [header] that WikiHow's texts have in HellaSwag; a [title] ends a sentence."""
    return _BRACKETED.sub("", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _lambada(record: Record, where: str) -> Ending:
    context, target = _text(record, "context", where), _text(record, "continuation", where).lstrip(" ")
    if not target:
        raise DataError(f"{where}: 'continuation' is empty; it should be the word that is to be foreseen")
    return Ending(context, target)


def _gsm8k(record: Record, where: str) -> Sum:
    question, answer = _text(record, "question", where), _text(record, "answer", where)
    if "####" not in answer:
        raise DataError(f"{where}: 'answer' does not end in '#### NUMBER', so there is nothing to compare with")
    return Sum(f"Question: {question}\nAnswer:", answer)


def _humaneval(record: Record, where: str) -> Code:
    name, context, entry, test = (_text(record, key, where) for key in ("task_id", "prompt", "entry_point", "test"))
    if f"def {entry}" not in context:
        raise DataError(f"{where}: 'entry_point' is {entry!r}, but 'prompt' defines no function of that name")
    return Code(name, context, entry, test, str(record.get("canonical_solution", "")))


# The first whose keys are all there; more keys before fewer.
_FORMS: tuple[tuple[frozenset[str], Callable[[Record, str], Item]], ...] = (
    (frozenset({"task_id", "prompt", "entry_point", "test"}), _humaneval),
    (frozenset({"query", "choices", "gold"}), _query),
    (frozenset({"question", "choices", "answerKey"}), _arc),
    (frozenset({"goal", "sol1", "sol2"}), _piqa),
    (frozenset({"ctx", "endings", "label"}), _hellaswag),
    (frozenset({"context", "continuation"}), _lambada),
    (frozenset({"question", "answer"}), _gsm8k),
)
