"""Generation with small random models: what comes out, when it ends, and what is left in the cache."""

import codecs
import math

import mlx.core as mx
import numpy as np
import pytest

import mlxllm.inference  # noqa: F401  (prepares MLX)
from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError, ModelError
from mlxllm.inference import generate as module
from mlxllm.inference.generate import generate
from mlxllm.inference.session import Session
from mlxllm.model.kv_cache import make_cache
from mlxllm.tokenizer import FIRST_BYTE_ID
from tests.inference.tiny import TOKENIZER, tiny

GREEDY = SampleConfig(temperature=0, max_tokens=24)
NO_STOP = {"stop_ids": ()}
MODEL = tiny()


def text_of(tokens: list[module.Token]) -> str:
    return "".join(token.text for token in tokens)


def only(allowed: bytes) -> dict[int, float]:
    """A bias that lets a model say these bytes alone."""
    ids = {b + FIRST_BYTE_ID for b in allowed}
    return {i: -math.inf for i in range(TOKENIZER.vocab_size) if i not in ids}


@pytest.mark.parametrize("positions", ["rope", "learned", "sinusoidal", "none"])
def test_greedy_equals_the_full_forward_pass(positions):
    model = tiny(positions=positions)
    ids = TOKENIZER.encode("Once upon")
    tokens = list(generate(model, TOKENIZER, ids, GREEDY, logprobs=True, **NO_STOP))
    for token in tokens:
        logits = model(mx.array([ids]))[0, -1]
        assert token.id == int(mx.argmax(logits))
        assert token.logprob == pytest.approx(float(logits[token.id] - mx.logsumexp(logits)), abs=1e-4)
        ids.append(token.id)
    assert len(tokens) == 24
    assert [t.finish_reason for t in tokens] == [None] * 23 + ["length"]
    assert len({t.id for t in tokens}) > 3  # a model that says one thing over and over would prove little


def test_alternatives_are_the_head_of_the_bare_distribution():
    model = tiny(vocab_size=TOKENIZER.vocab_size + 11)  # a padded embedding: ids without a token are no alternatives
    ids = TOKENIZER.encode("Once upon")
    sample = SampleConfig(temperature=3, top_k=2, max_tokens=6, seed=3)
    plain = list(generate(model, TOKENIZER, ids, sample, **NO_STOP))
    tokens = list(generate(model, TOKENIZER, ids, sample, logprobs=True, alternatives=5, **NO_STOP))
    assert [t.id for t in tokens] == [t.id for t in plain], "looking changes nothing"
    for token in tokens:
        probs = np.array(mx.softmax(model(mx.array([ids]))[0, -1]))
        expected = np.argsort(-probs[: TOKENIZER.vocab_size], kind="stable")[:5]
        assert [i for i, _ in token.alternatives] == expected.tolist()
        assert [p for _, p in token.alternatives] == pytest.approx(probs[expected].tolist(), abs=1e-5)
        ids.append(token.id)
    everything = next(generate(model, TOKENIZER, ids, sample, alternatives=10_000)).alternatives
    assert len(everything) == len({i for i, _ in everything}) == TOKENIZER.vocab_size


def test_a_long_prompt_can_be_interrupted_while_it_is_read(monkeypatch):
    monkeypatch.setattr(module, "PREFILL_CHUNK", 5)
    session, whole = Session(MODEL, TOKENIZER), TOKENIZER.encode("abcdefghijklmnopq")
    asked: list[int] = []
    stopped = session.generate(whole, GREEDY, interrupted=lambda: asked.append(1) or len(asked) == 2, **NO_STOP)
    assert list(stopped) == []
    assert stopped.stats.finish_reason is None
    assert session.cached_ids == whole[:10]
    again = session.generate(whole, GREEDY, **NO_STOP)
    assert [t.id for t in again] == [t.id for t in generate(MODEL, TOKENIZER, whole, GREEDY, **NO_STOP)]
    assert again.stats.cached_tokens == 10, "what was read is not read again"


def test_a_long_prompt_is_prefilled_in_chunks_and_each_token_once(monkeypatch):
    seen: list[int] = []
    whole = TOKENIZER.encode("abcdefghijklmnopq")
    expected = [t.id for t in generate(MODEL, TOKENIZER, whole, GREEDY, **NO_STOP)]
    monkeypatch.setattr(module, "PREFILL_CHUNK", 5)
    monkeypatch.setattr(module, "cpu_step", lambda model, cache: None)
    body = type(MODEL.model)
    original = body.__call__
    monkeypatch.setattr(body, "__call__", lambda self, ids, *a: (seen.append(ids.shape[1]), original(self, ids, *a))[1])
    cache = make_cache(MODEL.config)
    generation = generate(MODEL, TOKENIZER, whole, GREEDY, cache=cache, **NO_STOP)
    assert [t.id for t in generation] == expected
    assert seen == [5, 5, 5, 2] + [1] * 23
    # The last token was chosen but never needed.
    assert generation.fed == whole + expected[:-1]
    assert cache[0].offset == len(generation.fed)


def test_an_empty_prompt_begins_after_end_of_text():
    empty = generate(MODEL, TOKENIZER, [], GREEDY)
    after = generate(MODEL, TOKENIZER, [TOKENIZER.eot_id], GREEDY)
    assert list(empty) == list(after)
    assert (empty.stats.prompt_tokens, after.stats.prompt_tokens) == (0, 1)


def test_a_cache_is_continued():
    ids = TOKENIZER.encode("The quick brown fox")
    expected = [t.id for t in generate(MODEL, TOKENIZER, ids, GREEDY, **NO_STOP)]
    cache = make_cache(MODEL.config)
    first = generate(MODEL, TOKENIZER, ids[:7], GREEDY, cache=cache, max_tokens=1)
    next(first)
    assert cache[0].offset == 7
    rest = generate(MODEL, TOKENIZER, ids[7:], GREEDY, cache=cache, **NO_STOP)
    assert [t.id for t in rest] == expected
    with pytest.raises(ValueError, match="one more token"):
        generate(MODEL, TOKENIZER, [], GREEDY, cache=cache)


def test_stopping_early_leaves_cache_and_fed_in_agreement():
    cache = make_cache(MODEL.config)
    generation = generate(MODEL, TOKENIZER, TOKENIZER.encode("abc"), GREEDY, cache=cache, **NO_STOP)
    first = [next(generation).id for _ in range(4)]
    assert generation.fed == TOKENIZER.encode("abc") + first
    assert [layer.offset for layer in cache] == [7, 7]
    assert generation.stats.finish_reason is None


def test_text_equals_decoding_and_never_holds_half_a_character():
    # Bytes of two and three byte characters only: much of what is drawn is no character at all.
    bias = only("é€ü".encode())
    shown, halves, cut = "", 0, 0
    for seed in range(8):
        sample = SampleConfig(temperature=1.5, seed=seed, max_tokens=40)
        tokens = list(generate(MODEL, TOKENIZER, [], sample, logit_bias=bias, **NO_STOP))
        for n in range(1, len(tokens) + 1):
            # At any time all is shown but the bytes that may still become a character.
            spelled = TOKENIZER.decode_bytes(t.id for t in tokens[:n])
            whole = codecs.getincrementaldecoder("utf-8")("replace").decode(spelled)
            assert text_of(tokens[:n]) == whole
        shown += whole
        halves += sum(t.text == "" for t in tokens)
        cut += whole != spelled.decode(errors="replace")
    assert halves > 20
    assert cut > 1
    assert sum(map(shown.count, "é€ü")) > 10


def test_an_end_of_text_inside_a_character_shows_that_it_is_spoiled():
    # All that the model can say is the first byte of a character, or nothing more.
    start = FIRST_BYTE_ID + "é".encode()[0]
    bias = {i: -math.inf for i in range(TOKENIZER.vocab_size) if i not in (start, TOKENIZER.eot_id)}
    ends = []
    for seed in range(8):
        sample = SampleConfig(temperature=5.0, seed=seed, max_tokens=400)
        tokens = list(generate(MODEL, TOKENIZER, [start], sample, logit_bias=bias))
        if len(tokens) > 1:
            ends.append((tokens[-1].text, tokens[-1].finish_reason))
    assert ends
    assert set(ends) == {("\ufffd", "stop")}


def test_end_of_text_ends_it_and_is_no_text():
    bias = {TOKENIZER.eot_id: 3.0}
    ended = None
    for seed in range(20):
        generation = generate(MODEL, TOKENIZER, [], SampleConfig(seed=seed, max_tokens=60), logit_bias=bias)
        tokens = list(generation)
        if tokens[-1].finish_reason == "stop" and len(tokens) > 3:
            ended = tokens
            assert tokens[-1].id == TOKENIZER.eot_id
            assert text_of(tokens) == TOKENIZER.decode(t.id for t in tokens[:-1])
            assert generation.stats.finish_reason == "stop"
    assert ended, "no seed ended its text; the test proves nothing"
    on = list(generate(MODEL, TOKENIZER, [], SampleConfig(max_tokens=60), logit_bias={0: 80.0}, **NO_STOP))
    assert len(on) == 60
    assert text_of(on) == "<|endoftext|>" * 60


def test_a_stop_string_across_tokens_is_cut_off():
    bias = only(b"ab")
    sample = SampleConfig(temperature=2.0, seed=1, max_tokens=60)
    free = text_of(list(generate(MODEL, TOKENIZER, [], sample, logit_bias=bias)))
    at = free.index("abb")
    generation = generate(MODEL, TOKENIZER, [], sample, logit_bias=bias, stop=["abb", "nowhere"])
    tokens = list(generation)
    assert text_of(tokens) == free[:at]
    assert len(tokens) == at + 3
    assert tokens[-1].finish_reason == "stop"
    # What might have become the stop string is given when it can no longer.
    whole = text_of(list(generate(MODEL, TOKENIZER, [], sample, logit_bias=bias, stop=[free + "a"])))
    assert whole == free


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_positions_that_end_end_the_text_with_a_sentence(positions):
    model = tiny(positions=positions, max_position_embeddings=16)
    generation = generate(model, TOKENIZER, TOKENIZER.encode("0123456789"), GREEDY, **NO_STOP)
    tokens = list(generation)
    assert len(tokens) == 7  # six are fed at positions 10 to 15, and the last of them gives one more
    assert tokens[-1].finish_reason == "length"
    assert f"{positions} positions end after 16 tokens" in generation.stats.note
    full = generate(model, TOKENIZER, [5] * 16, GREEDY, **NO_STOP)
    assert len(list(full)) == 1
    with pytest.raises(ConfigError, match="17 tokens, but this model's"):
        generate(model, TOKENIZER, [5] * 17, GREEDY)
    short = generate(model, TOKENIZER, [5] * 4, GREEDY, max_tokens=3, **NO_STOP)
    list(short)
    assert short.stats.note == ""


@pytest.mark.parametrize("token_id", [-1, TOKENIZER.vocab_size, 2**40])
def test_ids_outside_the_vocabulary_are_refused(token_id):
    with pytest.raises(ConfigError, match=f"token 1 of the prompt has the id {token_id}"):
        generate(MODEL, TOKENIZER, [5, token_id], GREEDY)


def test_rows_beyond_the_tokenizer_are_never_drawn():
    model = tiny(vocab_size=TOKENIZER.vocab_size + 400)
    sample = SampleConfig(temperature=3.0, max_tokens=60)
    ids = [t.id for t in generate(model, TOKENIZER, [], sample, **NO_STOP)]
    assert max(ids) < TOKENIZER.vocab_size
    with pytest.raises(ConfigError, match="of the prompt"):
        generate(model, TOKENIZER, [TOKENIZER.vocab_size], sample)


def test_a_repetition_penalty_sees_prompt_context_and_what_was_said():
    # So strong that nothing which was seen can come again while there is anything else.
    sample = SampleConfig(temperature=0, repetition_penalty=1e6, repetition_context_size=200, max_tokens=50)
    prompt = TOKENIZER.encode("abcabc")
    ids = [t.id for t in generate(MODEL, TOKENIZER, prompt, sample, **NO_STOP)]
    logits = MODEL(mx.array([prompt]))[0, -1]
    positive = int(mx.sum(logits > 0))
    assert positive > 60  # so many stay above the penalised ones
    assert len({*ids, *prompt}) == len(ids) + 3
    context = generate(MODEL, TOKENIZER, prompt, sample, context=ids[:1], **NO_STOP)
    assert next(context).id != ids[0]


def test_statistics():
    generation = generate(MODEL, TOKENIZER, TOKENIZER.encode("abc"), GREEDY, **NO_STOP)
    assert generation.stats.tokens == 0
    next(generation)
    first = generation.stats.time_to_first_token
    assert 0 < first < 5
    list(generation)
    stats = generation.stats
    assert (stats.prompt_tokens, stats.tokens, stats.time_to_first_token) == (3, 24, first)
    assert stats.tok_per_sec > 1
    assert stats.peak_memory > sum(w.nbytes for w in [MODEL.output_weight()])


def test_dropout_is_off_and_the_mode_is_restored():
    model = tiny(dropout=0.5)
    model.train()
    first = generate(model, TOKENIZER, [], GREEDY, **NO_STOP)
    second = list(generate(model, TOKENIZER, [], GREEDY, **NO_STOP))
    assert list(first) == second
    assert model.training
    stopped = generate(model, TOKENIZER, [], GREEDY)
    next(stopped)
    del stopped
    assert model.training


def test_a_model_that_diverged_says_so():
    model = tiny()
    model.model.norm.weight = mx.full(model.model.norm.weight.shape, math.nan)
    with pytest.raises(ModelError, match="not numbers"):
        next(generate(model, TOKENIZER, [], GREEDY))
