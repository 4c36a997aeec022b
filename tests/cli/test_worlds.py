"""The worlds in which a quickstart teaches: what is taught, and which suggestions a model has earned."""

from collections.abc import Sequence

import pytest

from mlxllm.cli.worlds import DocsWorld, StoryWorld, World
from mlxllm.conversation.formats import parse_conversation
from mlxllm.conversation.preference_formats import parse_preference


@pytest.fixture(scope="module")
def docs() -> DocsWorld:
    """Reading the library takes some seconds."""
    return DocsWorld()


def told(turns: Sequence[str]) -> str:
    """What a model with one story about a cat says, whoever asks."""
    said = {
        "Who is the story about?": "It is about Mimi.",
        "Did the story end well?": "Yes, it ended well.",
    }
    return said.get(turns[-1], "There was once a cat named Mimi.\nMimi met Tom. They hugged, and all was well.")


def test_a_model_that_knows_one_story_is_asked_for_that() -> None:
    found = StoryWorld(4).suggestions(told)
    assert found[1:] == ["Who is the story about?", "Did the story end well?"]
    assert "cat" in found[0] or found[0] == "Tell me a story."


def test_questions_that_are_answered_wrong_are_not_suggested() -> None:
    def wrong(turns: Sequence[str]) -> str:
        return told(turns).replace("Mimi.", "Tom.").replace("Yes", "No") if turns[-1].endswith("?") else told(turns)

    assert len(StoryWorld(4).suggestions(wrong)) == 1


def test_every_record_is_one_that_training_reads(docs: DocsWorld) -> None:
    worlds: list[World] = [StoryWorld(4), docs]
    for world in worlds:
        lessons, pairs = list(world.lessons(60)), list(world.pairs(40))
        assert len(pairs) == 40
        assert len(lessons) >= 60
        for lesson in lessons:
            parse_conversation(dict(lesson), "here")
        for pair in pairs:
            parse_preference(dict(pair), "here")
        assert len(world.prompts()) == 3
    assert any("text" in lesson for lesson in StoryWorld(4).lessons(8)), "pages of the reading book"


def test_docs_that_are_asked_for_in_the_end_were_never_taught(docs: DocsWorld) -> None:
    taught = str(list(docs.lessons(10_000)))
    assert not any(prompt.text in taught for prompt in docs.prompts())
