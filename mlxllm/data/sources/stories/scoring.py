"""Judging what a model has written: the asked-for words, the ending, the answer to a question."""

import re
from collections.abc import Iterable

from mlxllm.data.sources.stories.endings import ending_of
from mlxllm.data.sources.stories.questions import Question, says

_ASKED_BELOW = re.compile(r"\n(?:Who|What|Where|How|Did) [^.!?\"\n]*\?(?:\n|$)")


def story_in(text: str) -> str:
    """The story at the beginning of a text, without the questions that stand below it on a page."""
    return _ASKED_BELOW.split(text.strip(), maxsplit=1)[0]


def asked_words_used(words: Iterable[str], text: str) -> bool:
    """Whether every word stands in the text as a whole word, in whatever case."""
    return all(says(text, word) for word in words)


def is_kind_ending(text: str) -> bool | None:
    """Whether a story ends kindly, judged by its last sentences; None where they do not tell."""
    ending = ending_of(text)
    return None if ending is None else ending == "kind"


def answer_is_right(question: Question, text: str) -> bool:
    """Whether the first sentence of `text` gives the answer and none of its rivals.

    Rivals that stand in the question itself do not count: "Mia gave it to Ben" may answer "Who got it from Mia?".
    """
    first = re.split(r"(?<=[.!?])\s|\n", text.strip(), maxsplit=1)[0]
    if question.kind == "ending":
        return re.match(rf"{question.answer}\b", first, re.IGNORECASE) is not None
    wrong = [rival for rival in question.rivals if not says(question.text, rival) and not says(question.answer, rival)]
    return says(first, question.answer) and not any(says(first, rival) for rival in wrong)
