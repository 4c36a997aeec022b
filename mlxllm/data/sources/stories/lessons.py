"""Lessons from the world of the stories: conversations to imitate, pairs to prefer by, examinations on unseen stories.

Everything depends on (seed, plots, count) alone. Each stage tells stories of its own: pre-training those with small
numbers, and the others from a distant number on, so that no story of an examination was ever in training. Requests
are kept apart as well: an eighth of all sets of asked-for words occurs in examinations only (`wishes.held_out`).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count as count_from
from typing import Literal

from mlxllm.data.sources.stories import SIMPLEST_PLOTS, Ending, Story, tell
from mlxllm.data.sources.stories.questions import Question, names_of, questions, says
from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.talk import small_talk, thanks
from mlxllm.data.sources.stories.wishes import Wish, wish

Stage = Literal["sft", "dpo", "exam"]
Message = dict[str, str]
"""`role` and `content`."""

FIRST_STORY: dict[Stage, int] = {"sft": 1 << 40, "dpo": 2 << 40, "exam": 3 << 40}
"""Where each stage begins to count its stories; pre-training begins at 0."""
SMALL_CAST = 4
"""Names of each list in a world of the simplest plots."""

_TALK, _GIVEN, _SHORT = 0.04, 0.35, 0.4
"""Shares of the lessons: small talk; questions about a story that the user brings along, and how many of those stories
are a few sentences long."""
_MOST_QUESTIONS = 4
_TITLED = 0.8
"""Share of the whole stories that stand below a request for them."""
_EXCERPTS, _SYNOPSES = 0.7, 0.4
"""Share of the pages that are a few sentences long, and how many of them have a request rather than a question. In a
long story the one word that answers a question is a needle in a haystack, and attention learns late to look for it; in
a short one it is soon found."""
_PRACTISED = ("animal", "place", "thing", "weather", "feeling", "number", "left", "plan")
_SENTENCES = re.compile(r"(?<=[.!?\"])\s+(?=[A-Z\"])")
_WEIGHTS = {"who": 2, "place": 2, "thing": 2, "number": 4, "left": 8}
"""How much likelier a kind of question is chosen where the story answers it; 1 for the others."""
# A row of 256 tokens holds what these estimate as 250.
_ROOM, _TOKENS_PER_WORD, _TOKENS_PER_MESSAGE = 250.0, 1.3, 3
_LENGTHS_APART = 0.1


@dataclass(frozen=True, slots=True)
class Lesson:
    """One conversation for supervised fine-tuning, and what is true in it."""

    messages: tuple[Message, ...]
    index: int
    """The number of its story."""
    wish: Wish | None = None
    """What the user asked for, if the model tells a story."""
    questions: tuple[Question, ...] = ()
    """What is asked, in the order of the turns."""

    def record(self) -> dict[str, list[Message]]:
        """The conversation in the `messages` format."""
        return {"messages": [dict(message) for message in self.messages]}


@dataclass(frozen=True, slots=True)
class Pair:
    """A request and the same story with a kind and an unkind ending."""

    wish: Wish
    chosen: str
    rejected: str
    shared: int
    """Characters that the two have in common, up to the ending."""
    index: int
    """The number of their story."""

    def record(self) -> dict[str, list[Message]]:
        """The pair in TRL's conversational format."""
        return {
            "prompt": [_user(self.wish.text)],
            "chosen": [_assistant(self.chosen)],
            "rejected": [_assistant(self.rejected)],
        }


@dataclass(frozen=True, slots=True)
class Exam:
    """A prompt that no stage has trained on: a question about an unseen story, or a request for one."""

    messages: tuple[Message, ...]
    """What the model is given; it answers with one assistant turn."""
    question: Question | None = None
    """Judge the answer with `scoring.answer_is_right`."""
    wish: Wish | None = None
    """Judge the story with `scoring.asked_words_used` and `scoring.is_kind_ending`."""


def in_world(seed: int, index: int, plots: int = 0, ending: Ending | None = None) -> Story:
    """Story number `index` of the small world with so many of the simplest plots, or of the whole world for 0."""
    plot, cast = (SIMPLEST_PLOTS[index % plots], SMALL_CAST) if plots else (None, None)
    return tell(seed, index, plot=plot, ending=ending, cast=cast)


def page(seed: int, index: int, plots: int = 0) -> str:
    """A page of a reading book: story number `index` behind the title that one might ask for, and questions with their
    answers below. Most pages are shorter: a few sentences of the story with a question, or with a title. Nobody speaks
    here: it is plain text for pre-training, a line each.
    """
    rng, story = Rng(seed, index, 6), in_world(seed, index, plots)
    if rng.chance(_EXCERPTS) and (short := _short_page(story, rng)) is not None:
        return short
    lines = [story.text]
    request = wish(story, rng)
    if request is not None and rng.chance(_TITLED):
        lines.insert(0, request.text)
    asked = questions(story)
    for question in rng.sample(asked, len(asked)):
        lines += [question.text, question.sentence]
        if _tokens(_words(*lines), 1) > _ROOM:
            del lines[-2:]
            break
    return "\n".join(lines)


def short_pages(first: int, seed: int = 0, plots: int = 0) -> Iterator[str]:
    """The short ones of such pages without end, of the stories from number `first` on."""
    for index in count_from(first):
        rng = Rng(seed, index, 7)
        if (short := _short_page(in_world(seed, index, plots), rng)) is not None:
            yield short


def _short_page(story: Story, rng: Rng) -> str | None:
    if rng.chance(_SYNOPSES) and (told := synopsis(story, rng)) is not None:
        return told
    found = excerpt(story, rng)
    if found is None:
        return None
    return "\n".join([found[0], *(line for question in found[1] for line in (question.text, question.sentence))])


def synopsis(story: Story, rng: Rng) -> str | None:
    """A request for words of a story, and the sentences in which they are said first; None without such words."""
    request = wish(story, rng)
    if request is None or not request.words:
        return None
    sentences = _SENTENCES.split(story.text)
    kept = {next((n for n, sentence in enumerate(sentences) if says(sentence, word)), 0) for word in request.words}
    return "\n".join([request.text, " ".join(sentences[n] for n in sorted(kept))])


def excerpt(story: Story, rng: Rng) -> tuple[str, list[Question]] | None:
    """One to three sentences of a story, and one or two questions that they answer on their own; None if none does."""
    sentences = _SENTENCES.split(story.text)
    kept: set[int] = set()
    asked: list[Question] = []
    practised = [question for question in questions(story) if question.kind in _PRACTISED]
    for question in rng.sample(practised, len(practised))[: 1 + rng.below(2)]:
        names = [word for word in names_of(story.facts) if says(question.text, word)]
        holding = [n for n, s in enumerate(sentences) if all(says(s, word) for word in (question.answer, *names))]
        if holding:
            asked.append(question)
            kept.add(rng.choice(holding))
    if not asked:
        return None
    if rng.chance(0.5):
        kept.add(rng.below(len(sentences)))
    return " ".join(sentences[n] for n in sorted(kept)), asked


def lessons(count: int, seed: int = 0, plots: int = 0) -> Iterator[Lesson]:
    """Conversations: a story is asked for and told, or brought along; then questions about it are answered."""
    index, made = FIRST_STORY["sft"], 0
    while made < count:
        lesson = _lesson(seed, index, plots)
        index += 1
        if lesson is not None:
            made += 1
            yield lesson


def pairs(count: int, seed: int = 0, plots: int = 0) -> Iterator[Pair]:
    """Preferences for kind endings: the two stories differ in nothing else, and hardly in length."""
    yield from _pairs("dpo", count, seed, plots)


def unseen_pairs(count: int, seed: int = 0, plots: int = 0) -> Iterator[Pair]:
    """Pairs like those of `pairs`, of stories and requests that are kept for examination."""
    yield from _pairs("exam", count, seed, plots)


def unseen_questions(count: int, seed: int = 0, plots: int = 0) -> Iterator[Exam]:
    """Single questions, each about a story of its own that the user brings along."""
    index, made = FIRST_STORY["exam"], 0
    while made < count:
        rng, story = Rng(seed, index, 3), in_world(seed, index, plots)
        index += 1
        (question,) = _pick(story, rng, 1)
        if _tokens(_words(story.text, question.text, question.sentence), 2) <= _ROOM:
            made += 1
            yield Exam((_user(_given(story, question)),), question)


def unseen_wishes(count: int, seed: int = 0, plots: int = 0) -> Iterator[Exam]:
    """Requests for a story with two or three words that never were asked for together."""
    index, made = FIRST_STORY["exam"], 0
    while made < count:
        asked = wish(in_world(seed, index, plots), Rng(seed, index, 4), unseen=True)
        index += 1
        if asked is not None:
            made += 1
            yield Exam((_user(asked.text),), wish=asked)


def _lesson(seed: int, index: int, plots: int) -> Lesson | None:
    """The lesson of one story; None if it is too long for a row."""
    rng = Rng(seed, index, 3)
    if rng.chance(_TALK):
        said, answer = small_talk(rng)
        return Lesson((_user(said), _assistant(answer)), index)
    story = in_world(seed, index, plots)
    asked = _pick(story, rng, 1 + rng.below(_MOST_QUESTIONS))
    request = None
    if not rng.chance(_GIVEN):
        request = wish(story, rng)
        assert request is not None
        messages = [_user(request.text), _assistant(story.text)]
        first = 0
    else:
        text = story.text
        if rng.chance(_SHORT) and (found := excerpt(story, rng)) is not None:
            text, asked = found
        messages = [_user(f"{text}\n{asked[0].text}"), _assistant(asked[0].sentence)]
        first = 1
    while _size(messages) + _tokens(_words(*(w for q in asked[first:] for w in (q.text, q.sentence))), 2) > _ROOM:
        if len(asked) == first:
            return None
        asked = asked[:-1]
    for question in asked[first:]:
        messages += [_user(question.text), _assistant(question.sentence)]
    if request is not None and len(asked) < 2 and rng.chance(0.15):
        said, answer = thanks(rng)
        messages += [_user(said), _assistant(answer)]
    return Lesson(tuple(messages), index, request, tuple(asked))


def _pairs(stage: Stage, count: int, seed: int, plots: int) -> Iterator[Pair]:
    index, made, longer = FIRST_STORY[stage], 0, 0
    while made < count:
        kind, unkind = (in_world(seed, index, plots, ending) for ending in ("kind", "unkind"))
        lengths = [len(story.text.split()) for story in (kind, unkind)]
        # As often the longer as the shorter one is chosen, or length would be learned instead.
        sign = (lengths[0] > lengths[1]) - (lengths[0] < lengths[1])
        request = wish(kind, Rng(seed, index, 5), unseen=stage == "exam", anywhere=False)
        if (
            request is not None
            and abs(lengths[0] - lengths[1]) <= _LENGTHS_APART * max(lengths)
            and abs(longer + sign) <= 1
            and _tokens(max(lengths) + _words(request.text), 2) <= _ROOM
        ):
            made, longer = made + 1, longer + sign
            yield Pair(request, kind.text, unkind.text, kind.facts.ending_at, index)
        index += 1


def _pick(story: Story, rng: Rng, number: int) -> list[Question]:
    """Up to so many questions of different kinds, in random order; kinds that few stories answer are likelier."""
    by_kind: dict[str, list[Question]] = {}
    for question in questions(story):
        by_kind.setdefault(question.kind, []).append(question)
    picked: list[Question] = []
    while by_kind and len(picked) < number:
        kind = rng.choice([kind for kind in by_kind for _ in range(_WEIGHTS.get(kind, 1))])
        picked.append(rng.choice(by_kind.pop(kind)))
    return rng.sample(picked, len(picked))


def _given(story: Story, question: Question) -> str:
    return f"{story.text}\n{question.text}"


def _size(messages: list[Message]) -> float:
    return _tokens(_words(*(message["content"] for message in messages)), len(messages))


def _words(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)


def _tokens(words: int, messages: int) -> float:
    """About how many tokens that is in a vocabulary of 2,048 pieces."""
    return _TOKENS_PER_WORD * words + _TOKENS_PER_MESSAGE * messages


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}
