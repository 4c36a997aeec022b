"""Questions about Python's standard library, answered by the first sentence of the docstring.

A tenth of all names, chosen by a hash, is kept for examination. What is preferred is an answer of one sentence, over the
same sentence with the next ones of the docstring behind it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from mlxllm.data.sources.pydocs import docstrings

FEWEST_WORDS = 5
"""A shorter docstring explains nothing."""
_MOST_WORDS = 30
_KEPT = 10
_ASKS = ("What does {name} do?", "What is {name} for?", "Tell me about {name}.", "Explain {name}.")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Explained:
    """One name of the library, and what its docstring says of it."""

    name: str
    """Dotted, such as `json.dumps`."""
    question: str
    sentence: str
    """The first one of the docstring."""
    more: str
    """The next one or two; empty where it has no more."""

    @property
    def held_out(self) -> bool:
        """Whether the name is kept for examination."""
        return xxhash.xxh64_intdigest(self.name.encode()) % _KEPT == 0

    def lesson(self, at_length: bool) -> dict[str, object]:
        """In the `messages` format; `at_length` says more, where the docstring does."""
        answer = f"{self.sentence} {self.more}".strip() if at_length else self.sentence
        return {"messages": [*self._asked(), {"role": "assistant", "content": answer}]}

    def pair(self) -> dict[str, object]:
        """The short answer is the better one; in TRL's conversational format."""
        return {
            "prompt": self._asked(),
            "chosen": [{"role": "assistant", "content": self.sentence}],
            "rejected": [{"role": "assistant", "content": f"{self.sentence} {self.more}"}],
        }

    def _asked(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.question}]


def explained() -> list[Explained]:
    """All public names whose docstring begins with a sentence of five words or more, in an order that mixes modules."""
    found = {item.name: item for item in _explained()}
    return sorted(found.values(), key=lambda item: xxhash.xxh64_intdigest(item.name.encode(), seed=1))


def is_brief(answer: str) -> bool:
    """Whether it is one sentence that ends."""
    return answer.strip()[-1:] in (".", "!", "?") and len(_SENTENCE_END.split(answer.strip())) == 1


def likeness(answer: str, truth: str) -> float:
    """F1 of the words that the two have in common, as SQuAD scores answers (arXiv:1606.05250)."""
    given, right = _words(answer), _words(truth)
    common = sum(min(given.count(word), right.count(word)) for word in set(given))
    return 2 * common / (len(given) + len(right)) if common else 0.0


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _explained() -> Iterator[Explained]:
    for number, item in enumerate(docstrings()):
        name = f"{item.module}.{item.name}".rstrip(".")
        first, *rest = _SENTENCE_END.split(" ".join(item.text.split("\n\n")[0].split()))
        if name.startswith("_") or "._" in name or not first.isascii() or not first.endswith("."):
            continue
        if not FEWEST_WORDS <= len(first.split()) <= _MOST_WORDS or ">>>" in first:
            continue
        more = " ".join((*rest, *_later(item.text))[:2])
        yield Explained(name, _ASKS[number % len(_ASKS)].format(name=name), first, more)


def _later(text: str) -> Iterator[str]:
    """Sentences of the second paragraph, if it is prose."""
    paragraph = " ".join([*text.split("\n\n", 2), "", ""][1].split())
    for sentence in _SENTENCE_END.split(paragraph):
        prose = sentence.isascii() and sentence[:1].isupper() and sentence.endswith(".") and ">>>" not in sentence
        if not prose or len(sentence.split()) > _MOST_WORDS:
            return
        yield sentence
