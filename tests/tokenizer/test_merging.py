"""BPE's merges, one after another: they lead to what encoding gives, and the first of them are a smaller tokenizer."""

from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import DataError
from mlxllm.tokenizer import load_tokenizer
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.bpe_training import train_bpe
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.hub import HubTokenizer
from mlxllm.tokenizer.merging import LONGEST, Merge, MergeWalk, merge_count, merges_of, smaller
from tests.tokenizer import foreign
from tests.tokenizer.corpus import corpus

TEXTS = corpus()
PIECES = st.lists(st.text("ab cé\n", min_size=1, max_size=5), unique=True, max_size=30)
TEXT = st.text(st.one_of(st.sampled_from("ab cé\n"), st.characters(codec="utf-8")), max_size=40)


@cache
def trained(vocab_size: int = 600) -> BpeTokenizer:
    return train_bpe(TEXTS, vocab_size)


def check(walk: MergeWalk, tokenizer: BpeTokenizer | HubTokenizer, text: str) -> None:
    assert list(walk.ids) == tokenizer.encode(text)
    symbols = list(walk.first)
    for number, merge in enumerate(walk.merges):
        assert tuple(symbols[merge.at : merge.at + len(merge.parts)]) == merge.parts
        assert merge.piece == "".join(merge.parts)
        symbols[merge.at : merge.at + len(merge.parts)] = [merge.piece]
        assert walk.state(number + 1) == symbols
    if isinstance(tokenizer, HubTokenizer):
        assert symbols == list(walk.last)
    else:  # what no piece covers becomes bytes behind the last merge
        assert "".join(symbols) == text
        assert [tokenizer.piece(i) for i in walk.ids] == list(walk.last)


@given(PIECES, TEXT)
def test_any_pieces_lead_to_what_sentencepiece_gives(pieces: list[str], text: str) -> None:
    """Also pieces that no training would make, in any order."""
    tokenizer = BpeTokenizer(pieces)
    check(merges_of(tokenizer, text), tokenizer, text)


@given(st.one_of(TEXT, st.sampled_from(TEXTS)))
def test_learned_pieces_lead_to_what_sentencepiece_gives(text: str) -> None:
    check(merges_of(trained(), text), trained(), text)


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_merges_of_others_lead_to_what_their_library_gives(kind: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(foreign.write(kind, tmp_path / kind))
    assert isinstance(tokenizer, HubTokenizer)
    merged = 0
    for text in [*foreign.texts(60), *foreign.CORPUS[:3], "", "<think>so   what</think>", "a <|im_end|> b"]:
        walk = merges_of(tokenizer, text)
        check(walk, tokenizer, text)
        merged += len(walk.merges)
    assert merged > 200


def test_the_order_is_that_of_ranks_and_from_the_left() -> None:
    walk = merges_of(BpeTokenizer(["a", "b", "c", "bc", "ab", "abc"]), "abc ab")
    assert walk.merges == (
        Merge(1, ("b", "c"), "bc", 0),
        Merge(3, ("a", "b"), "ab", 1),
        Merge(0, ("a", "bc"), "abc", 2),
    )
    assert walk.state(0) == list("abc ab")
    assert walk.state(2) == ["a", "bc", " ", "ab"]
    assert walk.last == ("abc", "<0x20>", "ab")
    assert walk.rules == 3
    assert [m.at for m in merges_of(BpeTokenizer(["aa"]), "aaaa").merges] == [0, 1]


def test_a_word_that_is_in_the_vocabulary_is_taken_whole(tmp_path: Path) -> None:
    """As Llama 3's file says, and no merge makes it."""
    import json

    folder = foreign.write("llama3", tmp_path / "whole")
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    content["model"]["ignore_merges"] = True
    (folder / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    tokenizer = load_tokenizer(folder)
    assert isinstance(tokenizer, HubTokenizer)
    for text in [*foreign.CORPUS[:3], *foreign.texts(30)]:
        walk = merges_of(tokenizer, text)
        check(walk, tokenizer, text)
    assert any(merge.rank is None and len(merge.parts) > 2 for merge in merges_of(tokenizer, foreign.CORPUS[0]).merges)


@settings(max_examples=40)
@given(st.integers(0, 400), st.one_of(TEXT, st.sampled_from(TEXTS)))
def test_the_first_merges_of_a_learned_one_are_a_smaller_one(merges: int, text: str) -> None:
    """Its tokens are the symbols behind those merges of the whole walk: of what was learned later none comes before."""
    whole = trained()
    part = smaller(whole, merges)
    assert merge_count(part) == min(merges, merge_count(whole))
    walk = merges_of(whole, text)
    steps = sum(merge.rank is not None and merge.rank < merges for merge in walk.merges)
    assert all(merge.rank is not None and merge.rank < merges for merge in walk.merges[:steps])
    check(merges_of(part, text), part, text)
    symbols = [
        b for s in walk.state(steps) for b in ([s] if s in part.pieces else [f"<0x{x:02X}>" for x in s.encode()])
    ]
    assert [part.piece(i) for i in part.encode(text)] == symbols


def test_training_with_a_smaller_vocabulary_makes_that_smaller_one() -> None:
    """So "the same BPE, smaller" is not another one than training would have made."""
    alphabet = {piece for piece in trained().pieces if len(piece) == 1}
    for size in (450, 520):
        small = train_bpe(TEXTS, size)
        assert small.vocab_size == size
        assert {piece for piece in small.pieces if len(piece) == 1} == alphabet
        assert small.pieces == smaller(trained(), merge_count(small)).pieces


@pytest.mark.parametrize("text", ["\ud800", "a" * (LONGEST + 1)])
def test_what_cannot_be_walked_is_one_sentence(text: str) -> None:
    with pytest.raises(DataError, match=r"lone surrogate|20,001 characters; merges are shown of up to 20,000"):
        merges_of(trained(), text)


def test_what_does_not_merge_says_so() -> None:
    with pytest.raises(DataError, match="a byte tokenizer merges nothing: each byte is a token"):
        merges_of(ByteTokenizer(), "x")
