"""A session answers as if it had computed everything anew, and computes only what is new."""

import random

import pytest

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError
from mlxllm.inference.generate import Generation, Token, generate
from mlxllm.inference.session import GrowingText, Session
from mlxllm.model.transformer import Transformer
from tests.inference.tiny import TOKENIZER, tiny, writing_letters

MODEL = tiny()
GREEDY = SampleConfig(temperature=0, max_tokens=9)


def ids_of(generation: Generation) -> list[int]:
    return [token.id for token in generation]


def anew(token_ids: list[int], model: Transformer = MODEL) -> list[int]:
    return ids_of(generate(model, TOKENIZER, token_ids, GREEDY, stop_ids=()))


def text(word: str) -> list[int]:
    return TOKENIZER.encode(word)


def test_only_the_new_part_is_computed():
    session = Session(MODEL, TOKENIZER)
    prompt = text("Once upon a time")
    first = ids_of(session.generate(prompt, GREEDY, stop_ids=()))
    assert first == anew(prompt)
    assert session.cached_ids == prompt + first[:-1]
    longer = prompt + first + text(" and then")
    second = session.generate(longer, GREEDY, stop_ids=())
    assert ids_of(second) == anew(longer)
    # The last token of the first answer had not been fed, so it is new as well.
    assert second.stats.cached_tokens == len(prompt + first) - 1
    assert second.fed[: len(longer) - second.stats.cached_tokens] == first[-1:] + text(" and then")


def test_an_edit_cuts_the_cache_back_to_the_common_beginning():
    session = Session(MODEL, TOKENIZER)
    ids_of(session.generate(text("The red fox"), GREEDY, stop_ids=()))
    edited = text("The read book")
    again = session.generate(edited, GREEDY, stop_ids=())
    assert again.stats.cached_tokens == len("The re")
    assert ids_of(again) == anew(edited)


def test_the_same_prompt_again_computes_one_token():
    session = Session(MODEL, TOKENIZER)
    prompt = text("Once upon a time")
    first = ids_of(session.generate(prompt, GREEDY, stop_ids=()))
    second = session.generate(prompt, GREEDY, stop_ids=())
    assert ids_of(second) == first
    assert second.stats.cached_tokens == len(prompt) - 1


@pytest.mark.parametrize("limits", [{}, {"max_kv_size": 24}])
def test_any_series_of_edits_and_interruptions_equals_a_fresh_start(limits):
    rng = random.Random(5)
    session = Session(MODEL, TOKENIZER, **limits)
    so_far: list[int] = text("begin")
    for _ in range(15):
        change = rng.choice(["extend", "cut", "reset", "same", "empty"])
        if change == "extend":
            so_far = so_far + text(rng.choice(["a", " word", " and more of it"]))
        elif change == "cut":
            so_far = so_far[: rng.randrange(1, len(so_far) + 1)] if so_far else so_far
        elif change == "reset":
            session.reset()
            assert session.cached_ids == []
        elif change == "empty":
            so_far = []
        generation = session.generate(so_far, GREEDY, stop_ids=())
        said = []
        for token in generation:
            said.append(token.id)
            if rng.random() < 0.1:
                break  # interrupted: the generation is simply dropped
        fresh = Session(MODEL, TOKENIZER, **limits).generate(so_far, GREEDY, stop_ids=())
        assert said == ids_of(fresh)[: len(said)]
        so_far = so_far + said


def test_an_old_generation_cannot_spoil_the_cache_of_a_new_one():
    session = Session(MODEL, TOKENIZER)
    old = session.generate(text("abc"), GREEDY, stop_ids=())
    next(old)
    new = session.generate(text("abd"), GREEDY, stop_ids=())
    next(new)
    assert list(old) == []
    assert ids_of(new) == anew(text("abd"))[1:]


def test_a_refused_request_leaves_the_session_usable():
    model = tiny(positions="learned", max_position_embeddings=16)
    session = Session(model, TOKENIZER)
    ids_of(session.generate(text("abcdef"), GREEDY, stop_ids=()))
    with pytest.raises(ConfigError, match="end after 16"):
        session.generate(text("abcdef" * 3), GREEDY)
    with pytest.raises(ConfigError, match="no token 999"):
        session.generate(text("abcd"), GREEDY, logit_bias={999: 1.0})
    assert ids_of(session.generate(text("abcxyz"), GREEDY, stop_ids=())) == anew(text("abcxyz"), model)


def test_a_bounded_cache_stays_bounded():
    unbounded, bounded = Session(MODEL, TOKENIZER), Session(MODEL, TOKENIZER, max_kv_size=16)
    prompt = text("x" * 700)
    for session in (unbounded, bounded):
        ids_of(session.generate(prompt, GREEDY, stop_ids=()))
    # Keys and values, two layers, two heads of eight float32 each.
    assert bounded.nbytes == 16 * 2 * 2 * 2 * 8 * 4
    assert unbounded.nbytes >= 700 * 2 * 2 * 2 * 8 * 4


def test_a_quantised_cache_is_smaller_and_can_be_cut_back():
    model = tiny(hidden_size=128)
    whole, small = Session(model, TOKENIZER), Session(model, TOKENIZER, kv_bits=8)
    prompt = text("Once upon a time")
    for session in (whole, small):
        ids_of(session.generate(prompt, GREEDY, stop_ids=()))
    assert small.nbytes < 0.4 * whole.nbytes
    again = small.generate(prompt[:8], GREEDY, stop_ids=())
    assert ids_of(again) == ids_of(Session(model, TOKENIZER, kv_bits=8).generate(prompt[:8], GREEDY, stop_ids=()))
    assert again.stats.cached_tokens == 7


@pytest.mark.parametrize("limits", [{"kv_bits": 3}, {"max_kv_size": 2}, {"kv_bits": 8, "max_kv_size": 64}])
def test_an_impossible_cache_is_a_config_error(limits):
    with pytest.raises(ConfigError, match="cache"):
        Session(tiny(hidden_size=128), TOKENIZER, **limits)


def test_a_growing_text_follows_what_both_sides_write():
    growing = GrowingText(TOKENIZER)
    assert (growing.ids, growing.text) == ([TOKENIZER.eot_id], "")
    growing.add_user("Once")
    assert growing.ids == text("Once")
    growing.add_answer([Token(i, chr(i - 5), None, None) for i in text(" upon")])
    growing.add_user("a time")
    assert growing.text == "Once upon a time"
    growing.add_user(", they say\n")
    growing.add_user("The")
    assert growing.text == "Once upon a time, they say\nThe"
    assert not growing.take_back_answer()  # the user wrote since
    growing.reset()
    assert growing.ids == [TOKENIZER.eot_id]


def test_an_answer_can_be_taken_back_and_end_of_text_is_left_out():
    growing = GrowingText(TOKENIZER)
    growing.add_user("Hi")
    growing.add_answer([Token(text("!")[0], "!", None, None), Token(TOKENIZER.eot_id, "", None, "stop")])
    assert growing.ids == text("Hi!")
    assert growing.take_back_answer()
    assert growing.ids == text("Hi")
    assert not growing.take_back_answer()


def test_a_stop_string_does_not_become_part_of_the_text():
    model = writing_letters()
    plain = SampleConfig(temperature=0, max_tokens=40)
    free = "".join(t.text for t in generate(model, TOKENIZER, text("A"), plain))
    stop = free[10:13]
    growing = GrowingText(TOKENIZER)
    growing.add_user("A")
    growing.add_answer(generate(model, TOKENIZER, text("A"), plain, stop=[stop]))
    assert growing.text == "A" + free[: free.index(stop)]


def test_half_a_character_at_the_end_is_left_for_the_next_answer():
    growing = GrowingText(TOKENIZER)
    half = text("né€")[:-1]
    growing.add_answer([Token(i, "", None, None) for i in half])
    assert growing.text == "né"
    assert growing.ids == [TOKENIZER.eot_id, *text("né")]
    broken = GrowingText(TOKENIZER)
    broken.add_answer([Token(i, "", None, None) for i in [5 + 0x80] * 6])
    assert broken.text == "\ufffd" * 6
