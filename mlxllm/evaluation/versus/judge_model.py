"""A judge that is a model on this machine: asked which of two answers is better, is "A" or "B" the likelier word to it?"""

import math
from collections.abc import Iterator, Sequence

from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message
from mlxllm.evaluation.scoring import Request, Scorer
from mlxllm.evaluation.versus.judges import Opinion, Question
from mlxllm.model.hf_folder import BASE
from mlxllm.model.loading import LoadedModel

_ASKED = """Here is a question, with two answers to it.

Question: {prompt}

Answer A: {a}

Answer B: {b}

Which answer is better? Say A or B."""
_AT_ONCE = 16
_BEGUN = "\n\nThe better answer is"


class ModelJudge:
    """Asks a model; it writes nothing, the probabilities of the two words are its opinion."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Judge by this model."""
        self._loaded = loaded
        tokenizer = loaded.tokenizer
        self._format = chat_format_of(tokenizer, loaded.tokenizer_directory) if loaded.kind != BASE else None
        begins = " " if self._format is None else ""
        self._words = [tuple(tokenizer.encode_continued(begins + word)) for word in "AB"]

    @property
    def identity(self) -> str:
        """Its weights, and what it is asked."""
        return f"model {self._loaded.fingerprint} {_ASKED}{_BEGUN}"

    def __call__(self, questions: Sequence[Question]) -> Iterator[tuple[int, Opinion]]:
        """How likely "B" is against "A", a few questions at a time."""
        score = Scorer(self._loaded.model, self._loaded.config.max_position_embeddings)
        for start in range(0, len(questions), _AT_ONCE):
            contexts = [tuple(self._context(question)) for question in questions[start : start + _AT_ONCE]]
            scored = score([Request(context, word) for context in contexts for word in self._words])
            for number, (a, b) in enumerate(zip(scored[::2], scored[1::2], strict=True), start):
                difference = b.logprob - a.logprob
                yield number, Opinion(1 / (1 + math.exp(-difference)) if difference > -700 else 0.0)

    def _context(self, question: Question) -> list[int]:
        text = _ASKED.format(prompt=question.prompt[-1].content, a=question.a, b=question.b)
        if self._format is None:
            return self._loaded.tokenizer.encode_begun(text + _BEGUN)
        return self._format.generation_prompt([Message("user", text)])
