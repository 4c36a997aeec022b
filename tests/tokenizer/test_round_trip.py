"""Every text comes back as it was, from every kind of tokenizer, and never through a special id."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlxllm.errors import DataError
from mlxllm.tokenizer import (
    FIRST_BYTE_ID,
    FIRST_LEARNED_ID,
    SPECIAL_TOKENS,
    StreamDecoder,
    Tokenizer,
)

# What the strategies for characters find too seldom: marks that libraries use, line ends, broken neighbours.
NASTY = [
    "",
    " ",
    "   leading and trailing   ",
    "a\r\nb\rc\nd\n\n\n\te\t\t f\v\f\x1c\x85\u2028",
    "\0null\0\0",
    "\u2581 \u2581\u2581a\u2581 b",
    "\u2585 \ufffd \ufeffbom \ufffe\uffff\U0010ffff",
    "e\u0301 a\u0308\u0323 \u1100\u1161\u11a8",
    "👩‍👩‍👧‍👦 ❤️ 🇩🇪 👍🏽",
    "\ue000\ue001\ue002\ue003",
    "<0x41><0x0A><unk></s><s>▁the",
    "".join(SPECIAL_TOKENS),
    "<|endoftext|>\n<|end|> <|end |><|assistant|",
    "x = {'a': 1}\n\n        return   x  # tabs\tand spaces",
    "\u200b\u200d\u202e\u00a0\u3000",
]

SETTINGS = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
ANY_TEXT = st.one_of(
    st.text(),
    st.text(alphabet=st.sampled_from(" \n\t\r\u2581\0<|>aethe.\"'é日\u0301😀\ue000")),
    st.lists(st.sampled_from([*SPECIAL_TOKENS, *NASTY, "the", " fox", "\n    "])).map("".join),
)


@SETTINGS
@given(text=ANY_TEXT)
def test_any_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert all(FIRST_BYTE_ID <= i < tokenizer.vocab_size for i in ids)


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert not set(ids) & set(tokenizer.special_ids.values())
    assert sum(tokenizer.byte_lengths()[ids]) == len(text.encode())


def test_every_code_point_comes_back(tokenizer: Tokenizer) -> None:
    everything = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x110000)]))
    (ids,) = tokenizer.encode_to_array([everything])
    assert tokenizer.decode(ids) == everything


@SETTINGS
@given(batch=st.lists(ANY_TEXT, max_size=5))
def test_batches_are_the_single_texts(tokenizer: Tokenizer, batch: list[str]) -> None:
    arrays = tokenizer.encode_to_array(batch)
    assert [a.tolist() for a in arrays] == [tokenizer.encode(text) for text in batch]
    assert all(a.dtype == np.uint32 and a.ndim == 1 for a in arrays)


def test_special_tokens_have_fixed_ids_and_decode_to_their_spelling(tokenizer: Tokenizer) -> None:
    assert tokenizer.special_ids == {
        "<|endoftext|>": 0,
        "<|system|>": 1,
        "<|user|>": 2,
        "<|assistant|>": 3,
        "<|end|>": 4,
    }
    assert tokenizer.eot_id == 0
    ids = [2, *tokenizer.encode("hi"), 4, 0]
    assert tokenizer.decode(ids) == "<|user|>hi<|end|><|endoftext|>"
    assert [tokenizer.token_bytes(i) for i in range(5)] == [b""] * 5
    assert [tokenizer.piece(i) for i in range(5)] == list(SPECIAL_TOKENS)


def test_each_byte_has_its_id_and_broken_utf8_is_replaced(tokenizer: Tokenizer) -> None:
    for byte in range(256):
        assert tokenizer.decode_bytes([FIRST_BYTE_ID + byte]) == bytes([byte])
    broken = [FIRST_BYTE_ID + byte for byte in b"a\xffb\xe2\x96"]
    assert tokenizer.decode(broken) == "a\ufffdb\ufffd"
    assert tokenizer.decode_bytes(broken) == b"a\xffb\xe2\x96"


def test_ids_outside_the_vocabulary_are_refused(tokenizer: Tokenizer) -> None:
    for bad in (-1, tokenizer.vocab_size):
        with pytest.raises(DataError, match=f"token id {bad} is not in the vocabulary"):
            tokenizer.decode([FIRST_BYTE_ID, bad])
        with pytest.raises(DataError, match=f"token id {bad} "):
            tokenizer.token_bytes(bad)
        with pytest.raises(DataError, match=f"token id {bad} "):
            tokenizer.piece(bad)
    assert tokenizer.decode(np.array([FIRST_BYTE_ID + 65], dtype=np.uint16)) == "A"
    assert tokenizer.decode(iter([np.int64(FIRST_BYTE_ID + 65)])) == "A"


@pytest.mark.parametrize(("text", "position"), [("ab\ud83dcd", "2"), ("x" * 30_000 + "\udc00", "30,000")])
def test_lone_surrogates_are_refused_with_their_place(tokenizer: Tokenizer, text: str, position: str) -> None:
    for call in (tokenizer.encode, lambda text: tokenizer.encode_to_array(["fine", text])):
        with pytest.raises(DataError, match=rf"lone surrogate U\+D[8C][03][0D] at character {position}"):
            call(text)


def test_the_layout_of_ids(tokenizers: dict[str, Tokenizer], texts: list[str]) -> None:
    characters = sorted(set("".join(texts)))
    assert tokenizers["byte"].vocab_size == FIRST_LEARNED_ID == 261
    assert tokenizers["char"].vocab_size == 261 + len(characters)
    assert tokenizers["char"].encode("".join(characters)) == list(range(261, 261 + len(characters)))
    assert tokenizers["char"].encode("ß€") == [261 + characters.index("ß"), *(5 + b for b in "€".encode())]
    assert tokenizers["byte"].encode("Aé") == [5 + b for b in "Aé".encode()]


def test_byte_lengths_are_those_of_the_bytes(tokenizer: Tokenizer) -> None:
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    assert lengths.tolist() == [len(tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]


@SETTINGS
@given(data=st.data())
def test_streaming_gives_what_decoding_gives(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=40))
    text = data.draw(ANY_TEXT)
    for sequence in (ids, tokenizer.encode(text)):
        decoder = StreamDecoder(tokenizer)
        parts = [decoder.add(i) for i in sequence]
        parts.append(decoder.flush())
        assert "".join(parts) == tokenizer.decode(sequence)
        # flush leaves nothing behind
        assert decoder.flush() == ""


def test_streaming_holds_half_characters_back(tokenizers: dict[str, Tokenizer]) -> None:
    decoder = StreamDecoder(tokenizers["byte"])
    ids = tokenizers["byte"].encode("a😀é")
    assert [decoder.add(i) for i in ids] == ["a", "", "", "", "😀", "", "é"]
    assert decoder.add(5 + 0xE2) == ""
    assert decoder.add(tokenizers["byte"].special_ids["<|end|>"]) == "\ufffd<|end|>"
    assert decoder.add(5 + 0xE2) == ""
    assert decoder.flush() == "\ufffd"
