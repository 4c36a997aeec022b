"""Questions about stories: the answer stands in the text, is true by a second route, and cannot be guessed."""

import re
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.sources.stories import PLOTS, Story, tell
from mlxllm.data.sources.stories.lessons import in_world
from mlxllm.data.sources.stories.people import BOYS, GIRLS, HE_ANIMALS, SHE_ANIMALS, SPECIES
from mlxllm.data.sources.stories.places import BY_NOUN
from mlxllm.data.sources.stories.questions import KINDS, Question, names_of, questions, says
from mlxllm.data.sources.stories.scoring import answer_is_right, asked_words_used, is_kind_ending
from mlxllm.data.sources.stories.things import NUMBERS

NAMES = {*GIRLS, *BOYS, *SHE_ANIMALS, *HE_ANIMALS}
WORLDS = (8, 16, 0)


@pytest.fixture(scope="module")
def asked() -> list[tuple[Story, Question]]:
    return [(s, q) for plots in WORLDS for s in (in_world(1, i, plots) for i in range(1000)) for q in questions(s)]


def check_question(s: Story, q: Question) -> None:
    assert q.kind in KINDS
    assert q.text[0].isupper(), q
    assert q.text.endswith("?"), q
    assert q.sentence[0].isupper(), q
    assert q.sentence.endswith("."), q
    assert not re.search(r"[{}|]|\ba [aeiou]|\ban [^aeiou]|  ", q.text + q.sentence), q
    assert says(q.sentence, q.answer), q
    assert answer_is_right(q, q.sentence), q
    if q.kind != "ending":
        assert says(s.text, q.answer), (q, s.text)
        assert not says(q.text, q.answer), (q, "the question gives its own answer away")
    for rival in q.rivals:
        wrong = re.sub(rf"\b{q.answer}\b", rival, q.sentence, flags=re.IGNORECASE)
        assert not answer_is_right(q, wrong) or says(q.text, rival), q
    # Whoever is spoken of in a question is somebody in the story.
    for name in re.findall(r"\b[A-Z][a-z]+\b", q.text + " " + q.sentence):
        assert name not in NAMES or says(s.text, name), (q, s.text)


@given(st.integers(0, 2**63), st.integers(0, 2**40), st.sampled_from(sorted(PLOTS)), st.sampled_from([None, 4]))
def test_every_story_can_be_asked_about(seed: int, index: int, plot: str, cast: int | None) -> None:
    s = tell(seed, index, plot=plot, cast=cast)
    found = questions(s)
    assert len(found) >= 2
    assert len({q.text for q in found}) == len(found)
    for q in found:
        check_question(s, q)


def test_answers_are_in_the_story(asked: list[tuple[Story, Question]]) -> None:
    for s, q in asked:
        check_question(s, q)
    assert {q.kind for _, q in asked} == set(KINDS)


# A second route to the answers: the text alone, read by rules that know nothing of the facts.


def test_animals_are_introduced_as_what_they_are(asked: list[tuple[Story, Question]]) -> None:
    nouns = "|".join(s.noun for s in SPECIES)
    checked = 0
    for s, q in asked:
        if q.kind == "animal":
            name = re.escape(q.text.removeprefix("What animal was ").rstrip("?"))
            read = re.findall(
                rf"({nouns}) (?:named|called) {name}\b|\b{name}(?: was|,)? (?:an?|the) (?:\w+ )?({nouns})\b"
                rf"|({nouns}), {name},|({nouns})(?:[^.]*)[.] (?:His|Her) name was {name}"
                rf"|{name}\?? (?:He|She) was an? \w+ ({nouns})|more than {name}, an? \w+ ({nouns})"
                rf"|the story of {name}, an? \w+ ({nouns})|^{name} liked to [^.]*[.] (?:He|She) was an? \w+ ({nouns})",
                s.text,
            )
            kinds = {kind for found in read for kind in found if kind}
            assert not kinds or q.answer in kinds, (q, s.text)
            checked += bool(kinds)
    assert checked > 0.9 * sum(q.kind == "animal" for _, q in asked)


def test_numbers_are_the_sums_that_the_text_tells(asked: list[tuple[Story, Question]]) -> None:
    word = re.compile("|".join(rf"\b{number}\b" for number in NUMBERS), re.IGNORECASE)
    checked = 0
    for s, q in asked:
        if q.kind == "left" and s.facts.plot == "sharing":
            beginning, ending = s.text[: s.facts.ending_at], s.text[s.facts.ending_at :]
            had = {NUMBERS.index(n.lower()) for n in word.findall(beginning)}
            told = [NUMBERS.index(n.lower()) for n in word.findall(ending)]
            left = NUMBERS.index(q.answer)
            assert left in told[1:], (q, s.text)
            assert any(given + left in had for given in told), (q, s.text)
            checked += 1
    assert checked > 100


def test_a_feeling_is_said_of_nobody_else(asked: list[tuple[Story, Question]]) -> None:
    # "Ben was sad" in so many words: then it is Ben whom the question is about.
    checked = 0
    for s, q in asked:
        if q.kind == "feeling":
            who = q.text.removeprefix("How did ").removesuffix(" feel?")
            said = re.findall(rf"\b([A-Z][a-z]+) (?:was|felt|looked) {q.answer}\b", s.text)
            named = {name for name in said if name in NAMES}
            assert named <= {who}, (q, s.text)
            checked += bool(named)
    assert checked > 200


def test_places_are_where_the_text_goes(asked: list[tuple[Story, Question]]) -> None:
    for s, q in asked:
        if q.kind == "place":
            told = [noun for noun in BY_NOUN if says(s.text, noun)]
            assert q.answer in told, (q, s.text)
            assert set(told) == {q.answer, *q.rivals} | (set(told) & set(q.rivals)), (q, told)


def test_the_ending_is_what_its_words_say(asked: list[tuple[Story, Question]]) -> None:
    endings = [(s, q) for s, q in asked if q.kind == "ending"]
    agree = sum(is_kind_ending(s.text) == (q.answer == "yes") for s, q in endings)
    assert agree > 0.98 * len(endings)


# Balance.


def test_no_answer_can_be_guessed(asked: list[tuple[Story, Question]]) -> None:
    """Without the story, the likeliest answer to a question, and the first name of the story, are mostly wrong."""
    answers: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for _, q in asked:
        answers[q.kind][q.answer] += 1
    for kind, counts in answers.items():
        majority = max(counts.values()) / counts.total()
        assert majority < (0.56 if kind == "ending" else 0.35), (kind, counts.most_common(3))
    whose = [(s, q) for s, q in asked if q.kind in ("who", "felt") and q.answer in NAMES]
    first = sum(q.answer == min(names_of(s.facts), key=s.text.find) for s, q in whose) / len(whose)
    assert 0.3 < first < 0.6


# Scoring.


def test_scoring_takes_the_answer_and_nothing_beside_it() -> None:
    q = Question("who", "Who found the lamp?", "It was Mia.", "Mia", ("Ben",))
    for right in ("It was Mia.", "Mia found it.", "mia", "It was Mia. Ben came later.", "\nIt was Mia"):
        assert answer_is_right(q, right), right
    for wrong in ("", "It was Ben.", "It was Mia and Ben.", "It was Miami.", "Well. It was Mia."):
        assert not answer_is_right(q, wrong), wrong
    asked_about_ben = Question("who", "Who helped Ben?", "It was Mia.", "Mia", ("Ben",))
    assert answer_is_right(asked_about_ben, "Mia helped Ben.")
    yes = Question("ending", "Did the story end well?", "Yes, it ended well.", "yes", ("no",))
    assert answer_is_right(yes, "Yes.")
    assert not answer_is_right(yes, "No, it did not end well, yes.")
    assert not answer_is_right(yes, "Yesterday.")


def test_asked_words_are_whole_words() -> None:
    assert asked_words_used(("fox", "lamp"), "A Fox saw the lamp.")
    assert not asked_words_used(("fox", "lamp"), "A fox saw the lamps.")
    assert not asked_words_used(("fox",), "A foxglove.")
    assert asked_words_used((), "")


def test_an_ending_that_does_not_tell_is_neither() -> None:
    assert is_kind_ending("They hugged, and all was well.") is True
    assert is_kind_ending("Nobody hugged her.") is False
    assert is_kind_ending("A cat sat on a mat.") is None
