"""A text that grows is cut where nothing is lost, and its last piece stays small."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from textual.content import Content

from tui.widgets.cutting import MOST_LIVE, cut

WORDS = " ".join(f"word{number}" for number in range(400))


@given(st.text(alphabet="ab .\n|`#日", max_size=4000), st.integers(1, 200), st.booleans())
def test_both_pieces_are_the_text(text: str, width: int, markdown: bool) -> None:
    settled, live = cut(text, width, markdown=markdown)
    if "```" not in text or not markdown:
        assert settled + live == text
    assert cut("", width, markdown=markdown) == ("", "")


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("width", [20, 77, 400])
@pytest.mark.parametrize("text", [WORDS, WORDS.replace("word", "日本語"), "日本" * 2000, WORDS.replace(" ", "\n")])
def test_a_long_paragraph_is_cut_where_a_line_ends_on_the_screen(text: str, width: int, markdown: bool) -> None:
    settled, live = cut(text, width, markdown=markdown)
    assert settled + live == text
    assert 0 < len(live) < MOST_LIVE
    whole = [line.plain.rstrip() for line in Content(text).wrap(width)]
    assert [
        line.plain.rstrip() for piece in (settled.removesuffix("\n"), live) for line in Content(piece).wrap(width)
    ] == whole
    assert all(cell_len(line) <= width for line in whole)


@pytest.mark.parametrize(
    ("text", "settled", "live"),
    [
        (f"{WORDS}\n\nand then", f"{WORDS}\n\n", "and then"),
        (f"{WORDS}\n\n| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 200, f"{WORDS}\n\n", None),
        ("```py\n" + "a = 1\n" * 300 + "b", "```py\n" + "a = 1\n" * 300 + "```\n", "```py\nb"),
        ("~~~\n" + "x\n\n" * 500 + "~~~\nend", "~~~\n" + "x\n\n" * 500 + "~~~\n", "end"),
        (f"```\n{WORDS}", "", None),
        ("".join(f"- {number} thing\n" for number in range(200)), None, "- 199 thing\n"),
    ],
)
def test_blocks_are_kept(text: str, settled: str | None, live: str | None) -> None:
    found = cut(text, 80, markdown=True)
    assert found[0] == settled or settled is None
    assert found[1] == live or live is None
    assert len(found[0]) > 1000 or not found[0]
