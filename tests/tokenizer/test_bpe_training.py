"""What BPE learns, that it learns the same everywhere, and that other readers find the same ids."""

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import sentencepiece
import tokenizers as huggingface
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import FIRST_LEARNED_ID, train_tokenizer
from mlxllm.tokenizer.bpe import CHUNK_CHARS, BpeTokenizer
from mlxllm.tokenizer.bpe_training import train_bpe
from mlxllm.tokenizer.pretokens import count_pretokens, sample_texts
from tests.tokenizer.corpus import corpus


@pytest.fixture(scope="module")
def bpe() -> BpeTokenizer:
    return train_bpe(corpus(documents=200), 460)


def test_white_space_is_learned_like_words(bpe: BpeTokenizer) -> None:
    assert bpe.vocab_size == 460
    assert len(bpe.encode("\n")) == 1
    assert {"\n", "\n\n", " ", " the", " fox", ":\n    "} <= set(bpe.pieces)
    code = "    if width:\n        return None\n"
    assert len(bpe.encode(code)) < len(code) / 2


def test_pieces_stay_within_words_and_single_digits(bpe: BpeTokenizer) -> None:
    for piece in bpe.pieces:
        assert len(piece) == 1 or not re.search(r"\d", piece), piece
        assert not re.search(r"[A-Za-z0-9]\s", piece), piece
        assert not re.search(r"[A-Za-z][!-/:-@]", piece), piece
    assert len(bpe.encode("20241105")) == 8


def test_a_text_that_is_exhausted_gives_a_smaller_vocabulary_without_filler() -> None:
    tokenizer = train_bpe(["abab abab\n"] * 5, 2000)
    assert set(tokenizer.pieces) == {"ab", "abab", " abab", " ", "a", "b", "\n"}
    assert tokenizer.vocab_size == FIRST_LEARNED_ID + 7
    for text in ("abab abab", "bababab a\n\n", "é"):
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_more_characters_than_room_leaves_the_rare_ones_to_bytes() -> None:
    rng = random.Random(5)
    characters = [chr(0x4E00 + i) for i in range(3000)]
    text = "".join(rng.choices(characters, weights=[1 / (i + 1) for i in range(3000)], k=30_000))
    tokenizer = train_bpe([text], 400)
    assert tokenizer.vocab_size == 400
    assert {"一", "丁"} <= set(tokenizer.pieces)
    singles = [piece for piece in tokenizer.pieces if len(piece) == 1]
    assert len(singles) == 70
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_text_that_cannot_be_learned_from_is_still_spelled() -> None:
    tokenizer = train_bpe(["\u2581\0\u2585\ue000"], 300)
    assert tokenizer.pieces == ()
    assert tokenizer.decode(tokenizer.encode("a\u2581\0")) == "a\u2581\0"


def test_the_same_text_gives_the_same_tokenizer_in_any_order_and_process() -> None:
    texts = corpus(seed=3)
    expected = train_bpe(texts, 500).fingerprint
    shuffled = random.Random(1).sample(texts, len(texts))
    assert train_bpe(iter(shuffled), 500).fingerprint == expected
    code = (
        "from mlxllm.tokenizer import train_tokenizer\n"
        "from tests.tokenizer.corpus import corpus\n"
        "print(train_tokenizer('bpe', corpus(seed=3), vocab_size=500).fingerprint)"
    )
    root = Path(__file__).parents[2]
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(root)}
        found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert found.stdout.strip() == expected, found.stderr
    assert train_bpe(texts, 501).fingerprint != expected
    assert train_bpe(corpus(seed=4), 500).fingerprint != expected


def test_sentencepiece_itself_reads_the_model_file(bpe: BpeTokenizer, tmp_path: Path) -> None:
    bpe.save(tmp_path / "t")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "t" / "tokenizer.model"))
    assert processor.vocab_size() == bpe.vocab_size
    for text in (*corpus(seed=9, documents=5), "a\u2581 b\0  \r\n<|end|>é"):
        assert processor.encode(text) == bpe.encode(text)


def test_an_independent_bpe_finds_the_same_ids() -> None:
    """Our pieces, as merges of a tokenizer.json without a normaliser, spell every text alike."""
    rng = random.Random(7)
    # Few letters, many overlaps: the order of merges decides everywhere.
    dense = "".join(rng.choices(["aba", "bab", "a", "aa", "abab", "\n", " "], k=8000))
    for tokenizer, text in (
        (train_bpe(corpus(documents=80), 600), "".join(corpus(seed=1))),
        (train_bpe([dense], 700), dense),
    ):
        other = _as_huggingface(tokenizer)
        for _ in range(500):
            start = rng.randrange(len(text) - 100)
            sample = text[start : start + rng.randrange(100)]
            noise = "".join(rng.choices("ab \n\u2581\0é<|endoftxUsr>\t\r😀日the'.", k=rng.randrange(50)))
            for candidate in (sample, noise, sample + noise):
                ids = other.encode(candidate).ids
                assert ids == tokenizer.encode(candidate), candidate
                assert other.decode(ids) == candidate


def _as_huggingface(tokenizer: BpeTokenizer) -> huggingface.Tokenizer:
    pieces = set(tokenizer.pieces)
    merges = [
        (piece[:i], piece[i:])
        for piece in tokenizer.pieces
        for i in range(1, len(piece))
        if piece[:i] in pieces and piece[i:] in pieces
    ]
    vocabulary = {tokenizer.piece(i): i for i in range(tokenizer.vocab_size)}
    model = huggingface.models.BPE(vocab=vocabulary, merges=merges, byte_fallback=True)
    other = huggingface.Tokenizer(model)
    other.decoder = huggingface.decoders.Sequence([huggingface.decoders.ByteFallback(), huggingface.decoders.Fuse()])
    return other


@pytest.mark.parametrize("filler", ["", " " * 20_000, "the " * 9000, "日本" * 9000, "\n    " * 6000])
def test_long_texts_are_cut_without_changing_an_id(bpe: BpeTokenizer, filler: str) -> None:
    text = "".join(corpus(seed=6, documents=40)) + filler + "".join(corpus(seed=7, documents=20))
    assert len(text) > 2 * CHUNK_CHARS
    whole = sentencepiece.SentencePieceProcessor(model_proto=bpe.model_files()["tokenizer.model"]).encode(text)
    assert bpe.encode(text) == whole
    first, empty, second = bpe.encode_to_array([text, "", "short"])
    assert first.tolist() == whole
    assert empty.tolist() == []
    assert second.tolist() == bpe.encode("short")


@given(text=st.text() | st.text(alphabet="ab \n\t\r_'st.,1é\u0301日\u2019\u2003"))
def test_stretches_joined_are_the_text(text: str) -> None:
    counts = count_pretokens([text])
    assert sum(len(stretch) * count for stretch, count in counts.items()) == len(text)
    characters: Counter[str] = Counter()
    for stretch, count in counts.items():
        for char in stretch:
            characters[char] += count
    assert characters == Counter(text)


def test_stretches_are_words_digits_punctuation_and_white_space() -> None:
    text = "Don't stop, he said.\n\n    x_1 = __init__(42)  # नमस्ते\n"
    expected = [
        "Don",
        "'t",
        " stop",
        ",",
        " he",
        " said",
        ".\n\n    ",
        "x",
        "_",
        "1",
        " =",
        " __",
        "init",
        "__(",
    ]
    expected += ["4", "2", ")", "  ", "#", " नमस्ते", "\n"]
    assert count_pretokens([text]) == Counter(expected)


def test_large_input_is_sampled_evenly_and_alike() -> None:
    documents = [f"{i:05d} " * 10 for i in range(2000)]
    sample = sample_texts(iter(documents), max_chars=12_000, seed=1)
    assert sum(map(len, sample)) <= 12_000
    assert len(sample) == 200
    assert set(sample) <= set(documents)
    early = sum(int(text[:5]) < 1000 for text in sample)
    assert 70 <= early <= 130
    assert sorted(sample) == sorted(sample_texts(documents, 12_000, 1))
    assert sorted(sample) != sorted(sample_texts(documents, 12_000, 2))
    assert sorted(sample_texts(documents, 10**9, 1)) == documents
    long = " ".join(documents) * 4
    parts = sample_texts([long], 100_000, 0)
    assert 0 < sum(map(len, parts)) <= 100_000
    assert all(part in long for part in parts)
    assert train_bpe(documents, 300, sample_chars=6000).vocab_size <= 300


@pytest.mark.parametrize("size", [-5, 0, 261, 10**9])
def test_an_impossible_vocabulary_size_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=r"choose 262 to 1,048,576"):
        train_tokenizer("bpe", ["text"], vocab_size=size)


def test_the_smallest_vocabulary_works() -> None:
    tokenizer = train_tokenizer("bpe", ["aaaa bbbb"], vocab_size=262)
    assert tokenizer.vocab_size == 262
    assert tokenizer.decode(tokenizer.encode("abab")) == "abab"


@pytest.mark.parametrize("kind", ["char", "bpe"])
def test_training_needs_text(kind: str) -> None:
    for nothing in ([], ["", ""]):
        with pytest.raises(DataError, match="the input is empty"):
            train_tokenizer(kind, nothing)
    with pytest.raises(DataError, match=r"training text holds the lone surrogate U\+D83D"):
        train_tokenizer(kind, ["fine", "a\ud83d"])


def test_a_kind_that_does_not_exist_or_has_no_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="no tokenizer kind 'word'; known are char, byte, bpe"):
        train_tokenizer("word", ["text"])
    for kind in ("char", "byte"):
        with pytest.raises(ConfigError, match=rf"a {kind} tokenizer has no vocabulary size to choose \(2,048\)"):
            train_tokenizer(kind, ["text"], vocab_size=2048)


@pytest.mark.data
def test_tiny_shakespeare_has_65_characters(test_data: Path) -> None:
    text = (test_data / "text" / "tinyshakespeare.txt").read_text(encoding="utf-8")
    tokenizer = train_tokenizer("char", [text])
    ids = tokenizer.encode_to_array([text])[0]
    assert tokenizer.vocab_size == FIRST_LEARNED_ID + 65
    assert sorted(set(ids.tolist())) == list(range(261, 326))
    assert len(ids) == len(text)
