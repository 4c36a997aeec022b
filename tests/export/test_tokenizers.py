"""Our tokenizers in the `tokenizers` library: the same ids, and the same text back."""

import json
from collections.abc import Callable
from functools import cache

import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import ModelError
from mlxllm.export.tokenizers import merge_rules, tokenizer_json
from mlxllm.tokenizer import SPECIAL_TOKENS, Tokenizer, train_tokenizer
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.tokenizer.corpus import corpus

CHARACTERS = "".join(map(chr, [*range(0x3000), *range(0x3000, 0xD800, 5), *range(0xE000, 0x110000, 5)]))
UNUSUAL = [
    "",
    " ",
    "a\r\nb\rc\nd\n\n\n\te\t\t f\v\f\x1c\x85\u2028\u2029",
    "\0null\0\0\x7f\x80",
    "\u2581 \u2581\u2581a\u2581 b \u0180a \u0120 \u00e9\u00c3\u00a9",
    "\ufffd \ufeffbom \ufffe\uffff\U0010ffff",
    "e\u0301 a\u0308\u0323 \u1100\u1161\u11a8 ﬁ Å ǅ",
    "👩‍👩‍👧‍👦 ❤️ 🇩🇪 👍🏽",
    "<0x41><0x0A><unk></s><s>▁the <|end |><|assistant|",
]
MAKERS: dict[str, Callable[[], Tokenizer]] = {
    "byte": ByteTokenizer,
    "char": lambda: train_tokenizer("char", corpus()),
    "char-latin": lambda: CharTokenizer("aé\u0180ÿĀ日😀 \n\u00ad"),
    "bpe": lambda: train_tokenizer("bpe", corpus(), vocab_size=420),
    "bpe-few": lambda: train_tokenizer("bpe", ["ab abab aabb bbaa aaa  a b ba" * 20], vocab_size=300),
}


@cache
def both(name: str) -> tuple[Tokenizer, tokenizers.Tokenizer]:
    ours = MAKERS[name]()
    return ours, theirs_of(ours)


def theirs_of(ours: Tokenizer) -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(json.dumps(tokenizer_json(ours)))


def check(ours: Tokenizer, theirs: tokenizers.Tokenizer, text: str) -> None:
    ids = ours.encode(text)
    assert theirs.encode(text, add_special_tokens=True).ids == ids
    assert theirs.decode(ids, skip_special_tokens=False) == text


def spells_a_special_token(text: str) -> bool:
    return any(token in text for token in SPECIAL_TOKENS)


TEXT = st.one_of(
    st.text(),
    st.text(alphabet="ab "),
    st.text(alphabet="ab ", min_size=50, max_size=400),
    st.text(alphabet=st.sampled_from(" \n\t\r\u2581\0<|>aethe.\"'é日\u0301😀\ue000\u0180")),
    st.lists(st.sampled_from([*UNUSUAL, "the", " fox", "\n    ", "don't"])).map("".join),
).filter(lambda text: not spells_a_special_token(text))


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=60)
@given(text=TEXT)
def test_any_text_has_the_same_ids(name: str, text: str) -> None:
    check(*both(name), text)


@pytest.mark.parametrize("name", MAKERS)
def test_characters_of_all_planes_and_unusual_texts(name: str) -> None:
    ours, theirs = both(name)
    for text in UNUSUAL:
        check(ours, theirs, text)
    for start in range(0, len(CHARACTERS), 1 << 17):
        check(ours, theirs, CHARACTERS[start : start + (1 << 17)])


@pytest.mark.parametrize("name", ["char", "bpe"])
def test_long_texts(name: str) -> None:
    ours, theirs = both(name)
    check(ours, theirs, " ".join(corpus())[:200_000])
    check(ours, theirs, "ab" * 5_000 + "a" * 8_001)


@pytest.mark.parametrize("name", MAKERS)
def test_special_tokens_are_the_reserved_ones(name: str) -> None:
    ours, theirs = both(name)
    text = "<|system|>be kind<|end|><|user|>é\n<|end|><|assistant|>ok<|end|><|endoftext|>"
    ids = ours.encode_with_specials(text)
    assert theirs.encode(text).ids == ids
    assert theirs.decode(ids, skip_special_tokens=False) == text
    assert theirs.decode(ids) == "be kindé\nok"
    assert theirs.get_vocab_size() == ours.vocab_size


@settings(max_examples=120)
@given(data=st.data())
def test_pieces_of_any_kind_are_merged_in_the_same_order(data: st.DataObject) -> None:
    # Pieces that no training would give: with several ways to be put together, and some that nothing leads to.
    letters = data.draw(st.sampled_from(["a", "ab", "abc"]))
    longer = data.draw(st.lists(st.text(letters, min_size=2, max_size=7), unique=True, max_size=14))
    pieces = data.draw(st.permutations([*letters, *longer]))
    ours = BpeTokenizer(pieces)
    theirs = theirs_of(ours)
    for text in data.draw(st.lists(st.text(letters, max_size=60), min_size=1, max_size=6)):
        check(ours, theirs, text)


def test_each_piece_has_one_rule_at_most() -> None:
    assert merge_rules(["a", "aa", "aaa", "aaaa"]) == [("a", "a"), ("aa", "a"), ("aa", "aa")]
    assert merge_rules(["a", "b", "abab"]) == [], "nothing leads to it"
    with pytest.raises(ModelError, match="has the piece 'ba' but none for 'b'"):
        merge_rules(["a", "ba"])


@pytest.mark.parametrize("name", ["byte", "char", "char-latin"])
@settings(max_examples=60)
@given(data=st.data())
def test_any_ids_have_the_same_text(name: str, data: st.DataObject) -> None:
    ours, theirs = both(name)
    ids = data.draw(st.lists(st.integers(0, ours.vocab_size - 1)))
    assert theirs.decode(ids, skip_special_tokens=False) == ours.decode(ids)
