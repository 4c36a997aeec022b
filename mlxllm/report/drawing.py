"""How a plot looks and how it is kept: equal numbers give equal files, without time, machine or random names in them.

matplotlib is loaded when something is drawn, and draws without a screen.
"""

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlxllm.report.colours import by_name, colour
from mlxllm.report.plain import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 6.4
"""Inches; at 600 px the smallest letters are 11 px high."""
_PIXELS_AN_INCH = 200
_LETTERS = {"page": "none", "file": "path"}
"""In a page letters are text, in its font; in a file of their own they are outlines, which look the same everywhere."""
_PAGE_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif"
_LONGEST_LABEL = 28


@dataclass(frozen=True)
class Plot:
    """A plot, drawn when it is asked for."""

    name: str
    """Of its file, without suffix."""
    caption: str
    drawn: "Figure"

    def in_page(self) -> str:
        """As SVG for a page: its colours are named, its letters are text."""
        return by_name(_for_page(self._saved("svg", "page"), self.name, self.caption))

    def svg(self) -> bytes:
        """As a file of its own."""
        return self._saved("svg", "file")

    def png(self) -> bytes:
        """The same as pixels, twice as many as it is wide on a screen."""
        return self._saved("png", "file")

    def _saved(self, kind: str, where: str) -> bytes:
        import matplotlib

        written = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
        ground = "none" if where == "page" else colour("page")
        with matplotlib.rc_context({**_style(), "svg.fonttype": _LETTERS[where]}):
            self.drawn.savefig(written, format=kind, dpi=_PIXELS_AN_INCH, metadata=metadata, facecolor=ground)
        return written.getvalue()


@contextmanager
def figure(rows: int = 1, columns: int = 1, height: float = 3.0) -> "Iterator[tuple[Figure, list[Axes]]]":
    """A figure in our style, and its axes row by row.

    Args:
        rows: of axes.
        columns: of axes.
        height: inches.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_style()):
        made = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = made.subplots(rows, columns, squeeze=False)
        yield made, [each for row in axes for each in row]


def label(text: str) -> str:
    """The name of a run or a source as it fits beside a curve."""
    text = one_line(text)
    return text if len(text) <= _LONGEST_LABEL else f"{text[: _LONGEST_LABEL - 1]}…"


def name_ends(axes: "Axes", ends: Sequence[tuple[float, str, str]]) -> None:
    """Write the name of each line at its end, right of the axes, so that none lies on another.

    Args:
        axes: with its limits as they will be.
        ends: of each line its last value, its name and its colour.
    """
    transform = axes.transData + axes.transAxes.inverted()
    wanted = sorted(((transform.transform((axes.get_xlim()[1], y))[1], name, tint) for y, name, tint in ends))
    inches = axes.bbox.height / axes.figure.dpi
    gap = 0.17 / max(inches, 0.5)
    places = [min(max(place, 0.0), 1.0) for place, _, _ in wanted]
    for n in range(1, len(places)):
        places[n] = max(places[n], places[n - 1] + gap)
    if places and (over := places[-1] - 1.0) > 0:
        places = [place - over for place in places]
    for place, (_, name, tint) in zip(places, wanted, strict=True):
        axes.text(1.015, place, label(name), color=tint, transform=axes.transAxes, va="center", clip_on=False)


def _style() -> Any:
    ink, faint, line = colour("ink"), colour("faint"), colour("line")
    return {
        "text.parse_math": False,  # a $ in a name is a dollar
        "font.size": 9.5,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titlecolor": ink,
        "axes.labelcolor": faint,
        "axes.labelsize": 9,
        "axes.edgecolor": line,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "grid.color": line,
        "grid.linewidth": 0.6,
        "xtick.color": line,
        "ytick.color": line,
        "xtick.labelcolor": faint,
        "ytick.labelcolor": faint,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "ytick.major.size": 0,
        "text.color": ink,
        "lines.linewidth": 1.6,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "svg.hashsalt": "mlxllm",
        "path.simplify": True,
    }


def _for_page(svg: bytes, name: str, caption: str) -> str:
    """The svg element alone, with the page's font, and told to those who do not see it."""
    from html import escape

    text = svg.decode("utf-8")
    text = text[text.index("<svg") :].strip()
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", rf"font: \1 {_PAGE_FONT}", text)
    text = re.sub(r"(font-family: )[^;\"]*", rf"\1{_PAGE_FONT}", text)
    # Several plots in one page must not share names.
    mark = "p" + re.sub(r"\W", "", name)
    text = re.sub(r'(\bid="|url\(#|xlink:href="#)', rf"\1{mark}-", text)
    text = re.sub(r'<svg([^>]*?) width="[^"]*"', r"<svg\1", text, count=1)
    text = re.sub(r'<svg([^>]*?) height="[^"]*"', r"<svg\1", text, count=1)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(one_line(caption))}"', 1)
