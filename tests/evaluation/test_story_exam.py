"""The examination of story models: the same for every model, and judged by what is written."""

import mlx.core as mx
import pytest

from mlxllm.config import ModelConfig
from mlxllm.conversation import OwnFormat
from mlxllm.data.sources.stories.lessons import unseen_questions
from mlxllm.data.sources.stories.scoring import answer_is_right, is_kind_ending, story_in
from mlxllm.evaluation.story_exam import StoryExam
from mlxllm.model.transformer import build_model
from mlxllm.tokenizer import train_tokenizer


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_model_that_has_learned_nothing_knows_nothing(in_turns: bool) -> None:
    tokenizer = train_tokenizer("char", [exam.messages[0]["content"] for exam in unseen_questions(20, plots=2)])
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        intermediate_size=32,
    )
    model = build_model(config, seed=1)
    mx.eval(model.parameters())
    exam = StoryExam(6, 3, plots=2)
    scores = [exam(model, tokenizer, OwnFormat(tokenizer) if in_turns else None) for _ in range(2)]
    assert scores[0] == scores[1]
    assert (scores[0].answers, scores[0].words, scores[0].questions, scores[0].stories) == (0, 0, 6, 3)


def test_every_question_is_answered_right_by_its_own_sentence_and_by_no_rival() -> None:
    for exam in unseen_questions(200, plots=8):
        question = exam.question
        assert question is not None
        assert answer_is_right(question, question.sentence)
        for rival in question.rivals:
            assert not answer_is_right(question, f"It was {rival}.") or rival in question.text


def test_questions_below_a_story_are_no_part_of_it() -> None:
    story = 'Mia lost her hat. "Who has it?" she asked.\n"What is this?" said Tom. They hugged, and all was well.'
    page = f"{story}\nWho lost the hat?\nIt was Mia.\nDid the story end well?\nNo, it did not end well."
    assert story_in(page) == story
    assert story_in(story) == story
    assert is_kind_ending(story_in(page)) is True
