"""Questions and answers made of the standard library's docstrings."""

import pytest

from mlxllm.data.sources.docs_talk import FEWEST_WORDS, Explained, explained, is_brief, likeness


@pytest.fixture(scope="module")
def found() -> list[Explained]:
    return explained()


def test_names_are_public_and_their_sentences_whole(found: list[Explained]) -> None:
    assert len(found) > 2000
    assert len({item.name for item in found}) == len(found)
    for item in found:
        assert not any(part.startswith("_") for part in item.name.split("."))
        assert item.name in item.question
        assert len(item.sentence.split()) >= FEWEST_WORDS
        assert item.sentence.endswith(".")
        assert is_brief(item.sentence)


def test_a_well_known_name(found: list[Explained]) -> None:
    (item,) = [item for item in found if item.name == "json.dumps"]
    assert item.sentence == "Serialize ``obj`` to a JSON formatted ``str``."


def test_a_tenth_is_kept_for_examination(found: list[Explained]) -> None:
    assert 0.07 < sum(item.held_out for item in found) / len(found) < 0.13


def test_the_better_answer_is_the_shorter_one(found: list[Explained]) -> None:
    talkative = [item for item in found if item.more]
    assert len(talkative) > 500
    for item in talkative:
        chosen, rejected = (item.pair()[side][0]["content"] for side in ("chosen", "rejected"))  # type: ignore[index]
        assert is_brief(chosen)
        assert not is_brief(rejected)
        assert rejected.startswith(chosen)


def test_likeness() -> None:
    assert likeness("Return the sum.", "Return the sum.") == 1
    assert likeness("Close the file.", "Return a sum.") == 0
    assert likeness("Return the file", "Return the sum of it") == pytest.approx(2 * 2 / (3 + 5))
    assert likeness("", "Return the sum.") == 0
