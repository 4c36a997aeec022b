"""Band keys: what they do not see, how often they meet, and that they stay what they are."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.data.clean.near_duplicates import BANDS, NGRAM, ROWS, band_keys, band_keys_of
from mlxllm.data.clean.words import BLOCK_CHARS, word_hashes, word_hashes_of

SENTENCE = "The quick brown fox jumps over the lazy dog, and Zoë's 3,141.59 naïve cats watched it in 2024."


def words(count: int, seed: int) -> list[str]:
    """Different words."""
    drawn = random.Random(seed)
    return ["".join(drawn.choices("abcdefghijklmnopqrstuvwxyz", k=8)) + str(seed) + "x" for _ in range(count)]


def same(one: str, other: str) -> bool:
    keys, others = band_keys(one), band_keys(other)
    assert keys is not None
    assert others is not None
    return bool((keys == others).all())


def test_the_keys_of_a_text_never_change() -> None:
    """They lie in the files of unfinished builds, and decide which documents a dataset has."""
    keys = band_keys(SENTENCE)
    assert keys is not None
    assert [f"{key:016x}" for key in keys.tolist()] == [
        "5799280e62d1d84c",
        "22f67371b59e5113",
        "c4dd80642d524864",
        "6ed96822170540d3",
        "5e09b86ccc418de2",
        "a4a888caee5f3538",
        "76e69c6e72c78890",
        "2a75769465518941",
        "e3b93186b6b0bc41",
        "8a666b4f41e12284",
        "c7fd8975c4505e27",
        "37c8c1fbbc3ab681",
        "f8d34e42af7330a2",
        "c3fdc2b549a01418",
    ]
    blocks = band_keys("\n".join(" ".join(words(50, seed)) for seed in range(300)))
    assert blocks is not None
    assert f"{np.bitwise_xor.reduce(blocks):016x}" == "cfffec0ec882cece"


@pytest.mark.parametrize(
    "other",
    [
        SENTENCE.upper(),
        SENTENCE.replace("dog,", "(dog) --").replace("2024.", "2024!"),
        SENTENCE.replace("ë", "e\u0308").replace("ï", "i"),
        SENTENCE.replace("3,141.59", "7").replace("2024", "1999"),
        "  " + SENTENCE.replace(" ", "\n\t"),
        SENTENCE.replace("Zoë's", "Zoe\N{RIGHT SINGLE QUOTATION MARK}s"),
        SENTENCE.replace("watched", "wat\N{SOFT HYPHEN}ched"),
        SENTENCE.replace("2024", "\N{ARABIC-INDIC DIGIT FIVE}"),
    ],
)
def test_case_punctuation_diacritics_and_numbers_do_not_count(other: str) -> None:
    assert same(SENTENCE, other)


@pytest.mark.parametrize(
    "other", [SENTENCE.replace("fox", "cat"), SENTENCE + " Then it slept.", " ".join(SENTENCE.split()[::-1])]
)
def test_words_and_their_order_count(other: str) -> None:
    assert not same(SENTENCE, other)


def test_texts_of_fewer_than_five_words_have_no_keys() -> None:
    for text in ("", "!?...", "one two three four", "a, b; c - d.", "\ud800"):
        assert band_keys(text) is None
    assert band_keys("one two three four five") is not None
    assert band_keys("\ud800 one two three four five") is not None


def test_scripts_without_spaces_are_compared_by_characters() -> None:
    text = "敏捷的棕色狐狸跳过了懒狗然后睡着了"
    assert len(next(word_hashes(text, numbers_alike=True))) == len(text)
    assert len(next(word_hashes("これはGPTです", numbers_alike=True))) == 6
    assert len(next(word_hashes("안녕하세요 세계", numbers_alike=True))) == 2
    assert band_keys(text) is not None
    assert not same(text, text[::-1])


def reference_words(text: str) -> list[str]:
    """The words of ASCII text, by another road."""
    out, word = [], ""
    characters = list(text)
    for at, c in enumerate(characters):
        inside = 0 < at < len(characters) - 1 and characters[at - 1].isdigit() and characters[at + 1].isdigit()
        if c.isdigit() or (c in ".," and inside):
            word += "" if word.endswith("#") else "#"
        elif c.isalpha():
            word += c.lower()
        elif word:
            out.append(word)
            word = ""
    return [*out, word] if word else out


@given(st.lists(st.text(st.sampled_from("ab1.,- Z\n"), max_size=30), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_words_are_equal_where_their_hashes_are(texts: list[str]) -> None:
    hashes, counts = word_hashes_of(texts, numbers_alike=True)
    expected = [reference_words(text) for text in texts]
    assert counts.tolist() == [len(found) for found in expected]
    flat = [word for found in expected for word in found]
    assert len(set(zip(flat, hashes.tolist(), strict=True))) == len(set(flat)) == len(set(hashes.tolist()))


@given(st.lists(st.text(max_size=60) | st.text(st.sampled_from("ab1 .é中"), max_size=400), max_size=12))
@settings(max_examples=100, deadline=None)
def test_the_keys_of_a_text_do_not_depend_on_its_neighbours(texts: list[str]) -> None:
    keys, has_keys = band_keys_of(texts)
    assert keys.shape == (len(texts), BANDS)
    for text, found, has in zip(texts, keys, has_keys, strict=True):
        alone = band_keys(text)
        assert (alone is not None) == has
        assert (found == (0 if alone is None else alone)).all()


def test_the_keys_of_a_text_do_not_depend_on_where_its_blocks_end() -> None:
    text = " ".join(words(3 * BLOCK_CHARS // 10, seed=1))
    assert len(text) > 3 * BLOCK_CHARS
    for shift in (1, 77):
        assert same(text, "." * shift + text)
    kinds = {len(np.concatenate(list(word_hashes("-" * n + text, numbers_alike=False)))) for n in (0, 5, BLOCK_CHARS)}
    assert kinds == {3 * BLOCK_CHARS // 10}


def test_a_word_longer_than_a_block_is_cut_and_memory_stays_bounded() -> None:
    blocks = list(word_hashes("a" * (5 * BLOCK_CHARS), numbers_alike=True))
    assert [len(block) for block in blocks] == [1] * 5


def test_few_different_ngrams_in_many_blocks() -> None:
    text = "to be or not to be that is the question " * (3 * BLOCK_CHARS // 40)
    assert same(text, text + text)
    assert not same(text, text + "whether tis nobler in the mind")


def pair(ngrams: int, similarity: float, seed: int) -> tuple[str, str, float]:
    """Two texts whose sets of 5-grams have about this Jaccard similarity, and what it is exactly."""
    common = round(ngrams * similarity)
    rest = (ngrams - common) // 2
    shared = words(common + NGRAM - 1, seed)
    one, other = shared + words(rest, seed + 1_000_000), shared + words(rest, seed + 2_000_000)
    sets = [{tuple(text[i : i + NGRAM]) for i in range(len(text) - NGRAM + 1)} for text in (one, other)]
    return " ".join(one), " ".join(other), len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("ngrams", [60, 200, 1000])
def test_bands_meet_as_often_as_the_similarity_says(ngrams: int) -> None:
    pairs = 250 if ngrams < 1000 else 50
    for similarity in (0.5, 0.72, 0.8, 0.9):
        made = [pair(ngrams, similarity, seed) for seed in range(pairs)]
        s = made[0][2]
        ones, others = band_keys_of([m[0] for m in made])[0], band_keys_of([m[1] for m in made])[0]
        bands = (ones == others).sum(axis=1)
        once = s**ROWS
        expected = 1 - (1 - once) ** BANDS
        assert abs(np.count_nonzero(bands) - pairs * expected) <= 4.5 * np.sqrt(pairs * expected * (1 - expected)) + 1
        # Of all bands together; their number is nearly that of as many independent ones.
        assert abs(bands.sum() - pairs * BANDS * once) <= 5 * np.sqrt(pairs * BANDS * once * (1 - once))


def test_different_texts_share_nothing() -> None:
    keys, has_keys = band_keys_of([" ".join(words(n, seed=n)) for n in range(5, 400)])
    assert has_keys.all()
    assert len(np.unique(keys)) == keys.size
