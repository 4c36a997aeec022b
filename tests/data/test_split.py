from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.split import PIECE_CHARS, cut_text, is_validation, split_pieces
from tests.data.conftest import ListSource


@given(text=st.text(max_size=300), limit=st.integers(2, 40))
def test_cutting_a_text_loses_nothing(text: str, limit: int) -> None:
    pieces = list(cut_text(text, limit))
    assert "".join(pieces) == text
    assert all(pieces[:-1]) and all(len(piece) <= limit for piece in pieces)  # noqa: PT018


def test_a_text_is_cut_behind_lines_then_before_blanks() -> None:
    assert list(cut_text("one two\nthree four", 10)) == ["one two\n", "three four"]
    assert list(cut_text("one two three four", 10)) == ["one two", " three", " four"]
    assert list(cut_text("a\r\n" * 5, 4)) == ["a\r\n"] * 5
    family = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert list(cut_text(f"aaaaaaa{family}", 9)) == ["aaaaaaa", family]


@given(
    texts=st.lists(st.text("ab \n", max_size=60), min_size=1, max_size=8),
    val_split=st.floats(0, 0.99),
    single=st.booleans(),
)
def test_every_text_lands_whole_on_the_sides(texts: list[str], val_split: float, single: bool) -> None:
    pieces = list(split_pieces(ListSource(texts, single_text=single), val_split))
    kept = texts if single else [text for text in texts if text.strip()]
    assert sorted("".join(p.text for p in pieces)) == sorted("".join(kept))
    if single:
        # Validation is the end, and its size is the fraction asked for, give or take a tenth.
        assert "".join(p.text for p in pieces) == "".join(texts)
        sides = [p.split for p in pieces]
        assert sides == sorted(sides)
        total = sum(map(len, texts))
        held_out = sum(len(p.text) for p in pieces if p.split == "val")
        assert round(total * val_split) <= held_out <= round(total * val_split) * 1.1 + 16


def test_the_fraction_is_met_and_grows_by_inclusion() -> None:
    texts = [f"text number {i}" for i in range(20_000)]
    small = {text for text in texts if is_validation(text, 0.01)}
    large = {text for text in texts if is_validation(text, 0.1)}
    assert 150 < len(small) < 250
    assert 1850 < len(large) < 2150
    assert small < large
    # Written down so that a dataset built today and one built next year agree.
    assert sorted(small)[:3] == ["text number 1012", "text number 1016", "text number 10193"]


def test_a_document_in_pieces_stays_on_one_side() -> None:
    pieces = list(split_pieces(ListSource(["word " * PIECE_CHARS, "x"]), 0.5))
    assert len(pieces) > 5
    assert len({p.split for p in pieces[:-1]}) == 1
    assert [p.ends for p in pieces] == [False] * (len(pieces) - 2) + [True, True]
