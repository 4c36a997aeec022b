"""What a judge of two answers is asked, what it says, and where that is kept, so that nobody is asked twice."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.conversation.lines import append_objects, parse_object
from mlxllm.conversation.trials import Prompt
from mlxllm.errors import DataError

FOLDER = "judgements"
"""In the cache."""


@dataclass(frozen=True, slots=True)
class Question:
    """Which of two answers is the better one?"""

    prompt: Prompt
    a: str
    b: str

    @property
    def key(self) -> str:
        """SHA-256 of all of it."""
        told = [[message.as_dict() for message in self.prompt], self.a, self.b]
        return sha256(json.dumps(told, sort_keys=True).encode("utf-8", "backslashreplace")).hexdigest()


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a judge says."""

    score: float | None
    """How likely B is the better one, from 0 to 1; 0.5 is a tie, None is that the judge could not tell."""
    reason: str = ""


Judge = Callable[[Sequence[Question]], Iterator[tuple[int, Opinion]]]
"""Questions -> the number of one with the opinion on it, as they come, each once."""


class Judgements:
    """What one judge has said so far, in `<home>/cache/judgements/`."""

    def __init__(self, judge: str) -> None:
        """Read what is there.

        Args:
            judge: tells one judge from another: its command with what its files hold, or a model's fingerprint.
        """
        self.path: Path = paths.folder("cache") / FOLDER / f"{sha256(judge.encode()).hexdigest()[:32]}.jsonl"
        self._known: dict[str, Opinion] = {}
        try:
            lines = self.path.read_bytes().splitlines()
        except OSError:
            lines = []
        for raw in filter(None, map(parse_object, lines)):
            score = raw.get("score")
            if isinstance(score, (int, float)) and 0 <= score <= 1:
                self._known[str(raw.get("question"))] = Opinion(float(score), str(raw.get("reason", "")))

    def known(self, question: Question) -> Opinion | None:
        """What was said on a question; None where it was not asked, or the judge could not tell."""
        return self._known.get(question.key)

    def keep(self, question: Question, opinion: Opinion) -> None:
        """Remember what was said, on the disk as well.

        Raises:
            DataError: it cannot be written.
        """
        if opinion.score is None:
            return
        self._known[question.key] = opinion
        line: dict[str, Any] = {"question": question.key, "score": opinion.score}
        if opinion.reason:
            line["reason"] = opinion.reason
        try:
            append_objects(self.path, line)
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {error.strerror or error}; the judgement was not kept"
            ) from None


def ask(
    judge: Judge, questions: Sequence[Question], kept: Judgements, told: Callable[[int], None], *, fresh: bool = False
) -> list[Opinion]:
    """The judge's opinion on each question; what it said before is not asked again.

    Args:
        judge: who is asked.
        questions: what is asked.
        kept: what it has said so far; each new opinion is there as soon as it comes.
        told: called with how many questions are answered, at the beginning and after each.
        fresh: ask all of them, whatever was said before.
    """
    found: dict[int, Opinion] = {}
    for number, question in enumerate(questions):
        if not fresh and (known := kept.known(question)) is not None:
            found[number] = known
    left = [number for number in range(len(questions)) if number not in found]
    told(len(found))
    if left:
        for number, opinion in judge([questions[number] for number in left]):
            kept.keep(questions[left[number]], opinion)
            found[left[number]] = opinion
            told(len(found))
    return [found[number] for number in range(len(questions))]
