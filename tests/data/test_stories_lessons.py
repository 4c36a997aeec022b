"""Lessons from the stories: conversations, pairs and examinations, and that none stands on two sides."""

import hashlib
import json
import re
import subprocess
import sys
from itertools import islice

import pytest

from mlxllm.data.sources.stories import ending_of, stories
from mlxllm.data.sources.stories.lessons import (
    FIRST_STORY,
    Exam,
    Lesson,
    Pair,
    in_world,
    lessons,
    page,
    pairs,
    short_pages,
    synopsis,
    unseen_pairs,
    unseen_questions,
    unseen_wishes,
)
from mlxllm.data.sources.stories.questions import KINDS, questions, says
from mlxllm.data.sources.stories.rng import Rng
from mlxllm.data.sources.stories.scoring import answer_is_right, asked_words_used
from mlxllm.data.sources.stories.talk import ANSWERS
from mlxllm.data.sources.stories.wishes import held_out, wish
from mlxllm.data.sources.stories_source import StoriesSource

PLOTS = 8


@pytest.fixture(scope="module")
def course() -> list[Lesson]:
    return list(lessons(2500, 0, PLOTS))


@pytest.fixture(scope="module")
def preferences() -> list[Pair]:
    return list(pairs(800, 0, PLOTS))


@pytest.fixture(scope="module")
def exams() -> list[Exam]:
    return [*unseen_questions(400, 0, PLOTS), *unseen_wishes(200, 0, PLOTS)]


def test_the_world_is_the_one_that_pretraining_reads() -> None:
    for plots in (PLOTS, 0):
        told = StoriesSource(count=20, seed=3, start=5, plots=plots).documents()
        assert [d.text for d in told] == [in_world(3, i, plots).text for i in range(5, 25)]
    assert [in_world(3, i).text for i in range(5)] == [s.text for s in islice(stories(3), 5)]


def test_the_same_bits_everywhere() -> None:
    code = (
        "import json, hashlib; from mlxllm.data.sources.stories.lessons import *;"
        "r = [x.record() for f in (lessons, pairs) for x in f(40, 5, 8)] + [e.messages for e in unseen_wishes(20, 5, 8)];"
        "print(hashlib.sha256(json.dumps(r).encode()).hexdigest())"
    )
    digests = {
        subprocess.run([sys.executable, "-c", code], env={"PYTHONHASHSEED": s}, capture_output=True, check=True).stdout
        for s in ("1", "2")
    }
    here = [x.record() for x in lessons(40, 5, 8)], [x.record() for x in pairs(40, 5, 8)]
    records = [*here[0], *here[1], *(e.messages for e in unseen_wishes(20, 5, 8))]
    assert digests == {hashlib.sha256(json.dumps(records).encode()).hexdigest().encode() + b"\n"}


def test_conversations_are_well_formed(course: list[Lesson]) -> None:
    for lesson in course:
        roles = [m["role"] for m in lesson.messages]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(m["content"] and m["content"].strip() == m["content"] for m in lesson.messages)
        assert set(lesson.record()) == {"messages"}
        answers = [m["content"] for m in lesson.messages if m["role"] == "assistant"]
        if lesson.wish:
            assert lesson.messages[0]["content"] == lesson.wish.text
            assert asked_words_used(lesson.wish.words, answers.pop(0)), lesson
        if answers and answers[-1] in ANSWERS:
            answers.pop()
        assert answers == [q.sentence for q in lesson.questions]
        for question, answer in zip(lesson.questions, answers, strict=True):
            assert answer_is_right(question, answer)


def test_a_course_has_everything_in_it(course: list[Lesson]) -> None:
    told = sum(lesson.wish is not None for lesson in course) / len(course)
    talk = sum(not lesson.wish and not lesson.questions for lesson in course) / len(course)
    assert 0.5 < told < 0.7
    assert 0.02 < talk < 0.06
    assert {q.kind for lesson in course for q in lesson.questions} >= set(KINDS) - {"plan"}
    assert sum(len(lesson.questions) for lesson in course) > 1.5 * len(course)
    words = [len(lesson.wish.words) for lesson in course if lesson.wish]
    assert all(words.count(n) > 0.1 * len(words) for n in (1, 2, 3))
    stories_told = [lesson.messages[1]["content"] for lesson in course if lesson.wish]
    kind = sum(ending_of(text) == "kind" for text in stories_told) / len(stories_told)
    assert 0.42 < kind < 0.58


def test_requests_read_like_english(course: list[Lesson], exams: list[Exam]) -> None:
    texts = {w.text for w in [*(lesson.wish for lesson in course), *(e.wish for e in exams)] if w}
    for text in texts:
        assert re.fullmatch(r"[A-Z][a-z A-Z,]+[.?]", text), text
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|  | ,|, and|and (in|on|at) ", text), text
        assert text.count(" and ") <= 1, text
    assert len(texts) > 400


def test_pairs_differ_in_the_ending_alone(preferences: list[Pair]) -> None:
    for pair in preferences:
        assert pair.chosen[: pair.shared] == pair.rejected[: pair.shared]
        assert pair.chosen[pair.shared - 1] == "\n"
        assert pair.chosen[pair.shared :] != pair.rejected[pair.shared :]
        assert asked_words_used(pair.wish.words, pair.chosen[: pair.shared])
        lengths = [len(text.split()) for text in (pair.chosen, pair.rejected)]
        assert max(lengths) - min(lengths) <= 0.1 * max(lengths)
    kind = sum(ending_of(p.chosen) == "kind" and ending_of(p.rejected) == "unkind" for p in preferences)
    assert kind > 0.98 * len(preferences)
    longer = sum(len(p.chosen) > len(p.rejected) for p in preferences) / len(preferences)
    assert 0.4 < longer < 0.6, "a model could learn length instead"
    record = preferences[0].record()
    assert {key: [m["role"] for m in value] for key, value in record.items()} == {
        "prompt": ["user"], "chosen": ["assistant"], "rejected": ["assistant"],
    }  # fmt: skip


def test_a_page_answers_its_questions_and_keeps_its_title() -> None:
    kinds = {"story": 0, "excerpt": 0, "synopsis": 0}
    for index in range(400):
        story, lines = in_world(7, index, PLOTS), page(7, index, PLOTS).split("\n")
        known = {question.text: question for question in questions(story)}
        asked = [n for n, line in enumerate(lines) if line in known]
        assert asked == list(range(len(lines) - 2 * len(asked), len(lines), 2)), "a line with the answer below each"
        assert all(lines[n + 1] == known[lines[n]].sentence for n in asked)
        text = "\n".join(lines[: asked[0] if asked else None])
        if story.text in text:
            kinds["story"] += 1
            assert asked
            title = text.removesuffix(story.text)
            assert title == "" or title.endswith((".\n", "?\n"))
        elif asked:
            kinds["excerpt"] += 1
            assert len(text) < len(story.text)
            assert len(asked) <= 2
            assert all(says(text, known[lines[n]].answer) for n in asked)
        else:
            kinds["synopsis"] += 1
            title, told = lines
            assert title.startswith(("Tell me", "Please tell me", "Can you", "I want", "Write"))
            assert len(told) < len(story.text)
    assert all(number > 80 for number in kinds.values()), kinds


def test_short_pages_are_a_few_sentences_with_a_question_or_a_request() -> None:
    pages = list(islice(short_pages(500, 7, PLOTS), 200))
    assert pages == list(islice(short_pages(500, 7, PLOTS), 200))
    assert sum(len(text.split()) for text in pages) < 45 * len(pages)
    known = {q.text: q for index in range(500, 710) for q in questions(in_world(7, index, PLOTS))}
    asked = 0
    for text, first, *more in (short.split("\n") for short in pages):
        if first in known:
            asked += 1
            assert all(question in known for question in more[1::2])
        else:
            assert not more, "a request, and what fulfils it"
            assert text.startswith(("Tell me", "Please tell me", "Can you", "I want", "Write"))
    assert 80 < asked < 160


def test_a_synopsis_has_every_word_that_is_asked_for() -> None:
    for index in range(200):
        story = in_world(7, index, PLOTS)
        request, text = wish(story, Rng(7, index, 9)), synopsis(story, Rng(7, index, 9))
        assert request is not None
        assert (text is None) == (not request.words)
        if text is not None:
            title, told = text.split("\n")
            assert title == request.text
            assert asked_words_used(request.words, told)


def test_no_examination_stands_in_training(course: list[Lesson], preferences: list[Pair], exams: list[Exam]) -> None:
    trained = {m["content"] for lesson in course for m in lesson.messages}
    trained |= {text for pair in preferences for text in (pair.wish.text, pair.chosen, pair.rejected)}
    read = {document.text for document in StoriesSource(count=4000, plots=PLOTS).documents()}
    trained_stories = {text.rsplit("\n", 1)[0] for text in trained if "\n" in text} | trained | read
    for exam in exams:
        (message,) = exam.messages
        assert message["content"] not in trained
        if exam.question:
            assert message["content"].endswith(exam.question.text)
            assert message["content"].rsplit("\n", 1)[0] not in trained_stories
        else:
            assert exam.wish is not None
            assert held_out(exam.wish.words)
    for pair in unseen_pairs(100, 0, PLOTS):
        assert not {pair.wish.text, pair.chosen, pair.rejected} & trained_stories
    for index in (0, 10**9):
        assert all(index < first for first in FIRST_STORY.values())
    assert len(set(FIRST_STORY.values())) == 3


def test_held_out_requests_are_an_eighth_in_either_order() -> None:
    sets = [(a, b) for a in ("fox", "cat", "owl", "frog", "bear") for b in map(str, range(200))]
    assert all(held_out(words) == held_out(words[::-1]) for words in sets)
    assert 0.09 < sum(map(held_out, sets)) / len(sets) < 0.16
    assert not held_out(("fox",))


def test_a_request_without_fitting_words_is_open_or_none() -> None:
    found = [wish(in_world(0, i, PLOTS), Rng(i)) for i in range(300)]
    assert all(w is not None and not held_out(w.words) for w in found)
    unseen = [wish(in_world(0, i, PLOTS), Rng(i), unseen=True) for i in range(300)]
    assert all(w is None or held_out(w.words) for w in unseen)
    assert sum(w is not None for w in unseen) > 60
