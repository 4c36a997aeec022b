"""What is found about a text is what looking at everything finds."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.data.build import build_dataset
from mlxllm.data.origins.building import build_index, stretches
from mlxllm.data.origins.tracing import Origins, Span, Trace
from mlxllm.data.origins.units import Speller, Words, words_of_spelling
from mlxllm.data.shards import TokenDataset
from mlxllm.data.sources.base import Source
from mlxllm.data.weights import Weight
from mlxllm.tokenizer import train_tokenizer
from tests.data.conftest import ListSource
from tests.data.origins import brute

WORDS = st.sampled_from(["a", "b", "c", "Aa", "ab", "don't"])
BETWEEN = st.sampled_from([" "] * 8 + [", ", ".", "\n", "  "])
TEXT = st.lists(st.tuples(WORDS, BETWEEN), max_size=24).map(lambda parts: "".join(map("".join, parts)))


def indexed(texts: Sequence[str], directory: Path, **how: int) -> Origins:
    """An index over these documents; nothing is held out."""
    shutil.rmtree(directory, ignore_errors=True)
    sources: list[tuple[Source, Weight | None]] = [(ListSource(texts), None)]
    build_dataset(directory, sources, train_tokenizer("byte", []), val_split=0.0)
    build_index(TokenDataset.open(directory), **how)
    return Origins([directory])


def numbered(found: Trace, span: Span) -> range:
    """The words of a span by their numbers."""
    first = Words(found.text).starts.index(span.start)
    return range(first, first + span.words)


@settings(max_examples=60)
@given(
    documents=st.lists(TEXT.filter(str.strip), min_size=1, max_size=5, unique=True),
    data=st.data(),
    least=st.sampled_from([3, 5, 8]),
    piece_bytes=st.sampled_from([8, 60, 1 << 20]),
)
def test_spans_are_those_that_a_search_through_everything_finds(
    tmp_path_factory: pytest.TempPathFactory,
    documents: list[str],
    data: st.DataObject,
    least: int,
    piece_bytes: int,
) -> None:
    # A text like one that a model writes: parts of documents, some with another word between them.
    parts = st.sampled_from(documents).flatmap(
        lambda text: st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(
            lambda ends: text[min(ends) : max(ends)]
        )
    )
    text = "".join(data.draw(st.lists(st.one_of(parts, TEXT, st.just(" b ")), min_size=1, max_size=4)))
    origins = indexed(documents, tmp_path_factory.getbasetemp() / "brute", piece_bytes=piece_bytes)

    found = origins.trace(text, least)

    spans = [(numbered(found, span), span) for span in found.spans]
    expected = brute.copied(text, documents, least)
    assert [(w.start, len(w), s.count) for w, s in spans if s.kind == "copied"] == sorted(expected)
    copied = {word for first, count, _ in expected for word in range(first, first + count)}
    assert found.copied_words == len(copied)
    near = brute.near(text, documents, least)
    assert {word for w, s in spans if s.kind == "near" for word in w} | copied == near | copied
    assert found.near_words == len(near - copied)
    for _, span in spans:
        for number in range(len(span.places)):
            _is_there(origins, found, span, number)


def _is_there(origins: Origins, found: Trace, span: Span, number: int) -> None:
    """The document that is opened has the span where it says."""
    document = origins.document(span, number)
    there, here = document.text[document.start : document.end], found.text[span.start : span.end]
    assert document.whole
    assert document.start == document.character
    if span.kind == "copied":
        assert there.split() == here.split()
    else:
        pairs = zip(words_in(there), words_in(here), strict=True)
        assert sum(a != b for a, b in pairs) == span.changed <= -(-span.words // 8)


def words_in(text: str) -> list[str]:
    return [unit[0].lower() for unit in brute.units(text) if unit[1]]


def test_the_same_words_are_found_whatever_their_blanks_and_only_whole_words_are(tmp_path: Path) -> None:
    origins = indexed(['He said:\n\n  "Not yet,\tmy  dear; the kingdom\r\nis far."'], tmp_path / "d")
    near, span = origins.trace('And he smiled. "Not yet, my dear; the kingdom is far." So he went.', 7).spans
    assert (span.kind, span.words) == ("copied", 8)
    assert (near.kind, near.words, near.changed) == ("near", 10, 1), "he said, he smiled"
    assert origins.document(span).text[origins.document(span).start :].startswith("Not yet,\tmy")
    assert not origins.trace("Not yet, my dear; the king", 6).spans, "king is not kingdom"
    assert origins.trace("Not yet, my dear; the king", 5).copied_words == 5
    assert not origins.trace("Not yet my dear the kingdom", 5).copied_words, "signs count"
    assert not origins.trace("not yet, my dear; the kingdom", 6).copied_words, "case counts"
    assert origins.trace("not yet my dear the kingdom is far", 8).near_words == 8, "four words stand there just so"
    assert origins.trace("not yet my dear the kingdom, is far", 8).near_words == 0, "nowhere four just so"


def test_a_changed_word_in_eight_is_nearly_copied_and_two_are_not(tmp_path: Path) -> None:
    words = [f"w{n}" for n in range(40)]
    origins = indexed([" ".join(words), " ".join(words[::-1])], tmp_path / "d")
    for changed, near in (({12, 20, 28}, 40), ({4, 12, 20, 28, 36}, 40), ({20, 26}, 14), ({0, 39}, 0)):
        text = " ".join("other" if n in changed else word for n, word in enumerate(words))
        found = origins.trace(text, 20)
        assert max((s.words for s in found.spans if s.kind == "near"), default=0) >= near, changed
        (longest, *_) = sorted(found.spans, key=lambda s: -s.words)
        if near == 40:
            assert (longest.words, longest.changed, longest.count) == (40, len(changed), 1)
            assert found.near_words == 40
            assert found.sentence == "100 % nearly"
    found = origins.trace(" ".join(["x", *words[:10], "y", *words[10:20], "z"]), 8)
    assert (found.copied_words, found.near_words, found.words) == (20, 0, 23)
    assert found.sentence == "87 % copied, the rest its own"
    assert "".join(part for part, _ in found.parts) == found.text
    assert [kind for _, kind in found.parts] == [None, "copied", None, "copied", None]


def test_a_span_across_pieces_and_stretches_is_found_whole_and_its_place_is_right(tmp_path: Path) -> None:
    rng = random.Random(1)
    long = " ".join(rng.choice(["tree", "sea", "é", "日本", "fir", "x" * 30]) + str(n) for n in range(400))
    short = "one short document of eight words is here"
    origins = indexed([long, short], tmp_path / "d", piece_bytes=300, stretch_tokens=256)
    assert len(origins.pieces) > 5
    for at in range(0, 380, 7):
        words = long.split()[at : at + 9]
        (span,) = origins.trace("and " + " ".join(words)).spans
        assert (span.words, span.count) == (len(Words(" ".join(words))), 1)
        document = origins.document(span)
        assert document.text[document.start : document.end] == " ".join(words)
        assert long[document.character :].startswith(" ".join(words))
        assert (document.number, document.number_in_source, document.documents_in_source) == (1, 1, 2)
    (span,) = origins.trace(short).spans
    assert origins.document(span).number == 2


def test_stretches_are_the_text_whatever_their_size(tmp_path: Path) -> None:
    texts = ["日本語の文章です" * 40, "a b\nc " * 100, "no-blank" * 50, "é"]
    sources: list[tuple[Source, Weight | None]] = [(ListSource(texts), None)]
    build_dataset(tmp_path / "d", sources, train_tokenizer("byte", []), val_split=0.0)
    dataset = TokenDataset.open(tmp_path / "d")
    for size in (7, 64, 1 << 16):
        together = [""] * len(texts)
        for stretch in stretches(dataset, size):
            assert stretch.character == len(together[stretch.document])
            together[stretch.document] += stretch.text
        assert together == texts


@given(text=st.text(alphabet=st.sampled_from("ab'’_1.,- \n\t\x00\x01\x02\x03éऀि日ก็\u200d\u0301\u00ad𝔘"), max_size=40))
def test_both_ways_of_spelling_are_the_same(text: str) -> None:
    words = Words(text)
    assert Speller().spell(text) == words.spelled
    assert words_of_spelling(words.spelled) == words.lower()
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == [
        words.spelled[a : b - 1].decode() for a, b in zip(words.offsets, words.behind, strict=True)
    ]


def test_texts_without_words_and_an_empty_document_are_nothing(tmp_path: Path) -> None:
    origins = indexed(["!!! ... ???", "a b c d e f g h i", "---"], tmp_path / "d")
    for text in ("", " \n", "... !!!", "\ud800"):
        found = origins.trace(text)
        assert (found.words, found.spans, found.copied_words) == (0 if text != "\ud800" else found.words, (), 0)
        assert found.as_dict()["copied"] == 0.0
    assert origins.trace("a b c d e f g h i").copied_words == 9


def test_a_document_is_read_as_far_as_a_span_goes_whatever_its_stretches_were(tmp_path: Path) -> None:
    words = [f"word{number}" for number in range(9_000)]
    origins = indexed([" ".join(words)], tmp_path / "d", stretch_tokens=1 << 16)
    (span,) = origins.trace(" ".join(words[6_500:6_520]), 8).spans
    document = origins.document(span)
    assert document.text[document.start : document.end].split() == words[6_500:6_520]
