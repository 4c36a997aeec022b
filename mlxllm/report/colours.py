"""The colours of pages and plots, for a light and a dark ground: a plot in a page names them, so that it follows the page."""

from typing import Literal

Theme = Literal["light", "dark"]

_COLOURS = {
    "page": ("#ffffff", "#16181c"),
    "panel": ("#f3f4f6", "#22252b"),
    "ink": ("#1d2026", "#e5e7ea"),
    "faint": ("#5f6672", "#9ba2ae"),
    "line": ("#dcdfe4", "#363b44"),
    # Lines that can be told apart by most eyes, also without seeing red or green (after Okabe and Ito).
    "c0": ("#0067a5", "#5fb0ec"),
    "c1": ("#c8500a", "#f49b5e"),
    "c2": ("#00805e", "#4fcba3"),
    "c3": ("#a4477f", "#e49cc9"),
    "c4": ("#8a6a00", "#e0c04f"),
    "c5": ("#4a5a8c", "#a9b7ea"),
}
"""Name -> on light ground, on dark ground. No two are equal: a plot's colours are found by their value."""

LINES = tuple(name for name in _COLOURS if name.startswith("c"))
"""Those of lines, in the order in which they are taken."""


def colour(name: str, theme: Theme = "light") -> str:
    """As `#rrggbb`."""
    return _COLOURS[name][theme == "dark"]


def line_colour(number: int) -> str:
    """Of the line of that number; they come again where there are many lines."""
    return colour(LINES[number % len(LINES)])


def css_variables(theme: Theme) -> str:
    """As declarations of a style sheet."""
    return " ".join(f"--{name}: {values[theme == 'dark']};" for name, values in _COLOURS.items())


def by_name(svg: str) -> str:
    """A plot in light colours with their names in place of them."""
    for name, (light, _) in _COLOURS.items():
        svg = svg.replace(light, f"var(--{name})")
    return svg
