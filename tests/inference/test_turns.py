"""A conversation in turns is, token for token, what its format writes for it and what training would read."""

import random

import pytest

from mlxllm.config import SampleConfig
from mlxllm.conversation import Conversation, Message, OwnFormat, encode_record
from mlxllm.inference.generate import Token, generate
from mlxllm.inference.session import Session
from mlxllm.inference.turns import Turns
from mlxllm.tokenizer import Tokenizer, train_tokenizer
from tests.inference.tiny import TOKENIZER, tiny, writing_answers, writing_letters

MODEL, LETTERS = writing_answers(), writing_letters()
END = TOKENIZER.special_ids["<|end|>"]


def rendering(turns: Turns, tokenizer: Tokenizer = TOKENIZER) -> list[int]:
    """What training reads of the conversation so far."""
    [pieces] = OwnFormat(tokenizer).sequences(Conversation(turns.messages))
    return [i for piece in pieces for i in piece.token_ids]


def answer(session: Session, turns: Turns, seed: int, stop_after: int | None = None, max_tokens: int = 300) -> int:
    """Generate as chat does; returns how many tokens of the conversation were in the cache."""
    sample = SampleConfig(temperature=2, max_tokens=max_tokens, seed=seed)
    generation = session.generate(turns.ids, sample, stop_ids=turns.stop_ids)
    tokens = []
    for token in generation:
        tokens.append(token)
        if len(tokens) == stop_after:
            break
    generation.close()
    turns.add_answer(tokens)
    return generation.stats.cached_tokens


def test_the_conversation_that_was_fed_is_the_one_that_is_trained() -> None:
    session, turns = Session(MODEL, TOKENIZER), Turns(OwnFormat(TOKENIZER), TOKENIZER)
    turns.system = "Be kind."
    before: list[int] = []
    for number, asked in enumerate(["hi", "<|end|> who?", "", "one more"]):
        turns.add_user(asked)
        assert turns.ids[: len(before)] == before, "what was said stays as it is"
        cached = answer(session, turns, seed=number)
        assert cached == len(before)
        assert not turns.is_cut_off
        before = rendering(turns)
        assert session.cached_ids == before, "the end token as well"
    example = encode_record(Conversation(turns.messages), OwnFormat(TOKENIZER))[0]
    assert example.token_ids.tolist() == session.cached_ids
    assert len(turns.messages) == 9
    assert sum(len(message.content) for message in turns.messages if message.role == "assistant") > 10


def test_any_course_of_a_conversation_begins_the_training_text() -> None:
    rng = random.Random(7)
    session, turns = Session(MODEL, TOKENIZER), Turns(OwnFormat(TOKENIZER), TOKENIZER)
    for number in range(16):
        change = rng.choice(["ask", "ask", "again", "undo", "system", "replace", "reset"])
        if change == "undo":
            turns.take_back_turn()
        elif change == "reset":
            turns.reset()
        elif change == "system":
            turns.system = rng.choice([None, "One.", "Two."])
        elif change == "replace" and turns.answer is not None:
            turns.replace_answer("What I would say.")
        elif change == "ask" or not turns.take_back_answer():
            turns.add_user(f"question {number}")
        if not turns.messages or not turns.wants_answer:
            continue
        asked = turns.ids
        answer(session, turns, number, stop_after=rng.choice([None, None, 0, 3]), max_tokens=90)
        assert rendering(turns)[: len(asked)] == asked
        if turns.answer is not None and not turns.is_cut_off:
            fresh = list(
                generate(
                    MODEL,
                    TOKENIZER,
                    asked,
                    SampleConfig(temperature=2, max_tokens=90, seed=number),
                    stop_ids=turns.stop_ids,
                )
            )
            assert turns.answer.endswith("".join(token.text for token in fresh))


def test_a_spelling_that_training_never_shows_does_not_stay() -> None:
    pieces = train_tokenizer("bpe", ["the cat and the hat and the cat " * 40], vocab_size=300)
    turns = Turns(OwnFormat(pieces), pieces)
    session = Session(tiny(vocab_size=pieces.vocab_size), pieces)
    turns.add_user("the cat")
    letters = [5 + byte for byte in b"the hat"]  # as bytes, though the tokenizer has learned pieces
    assert letters != pieces.encode("the hat")
    turns.add_answer(
        [Token(i, chr(i - 5), None, None) for i in letters] + [Token(pieces.special_ids["<|end|>"], "", None, "stop")]
    )
    turns.add_user("and")
    assert turns.ids == OwnFormat(pieces).generation_prompt(turns.messages)
    assert turns.ids[: len(rendering(turns, pieces))] == rendering(turns, pieces)
    next(session.generate(turns.ids, SampleConfig(), stop_ids=turns.stop_ids))


def test_an_answer_that_was_cut_off_goes_on_where_it_was() -> None:
    whole = Turns(OwnFormat(TOKENIZER), TOKENIZER)
    whole.add_user("hi")
    greedy = SampleConfig(temperature=0, max_tokens=30)
    once = [token.id for token in generate(LETTERS, TOKENIZER, whole.ids, greedy, stop_ids=())]
    parts, session = Turns(OwnFormat(TOKENIZER), TOKENIZER), Session(LETTERS, TOKENIZER)
    parts.add_user("hi")
    for count in (4, 1, 25):
        part = greedy.model_copy(update={"max_tokens": count})
        parts.add_answer(session.generate(parts.ids, part, stop_ids=()))
        assert parts.is_cut_off
        assert parts.wants_answer
    assert parts.answer == TOKENIZER.decode(once)
    assert session.cached_ids == [*whole.ids, *once[:-1]]
    # Asked something else, it ends where it was.
    parts.add_user("and?")
    assert parts.ids == [*whole.ids, *once, END, *OwnFormat(TOKENIZER).generation_prompt([Message("user", "and?")])]


def test_half_a_character_at_the_end_of_a_cut_off_answer_is_left_out() -> None:
    turns = Turns(OwnFormat(TOKENIZER), TOKENIZER)
    turns.add_user("hi")
    turns.add_answer([Token(i, "", None, None) for i in TOKENIZER.encode("né€")[:-1]])
    assert turns.answer == "né"
    assert turns.ids[-3:] == TOKENIZER.encode("né")


def test_a_stop_string_ends_an_answer() -> None:
    turns = Turns(OwnFormat(TOKENIZER), TOKENIZER)
    turns.add_user("hi")
    sample = SampleConfig(temperature=0, max_tokens=40)
    free = "".join(token.text for token in generate(MODEL, TOKENIZER, turns.ids, sample, stop_ids=()))
    turns.add_answer(generate(MODEL, TOKENIZER, turns.ids, sample, stop=[free[10:13]], stop_ids=()))
    assert turns.answer == free[: free.index(free[10:13])]
    assert not turns.is_cut_off


def test_a_question_without_an_answer_gives_way_to_the_next() -> None:
    turns = Turns(OwnFormat(TOKENIZER), TOKENIZER)
    assert not turns.take_back_answer()
    assert not turns.take_back_turn()
    turns.add_user("what")
    turns.add_answer([])
    assert (turns.answer, turns.wants_answer) == (None, True)
    turns.add_user("who")
    assert turns.messages == turns.prompt == (Message("user", "who"),)
    turns.add_answer([Token(END, "", None, "stop")])
    assert (turns.answer, turns.wants_answer) == ("", False), "an empty answer is an answer"
    assert turns.text == "user: who\n\nassistant: "


@pytest.mark.parametrize("system", [None, "Be kind."])
def test_turns_are_taken_back_one_by_one(system: str | None) -> None:
    turns = Turns(OwnFormat(TOKENIZER), TOKENIZER)
    turns.system = system
    begun = turns.messages
    for asked in ("one", "two"):
        turns.add_user(asked)
        turns.add_answer([Token(5 + 65, "A", None, None), Token(END, "", None, "stop")])
    assert turns.take_back_answer()
    assert turns.messages[-1] == Message("user", "two")
    assert turns.take_back_answer(), "the question can still be answered"
    assert turns.take_back_turn()
    assert turns.messages == (*begun, Message("user", "one"), Message("assistant", "A"))
    assert turns.take_back_turn()
    assert not turns.take_back_turn()
    assert turns.messages == begun
