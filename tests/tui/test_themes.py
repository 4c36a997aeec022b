"""All text on all screens has enough contrast in every theme."""

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from textual.color import Color

from tests.tui.harness import crashed_run, ended_run, new_app, still, wait_for, wait_for_text
from tui.marks import this_terminal
from tui.screens.base import TITLES
from tui.themes import LEAST_CONTRAST, THEMES, contrast, default_theme


def test_the_formula_gives_the_published_ratios() -> None:
    assert contrast(Color.parse("#ffffff"), Color.parse("#000000")) == pytest.approx(21.0)
    assert contrast(Color.parse("#777777"), Color.parse("#ffffff")) == pytest.approx(4.48, abs=0.01)
    assert contrast(Color.parse("#123456"), Color.parse("#123456")) == 1.0


async def test_every_screen_can_be_read_in_every_theme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    ended_run("letters")
    crashed_run("broken")
    app = new_app()
    async with app.run_test(size=(120, 40)) as pilot:

        async def read(where: str) -> None:
            await still(pilot)
            for theme in THEMES:
                app.theme = theme.name
                await pilot.pause(0.05)
                _assert_readable(app, where, theme.name)

        for number, (mode, _) in enumerate(TITLES, 1):
            await pilot.press("escape", str(number))
            await wait_for(pilot, lambda mode=mode: app.current_mode == mode)
            await read(mode)
        await pilot.press("escape", "1", "question_mark")
        await wait_for_text(pilot, "Words on this screen")
        await read("help")


def _assert_readable(app: object, where: str, theme: str) -> None:
    poor = {}
    screen = app.screen  # type: ignore[attr-defined]
    strips = screen._compositor.render_strips()
    if screen.is_modal:  # what lies behind it is dimmed, and cannot be used just now
        box = screen.children[0].region
        strips = [strip.crop(box.x, box.right) for strip in strips[box.y : box.bottom]]
    for strip in strips:
        for segment in strip:
            if (
                not segment.text.strip()
                or segment.style is None
                or all("─" <= mark <= "▟" for mark in segment.text.strip())
            ):
                continue
            style = segment.style
            if style.color is None or style.bgcolor is None or style.dim:  # what is dim cannot be used just now
                continue
            fore, ground = (_shown(colour, theme) for colour in (style.color, style.bgcolor))
            if style.reverse:
                fore, ground = ground, fore
            if (ratio := contrast(fore, ground)) < LEAST_CONTRAST:
                poor[segment.text.strip()] = f"{ratio:.2f} ({fore.hex} on {ground.hex})"
    assert not poor, f"{where} in {theme}"


def _shown(colour: RichColor, theme: str) -> Color:
    """The colour as the terminal shows it: those for terminals of 256 colours are rounded to these."""
    if theme.startswith("terminal"):
        colour = colour.downgrade(ColorSystem.EIGHT_BIT)
    return Color.from_rich_color(RichColor.from_triplet(colour.get_truecolor()))


@pytest.mark.parametrize(
    ("environment", "encoding", "marks", "theme"),
    [
        ({"COLORTERM": "truecolor", "TERM": "xterm-256color"}, "UTF-8", "braille", "midnight"),
        ({"TERM_PROGRAM": "Apple_Terminal", "TERM": "xterm-256color"}, "UTF-8", "braille", "terminal"),
        ({"TERM": "linux"}, "UTF-8", "block", "terminal"),
        ({"TERM": "xterm"}, "ISO-8859-1", "ascii", "terminal"),
        ({"TERM": "vt100"}, "UTF-8", "ascii", "terminal"),
        ({"COLORTERM": "truecolor", "MLXLLM_MARKS": "ascii"}, "UTF-8", "ascii", "midnight"),
    ],
)
def test_marks_and_colours_suit_the_terminal(
    environment: dict[str, str], encoding: str, marks: str, theme: str
) -> None:
    terminal = this_terminal(environment, encoding)
    assert (terminal.marks, default_theme(terminal)) == (marks, theme)
