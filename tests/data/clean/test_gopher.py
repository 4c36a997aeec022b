"""Each of Gopher's rules, with a text just on either side of its threshold."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.clean.gopher import (
    GopherQuality,
    GopherRepetition,
    duplicates,
    gopher_quality,
    gopher_repetition,
)
from mlxllm.data.clean.prepared import Prepared

START = "the people of"


def text_of(words: int, word: str = "house") -> str:
    """So many words, the first three of which are `START`."""
    return " ".join([START, *[word] * (words - 3)])


def quality(text: str, language: str = "en") -> str | None:
    finding = gopher_quality(Prepared(text, language=language), GopherQuality())
    return finding and finding.reason


def prose(words: int, seed: int = 0) -> list[str]:
    """Words of five letters, none of which comes twice."""
    letters = random.Random(seed)
    made: dict[str, None] = {}
    while len(made) < words:
        made["".join(letters.choices("abcdefghijklmnopqrstuvwxyz", k=5))] = None
    return list(made)


def repetition(text: str) -> tuple[str, str] | None:
    finding = gopher_repetition(Prepared(text, language="en"), GopherRepetition())
    return finding and (finding.reason.removeprefix("gopher repetition: "), finding.detail)


@pytest.mark.parametrize(
    ("kept", "dropped", "reason"),
    [
        (text_of(50), text_of(49), "gopher: too few words"),
        (text_of(100_000), text_of(100_001), "gopher: too many words"),
        (f"{START} {'abc ' * 95} ab ab", f"{START} {'abc ' * 94} ab ab ab ab ab", "gopher: words too short"),
        (f"{START} {'abcdefghij ' * 50}", text_of(103, "abcdefghijk"), "gopher: words too long"),
        (text_of(100) + "#" * 10, text_of(100) + "#" * 11, "gopher: too many hash signs"),
        (text_of(90) + " ho...use" * 10, text_of(89) + " ho…use" * 11, "gopher: too many ellipses"),
        (
            "\n".join(["- and the house of people"] * 9 + ["and the house of people"]),
            "\n".join(["• and the house of people"] * 10),
            "gopher: too many bullet lines",
        ),
        (
            "\n".join(["the house of many kind people..."] * 3 + ["and the house of people"] * 7),
            "\n".join(["the house of many kind people…"] * 4 + ["and the house of people"] * 6),
            "gopher: too many ellipsis lines",
        ),
        (
            f"{START} {'house ' * 77} {'12345 ' * 20}",
            f"{START} {'house ' * 76} {'12345 ' * 21}",
            "gopher: too few words with a letter",
        ),
        (f"The {'house ' * 60} with,", f"the {'house ' * 60} The", "gopher: too few stop words"),
    ],
)  # fmt: skip
def test_either_side_of_each_threshold(kept: str, dropped: str, reason: str) -> None:
    assert quality(kept) is None
    assert quality(dropped) == reason


def test_stop_words_are_asked_of_languages_that_have_a_list() -> None:
    german = " ".join(["Das", *["Haus"] * 60])
    assert quality(german, "de") is None
    assert quality(german, "en") == quality(german, "") == "gopher: too few stop words"


def test_words_are_not_counted_where_no_space_stands_between_them() -> None:
    assert quality("委员会将于星期四再次开会，讨论明年的预算。", "zh") is None
    assert quality("委员会将于星期四再次开会，讨论明年的预算。", "de") == "gopher: too few words"


def test_the_detail_has_the_measure_and_the_threshold() -> None:
    finding = gopher_quality(Prepared(text_of(7)), GopherQuality())
    assert finding == ("gopher: too few words", "7, at least 50")
    assert gopher_quality(Prepared(text_of(7)), GopherQuality(min_words=7)) is None


def lines_of(words: list[str], per_line: int = 8) -> list[str]:
    return [" ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]


def test_duplicate_paragraphs() -> None:
    # Short ones, so that their characters do not matter: 3 of 10 and 4 of 11.
    paragraphs = lines_of(prose(7 * 40), 40)
    assert repetition("\n\n".join([*paragraphs, "one", "one", "one", "one"])) is None
    assert repetition("\n\n".join([*paragraphs[:6], *["one"] * 5])) == ("duplicate paragraphs", "0.3636, at most 0.3")


def test_duplicate_lines() -> None:
    lines = lines_of(prose(7 * 40), 40)
    assert repetition("\n".join([*lines, "one", "one", "one", "one"])) is None
    assert repetition("\n".join([*lines[:6], *["one"] * 5])) == ("duplicate lines", "0.3636, at most 0.3")


@pytest.mark.parametrize(("between", "name"), [("\n", "lines"), ("\n\n", "paragraphs")])
def test_characters_in_duplicate_parts(between: str, name: str) -> None:
    parts = [" ".join(prose(20, seed)) for seed in range(8)]
    only_parts = GopherRepetition(**{f"max_duplicate_{n}_grams": 1.0 for n in range(5, 11)})
    for words, reason in ((53, None), (55, f"gopher repetition: characters in duplicate {name}")):
        long = " ".join(prose(words, seed=99))
        text = between.join([*parts, long, long])
        assert (len(long) / len(text) > 0.2) == (reason is not None)
        finding = gopher_repetition(Prepared(text), only_parts)
        assert (finding and finding.reason) == reason


@pytest.mark.parametrize(("n", "most"), [(2, 0.2), (3, 0.18), (4, 0.16)])
def test_the_most_frequent_n_gram(n: int, most: float) -> None:
    """The n-gram stands between words that are all different; it has so many of the characters."""
    gram = ["alpha", "betas", "gamma", "delta"][:n]
    chars = 6 * n - 1

    def with_grams(count: int) -> str:
        others = iter(prose(200 - n * count, seed=n))
        words = []
        for _ in range(count):
            words += [next(others), *gram]
        return " ".join([*words, *others])

    enough = int(most * len(with_grams(0)) / chars)
    assert repetition(with_grams(enough)) is None
    found = repetition(with_grams(enough + 1))
    assert found is not None
    # A 3-gram holds a 2-gram, which is asked for first and has the higher threshold.
    assert found[0] == f"top {n}-gram"
    assert found[1] == f"{(enough + 1) * chars / len(with_grams(enough + 1)):.4g}, at most {most:g}"


def test_a_text_in_which_nothing_comes_twice_repeats_nothing() -> None:
    assert repetition("Six words, and none comes again.") is None
    assert repetition("one") is None
    assert repetition("") is None


@pytest.mark.parametrize(("n", "most"), [(5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10)])
def test_duplicate_n_grams(n: int, most: float) -> None:
    """Runs of n words that come a second time, between words that do not; no longer run does."""

    def with_runs(count: int) -> str:
        words = prose(3000, seed=n)
        fresh = iter(prose(1500, seed=100 + n))
        again: list[str] = []
        for i in range(count):
            again += [next(fresh), *words[i * (n + 1) : i * (n + 1) + n]]
        return " ".join([*words[: 3000 - len(again)], *again])

    size = len(with_runs(0))
    fits = int(most * size / (5 * n))
    assert repetition(with_runs(fits)) is None
    # Shorter n-grams overlap, and each of their characters counts once, so they find as many; their limits are higher.
    share = 5 * n * (fits + 1) / size
    assert repetition(with_runs(fits + 1)) == (f"duplicate {n}-grams", f"{share:.4g}, at most {most:g}")


def plain_repetition(text: str) -> list[float]:
    """The definitions word by word: the most frequent of 2- to 4-grams, and 5- to 10-grams that stood there before."""
    words = text.split()
    measures = []
    for n in (2, 3, 4):
        grams = [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]
        counts = Counter(grams)
        most = max(counts.values(), default=0)
        measures.append(max((len(g) * most for g, c in counts.items() if c == most), default=0) if most > 1 else 0)
    for n in range(5, 11):
        seen: set[tuple[str, ...]] = set()
        covered: set[int] = set()
        for i in range(len(words) - n + 1):
            gram = tuple(words[i : i + n])
            if gram in seen:
                covered.update(range(i, i + n))
            seen.add(gram)
        measures.append(sum(len(words[i]) for i in covered))
    return [measure / len(text) for measure in measures]


NAMES = [*(f"max_top_{n}_gram" for n in (2, 3, 4)), *(f"max_duplicate_{n}_grams" for n in range(5, 11))]


@given(st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), min_size=1, max_size=60))
def test_n_grams_are_counted_as_defined(words: list[str]) -> None:
    text = " ".join(words)
    for name, measure in zip(NAMES, plain_repetition(text), strict=True):
        measure = min(1.0, measure)
        off = dict.fromkeys(GopherRepetition.model_fields, 1.0)
        exact = GopherRepetition(**{**off, name: measure})
        assert gopher_repetition(Prepared(text), exact) is None
        if measure > 0.01:
            just_below = GopherRepetition(**{**off, name: measure - 1e-9})
            finding = gopher_repetition(Prepared(text), just_below)
            assert finding is not None
            assert finding.reason.removeprefix("gopher repetition: ").split("-")[0].split()[-1] in name


def test_duplicates_are_what_stood_there_before() -> None:
    assert duplicates(["a", "bb", "a", "bb", "a"]) == (3, 4)
    assert duplicates([]) == (0, 0)
