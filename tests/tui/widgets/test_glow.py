"""Spans glow where their words are drawn, whatever Markdown makes of them."""

from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from mlxllm.data.origins.tracing import Trace
from tests.data.origins.test_trace import indexed
from tui.widgets.answers import _Document
from tui.widgets.glow import Glowing

COLOURS = {"accent": "#ff0000", "secondary": "#00ff00", "primary": "#0000ff"}
TEXT = "one two three four five six seven eight nine ten"


def trace_of(text: str, folder: Path) -> Trace:
    return indexed([TEXT], folder / "d").trace(text)


def glowing(text: str, trace: Trace, *, markdown: bool = True, width: int = 30) -> tuple[str, list[str]]:
    """What is drawn, and the parts of it that are underlined."""
    console = Console(width=width, color_system="truecolor", force_terminal=True)
    drawn = _Document(text, COLOURS) if markdown else Text(text)
    segments = list(console.render(Glowing(drawn, trace, COLOURS), console.options))
    marked = [segment.text for segment in segments if segment.style is not None and segment.style.underline]
    return "".join(segment.text for segment in segments), marked


@pytest.mark.parametrize("width", [12, 30, 200])
@pytest.mark.parametrize("markdown", [True, False])
def test_the_words_of_a_span_glow_and_nothing_else(width: int, markdown: bool, tmp_path: Path) -> None:
    text = f"zero {TEXT}  \neleven"
    drawn, marked = glowing(text, trace_of(text, tmp_path), markdown=markdown, width=width)
    assert " ".join(marked).split() == TEXT.split()
    assert not any(part.endswith(" ") and len(part.strip()) == 0 for part in marked), (
        "blanks that fill a line are nothing"
    )
    assert drawn.split() == text.split()


def test_markup_stays_drawn_where_its_words_are_those_of_the_text(tmp_path: Path) -> None:
    text = f"# Heading\n\n- **zero** {TEXT}\n- `code` here"
    drawn, marked = glowing(text, trace_of(text, tmp_path))
    assert "**" not in drawn
    assert " ".join(marked).split() == TEXT.split()


def test_what_is_drawn_otherwise_is_shown_as_it_was_written(tmp_path: Path) -> None:
    text = f"**Tom** &amp; Ben {TEXT}"
    drawn, marked = glowing(text, trace_of(text, tmp_path), width=200)
    assert drawn.strip() == text
    assert marked == [TEXT]
