"""A held-out passage as a picture: each token on a ground from green to red by its loss; as GIF through all steps."""

import io
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm.errors import ConfigError
from mlxllm.report.colours import colour
from mlxllm.report.drawing import WIDTH, Plot, figure
from mlxllm.report.plain import one_line
from mlxllm.runs.probes import CLASSES, Probe, class_of
from mlxllm.visible import readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUNDS = ("#8fd19e", "#c9e7b4", "#fdf0a6", "#fcc890", "#f4978e")
"""Of each class, light enough for dark letters."""
_COLUMNS = 78
_INCHES_A_ROW = 0.19
_LETTERS = 8.2
"""Points; so a letter of DejaVu Sans Mono is a column wide."""
_GIF_DOTS = 110
"""Pixels an inch of a moving picture, which is large enough as it is."""
_FRAME_MS, _LAST_MS = 350, 2500
SUFFIXES = (".png", ".svg", ".gif")


def write_passage(file: Path, probe: Probe, place: int, name: str) -> Path:
    """Draw the passage at validation number `place`, or all of them as GIF.

    Raises:
        ConfigError: the name of the file ends otherwise, or it cannot be written.
    """
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"--picture {file}: a picture is written as .png, .svg or .gif; give a name that ends so")
    if suffix == ".gif":
        content = _moving([_drawn(probe, each, name) for each in range(len(probe.steps))])
    else:
        plot = _drawn(probe, place, name)
        with _missing_letters():
            content = plot.svg() if suffix == ".svg" else plot.png()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
    return file


def cells(probe: Probe, place: int) -> tuple[list[tuple[int, int, str, int | None]], int]:
    """The passage on a grid: (row, column, text, class) of stretches that are one token's, and how many rows there are."""
    row = column = 0
    found: list[tuple[int, int, str, int | None]] = []
    for piece, loss in zip(probe.pieces, probe.losses[place], strict=True):
        class_ = None if loss is None else class_of(loss)
        for number, part in enumerate(readable(piece).split("\n")):
            if number or (column and column + len(part) > _COLUMNS):
                row, column = row + 1, 0
            for start in range(0, len(part), _COLUMNS):
                here = part[start : start + _COLUMNS]
                row, column = (row + 1, 0) if start else (row, column)
                found.append((row, column, here, class_))
                column += len(here)
    return found, row + 1


def _drawn(probe: Probe, place: int, name: str) -> Plot:
    grid, rows = cells(probe, place)
    height = 0.75 + rows * _INCHES_A_ROW + 0.9
    with figure(rows=2, height=height) as (made, (text, curve)):
        if (spec := text.get_gridspec()) is not None:
            spec.set_height_ratios([rows * _INCHES_A_ROW, 0.75])
        _write(text, grid, rows)
        mean = probe.mean(place)
        told = "no number" if mean is None else f"{mean:.3f} nats a token"
        text.set_title(f"{one_line(name)}, step {probe.steps[place]:,}: {told}")
        means = [math.nan if (each := probe.mean(number)) is None else each for number in range(len(probe.steps))]
        curve.plot(probe.steps, means, color=colour("c0"), marker="o", markersize=2.5)
        curve.plot([probe.steps[place]], [means[place]], "o", color=colour("c1"), markersize=6, clip_on=False)
        curve.set_xlabel("step")
        curve.set_ylabel("nats a token")
        from matplotlib.patches import Patch

        keys = [Patch(facecolor=ground, label=told) for ground, told in zip(_GROUNDS, CLASSES, strict=True)]
        made.legend(handles=keys, loc="outside upper right", ncols=len(keys), fontsize=7.5, handlelength=1.0)
    return Plot("passage", f"A held-out passage of {one_line(name)} at step {probe.steps[place]:,}", made)


def _write(axes: "Axes", grid: list[tuple[int, int, str, int | None]], rows: int) -> None:
    from matplotlib.patches import Rectangle

    axes.set_xlim(0, _COLUMNS * WIDTH / (WIDTH - 0.2))
    axes.set_ylim(rows, 0)
    axes.set_axis_off()
    for row, column, text, class_ in grid:
        if class_ is not None:
            ground = Rectangle((column, row + 0.06), len(text), 0.88, facecolor=_GROUNDS[class_], edgecolor="none")
            axes.add_patch(ground).set_in_layout(False)
        ink = colour("ink" if class_ is not None else "faint")
        letters = axes.text(
            column, row + 0.5, text, family="DejaVu Sans Mono", fontsize=_LETTERS, color=ink, va="center"
        )
        letters.set_in_layout(False)  # the grid has its room, and hundreds of texts take a second to be measured


def _moving(frames: list[Plot]) -> bytes:
    from PIL import Image

    images = []
    for plot in frames:
        pixels = io.BytesIO()
        with _missing_letters():
            plot.drawn.savefig(pixels, format="png", dpi=_GIF_DOTS, facecolor=colour("page"))
        images.append(Image.open(pixels).convert("P", palette=Image.Palette.ADAPTIVE))
    size = (max(image.width for image in images), max(image.height for image in images))
    same = [image if image.size == size else image.resize(size) for image in images]
    written = io.BytesIO()
    times = [_FRAME_MS] * (len(same) - 1) + [_LAST_MS]
    same[0].save(written, format="GIF", save_all=True, append_images=same[1:], duration=times, loop=0)
    return written.getvalue()


@contextmanager
def _missing_letters() -> Iterator[None]:
    """Letters that the font does not have are drawn as boxes, and nothing is said of it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield
