"""A recipe at work, on any text at all."""

import pickle
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.personal_data import EMAIL
from mlxllm.data.clean.recipes import RECIPES, RULES, Recipe, recipe, with_settings
from mlxllm.data.sources.base import Document, Dropped

PAGE = """The museum opens at nine
In the spring of 1902 the people of the town began to build a house for their paintings, and it took them four years.
Nobody had asked an architect, so the walls were of different heights. That is why the roof had to be made twice.
Menu | Home | Contact
The first director was a teacher who wrote to every painter she knew. Write to her at jane@museum-of-the-town.org today.
Visitors have come ever since. Two of the three halls are open to them, the last one to the members of the society only.
"""
KEPT = "\n".join(PAGE.splitlines()[1:3] + PAGE.splitlines()[4:]).replace("jane@museum-of-the-town.org", EMAIL)


def document(text: str, **metadata: str) -> Document:
    return Document(text, "page#1", "web", metadata=metadata)


def test_a_good_page_is_kept_without_its_menu_and_addresses() -> None:
    cleaned = Cleaner(recipe("web")).clean(document(PAGE, url="http://x"))
    assert isinstance(cleaned, Document)
    assert cleaned.text == KEPT
    assert cleaned.metadata == {"url": "http://x", "language": "en"}
    assert (cleaned.id, cleaned.source, cleaned.more) == ("page#1", "web", False)


def test_a_bad_page_is_dropped_with_reason_measure_place_and_beginning() -> None:
    dropped = Cleaner(recipe("web")).clean(document("Buy the best of shoes and be happy with them! " * 40))
    assert isinstance(dropped, Dropped)
    assert dropped.reason.startswith("gopher repetition: ")
    assert "at most" in dropped.detail
    assert dropped.where == "page#1"
    assert dropped.text == ("Buy the best of shoes and be happy with them! " * 40)[:500]


def test_the_source_s_language_is_written_as_a_code() -> None:
    cleaned = Cleaner(recipe("web")).clean(document(PAGE, language="eng"))
    assert isinstance(cleaned, Document)
    assert cleaned.metadata["language"] == "en"
    other = Cleaner(recipe("web")).clean(document(PAGE, language="deu"))
    assert isinstance(other, Dropped)
    assert other.reason == "language: not asked for"


def test_a_text_that_stands_as_it_should_is_handed_on_as_it_is() -> None:
    page = document(KEPT, language="en")
    assert Cleaner(recipe("web")).clean(page) is page


def only(rule: str) -> Recipe:
    """That rule, as the first recipe that has it sets it."""
    return Recipe.model_validate({rule: next(s for one in RECIPES.values() if (s := getattr(one, rule)) is not None)})


ANY_TEXT = st.text(max_size=300) | st.lists(
    st.sampled_from(["the", "of", "house", "{", "#", "...", "- ", ". ", "\n", "\n\n", "a@b.com", "8.8.8.8", "\ud800", "\x00",
                     "é", "Ã©", "漢字", "[1]", "javascript", " ", "\u2028", "x" * 40]),
    max_size=120,
).map(" ".join)  # fmt: skip


@given(ANY_TEXT)
def test_none_changes_nothing(text: str) -> None:
    given_document = document(text)
    assert Cleaner(recipe("none")).clean(given_document) is given_document


@given(ANY_TEXT, st.sampled_from([*RECIPES, *RULES]))
def test_any_text_is_kept_or_dropped_always_alike(text: str, name: str) -> None:
    cleaner = Cleaner(RECIPES[name] if name in RECIPES else only(name))
    outcome = cleaner.clean(document(text))
    assert pickle.loads(pickle.dumps(cleaner)).clean(document(text)) == outcome
    if isinstance(outcome, Dropped):
        assert ": " in outcome.reason
        assert outcome.text == text[:500]


def test_another_process_decides_alike() -> None:
    """Python's hash of a word differs from process to process; what repeats does not."""
    program = (
        "import sys; from mlxllm.data.clean.gopher import *; from mlxllm.data.clean.prepared import Prepared\n"
        "text = ' '.join(f'w{i * i % 97}' for i in range(2000))\n"
        "print(gopher_repetition(Prepared(text), GopherRepetition()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True, check=True, text=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(told) == 1
    assert "Finding" in told.pop()


HOSTILE = {
    "one long line": "the house of many words " * 20_000,
    "one long word": "a" * 500_000,
    "equal lines": "The same line again.\n" * 50_000,
    "punctuation": "!?.,;:" * 80_000,
    "brackets": "[1" * 200_000,
    "blank lines": "\n " * 200_000,
    "ends": ". " * 200_000,
    "not decoded": "Ã¢â‚¬" * 40_000,
    "lone surrogates": "\ud800" * 100_000,
    "numbers": " ".join(map(str, range(60_000))),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_take_time_in_proportion(kind: str) -> None:
    alone = [Cleaner(only(name)) for name in RULES]
    text = HOSTILE[kind]

    def seconds(size: int) -> float:
        begin = time.process_time()
        for cleaner in alone:
            cleaner.clean(document(text[:size]))
        return time.process_time() - begin

    seconds(1000)
    # Quadratic work would be 64 times as much.
    assert seconds(len(text)) < 24 * max(seconds(len(text) // 8), 0.005)


def test_rules_run_in_order_and_only_those_of_the_recipe() -> None:
    text = "no language here 12345"
    assert Cleaner(recipe("code")).clean(document(text)) == document(text)
    papers = Cleaner(with_settings(recipe("papers"), ["language=off"])).clean(document(text))
    assert isinstance(papers, Dropped)
    assert papers.reason == "papers: too few words"
