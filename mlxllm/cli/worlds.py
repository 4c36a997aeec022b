"""What a whole life is lived in: a corpus whose questions have known answers, so that it can be taught and examined."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from typing import TYPE_CHECKING, Protocol

from mlxllm.config import SampleConfig

if TYPE_CHECKING:  # heavy modules are imported where a model is examined
    from mlxllm.conversation import ChatFormat
    from mlxllm.evaluation.story_exam import StoryExam
    from mlxllm.model.transformer import Transformer
    from mlxllm.tokenizer import Tokenizer

Record = Mapping[str, object]
Ask = Callable[[Sequence[str]], str]
"""The answer to the last of the user's turns; the model's own answers stand between them."""

_EXAM_QUESTIONS, _EXAM_STORIES = 100, 80
_LESSONS_A_PAGE, _SHORT_PAGES_A_LESSON = 4, 2
_TRIED_WISHES, _TRIED_ANIMALS, _TRIED_NAMES = 5, 4, 12


@dataclass(frozen=True)
class Prompt:
    """What every stage of the model is asked, so that one sees the difference."""

    text: str
    expected: str
    """What would be right; empty where anything may be."""


class World(Protocol):
    """A corpus with lessons, preferences and examinations."""

    preferred: str
    """What preference optimisation teaches, in a few words."""
    metrics: Mapping[str, str]
    """Key of each score -> what it says. All are shares, better the larger."""
    name: str
    """What its examination is called where its results are kept."""

    @property
    def counted(self) -> Mapping[str, int]:
        """Key of each score that counts items -> how many there are."""

    def lessons(self, count: int) -> Iterable[Record]:
        """Conversations to imitate."""

    def pairs(self, count: int) -> Iterable[Record]:
        """Preferences."""

    def examine(self, model: "Transformer", tokenizer: "Tokenizer", chat: "ChatFormat | None") -> dict[str, float]:
        """The scores of a model on what it has never seen; `chat` None for one that only continues texts."""

    def prompts(self) -> Sequence[Prompt]:
        """Three to compare the stages by."""

    def suggestions(self, ask: Ask) -> list[str]:
        """Up to three things to type into a chat, one after another, that the model has just answered well."""


class StoryWorld:
    """The generated stories: questions about them, requests for them, and kind endings rather than unkind ones."""

    preferred = "kind endings"
    name = "stories"
    metrics: Mapping[str, str] = {
        "answers": "questions about an unseen story answered right",
        "words": "stories with every word that was asked for",
        "kind": "stories that end kindly",
    }

    def __init__(self, plots: int) -> None:
        """`plots`: see `lessons.in_world`."""
        self._plots = plots

    @property
    def counted(self) -> Mapping[str, int]:
        """See `World`."""
        return {"answers": _EXAM_QUESTIONS, "words": _EXAM_STORIES, "kind": _EXAM_STORIES}

    def lessons(self, count: int) -> Iterable[Record]:
        """See `World`; between the conversations stand pages of the reading book, so that it is not forgotten.

        Most of them are the short ones: where only one word answers, looking for it is soon learned, and in the rows they
        fill what long conversations leave empty.
        """
        from mlxllm.data.sources.stories.lessons import FIRST_STORY, lessons, page, short_pages

        short = short_pages(FIRST_STORY["sft"], plots=self._plots)
        for number, lesson in enumerate(lessons(count, plots=self._plots)):
            yield lesson.record()
            yield from ({"text": text} for text in islice(short, _SHORT_PAGES_A_LESSON))
            if number % _LESSONS_A_PAGE == 0:
                yield {"text": page(0, FIRST_STORY["sft"] + number, self._plots)}

    def pairs(self, count: int) -> Iterable[Record]:
        """See `World`."""
        from mlxllm.data.sources.stories.lessons import pairs

        return (pair.record() for pair in pairs(count, plots=self._plots))

    def examine(self, model: "Transformer", tokenizer: "Tokenizer", chat: "ChatFormat | None") -> dict[str, float]:
        """See `World`."""
        scores = self._exam(model, tokenizer, chat)
        return {key: getattr(scores, key) for key in self.metrics}

    @cached_property
    def _exam(self) -> "StoryExam":
        """The same for every stage."""
        from mlxllm.evaluation.story_exam import StoryExam

        return StoryExam(_EXAM_QUESTIONS, _EXAM_STORIES, plots=self._plots)

    def prompts(self) -> Sequence[Prompt]:
        """A question about an unseen story, and two requests that were never made in training."""
        from mlxllm.data.sources.stories.lessons import unseen_questions, unseen_wishes

        exams = unseen_questions(_EXAM_QUESTIONS, plots=self._plots)
        asked = next(exam for exam in exams if exam.question is not None and exam.question.kind == "who")
        wishes = islice(unseen_wishes(2, plots=self._plots), 2)
        assert asked.question is not None
        return [
            Prompt(asked.messages[0]["content"], asked.question.sentence),
            *(Prompt(wish.messages[0]["content"], "") for wish in wishes),
        ]

    def suggestions(self, ask: Ask) -> list[str]:
        """A story, and two questions about it."""
        from mlxllm.data.sources.stories.scoring import asked_words_used

        best: list[str] = []
        for text, words in self._wishes():
            story = ask([text])
            if not asked_words_used(words, story):
                continue
            found = [text, *_answered_well(ask, text, story)]
            if len(found) == 3:
                return found
            best = max(best, found, key=len)
        return best

    def _wishes(self) -> Iterable[tuple[str, tuple[str, ...]]]:
        """Requests with the words that they ask for: such as were never made, then simple ones."""
        from mlxllm.data.sources.stories.lessons import unseen_wishes
        from mlxllm.data.sources.stories.people import SPECIES

        wishes = [exam.wish for exam in unseen_wishes(_TRIED_WISHES, plots=self._plots) if exam.wish is not None]
        animals = [species.noun for species in SPECIES[:_TRIED_ANIMALS]]
        return [
            *((wish.text, wish.words) for wish in wishes),
            *((f"Tell me a story about a {noun}.", (noun,)) for noun in animals),
            ("Tell me a story.", ()),
        ]


def _answered_well(ask: Ask, wish: str, story: str) -> list[str]:
    """Questions about a story that the model has just told, as far as its answers can be seen to be right."""
    from mlxllm.data.sources.stories.scoring import is_kind_ending

    found = []
    about, ending = "Who is the story about?", "Did the story end well?"
    answer = ask([wish, about])
    heroes = [word for word in re.findall(r"\b[A-Z][a-z]+\b", story.split("\n")[0]) if f"about {word}." in answer]
    if heroes:
        found.append(about)
    kind = is_kind_ending(story)
    if kind is not None and ask([wish, about, ending]).startswith("Yes" if kind else "No"):
        found.append(ending)
    return found


class DocsWorld:
    """Python's standard library: what a name is for, in one sentence rather than in several."""

    preferred = "answers of one sentence"
    name = "pydocs"
    metrics: Mapping[str, str] = {
        "likeness": "words in common with the docstring of an unseen name (F1)",
        "brief": "answers of one sentence",
    }

    def __init__(self) -> None:
        """Reads the library, which takes some seconds."""
        from mlxllm.data.sources.docs_talk import explained

        found = explained()
        self._known = [item for item in found if not item.held_out]
        self._unseen = [item for item in found if item.held_out][:_EXAM_QUESTIONS]
        self.counted = {"brief": len(self._unseen)}

    def lessons(self, count: int) -> Iterable[Record]:
        """See `World`; half of the answers are as long as the docstring has them."""
        return (item.lesson(at_length=n % 2 == 1) for n, item in enumerate(islice(cycle(self._known), count)))

    def pairs(self, count: int) -> Iterable[Record]:
        """See `World`."""
        return islice((item.pair() for item in cycle(self._known) if item.more), count)

    def examine(self, model: "Transformer", tokenizer: "Tokenizer", chat: "ChatFormat | None") -> dict[str, float]:
        """See `World`."""
        from mlxllm.conversation import Message
        from mlxllm.data.sources.docs_talk import is_brief, likeness
        from mlxllm.inference.batch import generate_batch

        asked = [item.question for item in self._unseen]
        prompts = [
            chat.generation_prompt([Message("user", text)]) if chat else tokenizer.encode(f"{text}\n") for text in asked
        ]
        stops = {*(chat.stop_ids if chat else ()), tokenizer.eot_id}
        written = generate_batch(model, tokenizer, prompts, SampleConfig(temperature=0, max_tokens=80), stop_ids=stops)
        answers = [tokenizer.decode(ids) for ids in written]
        alike = [likeness(a, item.sentence) for a, item in zip(answers, self._unseen, strict=True)]
        return {"likeness": sum(alike) / len(alike), "brief": sum(map(is_brief, answers)) / len(answers)}

    def prompts(self) -> Sequence[Prompt]:
        """Three unseen names."""
        return [Prompt(item.question, item.sentence) for item in self._unseen[:3]]

    def suggestions(self, ask: Ask) -> list[str]:
        """Names that it knows from training, and answers as the docstring does."""
        from mlxllm.data.sources.docs_talk import likeness

        tried = ((likeness(ask([item.question]), item.sentence), item.question) for item in self._known[:_TRIED_NAMES])
        return [question for _, question in sorted(tried, reverse=True)[:3]]
