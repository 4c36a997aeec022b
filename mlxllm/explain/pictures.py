"""Pictures of a walk through a model: attention maps, the logit lens, sizes, and the next token.

Cells are darker the larger their number is, from nothing to one.
"""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mlxllm.explain.xray import Explained
from mlxllm.report.colours import colour, line_colour
from mlxllm.report.drawing import WIDTH, Plot, figure
from mlxllm.report.plain import one_line
from mlxllm.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ABREAST = 4
"""Maps of heads in a row."""
_MOST_LABELS = 48
"""Pieces are named beside a map of no more."""
_COLUMNS = 12
"""Positions of the lens that are drawn."""
_LONGEST = 9
_MOST_BARS = 10
_LONGEST_TITLE = 72


def draw(found: Explained, layer: int | None = None, head: int | None = None) -> Plot:
    """One head's map, all maps of a layer, or all there is.

    Args:
        found: with the maps that are drawn.
        layer: of the maps; None draws those of all layers, the lens, the sizes and the next token.
        head: of the map; None draws those of all heads.
    """
    if layer is None:
        return _overview(found)
    maps = found.walk.maps[layer]
    if head is not None:
        with figure(height=WIDTH) as (made, (axes, *_)):
            axes.set_title(f"Attention of layer {layer}, head {head}: each row adds up to one")
            _map(axes, maps[head])
            _name_pieces(axes, found)
            _say_of_what(made, found)
        return Plot(f"attention-{layer}-{head}", f"Attention of layer {layer}, head {head}", made)
    across = min(_ABREAST, len(maps))
    rows = -(-len(maps) // across)
    with figure(rows, across, height=0.3 + rows * WIDTH / across * 1.15) as (made, all_axes):
        for number, axes in enumerate(all_axes):
            if number >= len(maps):
                axes.axis("off")
                continue
            axes.set_title(f"head {layer}.{number}")
            _map(axes, maps[number])
            axes.set_xticks([])
            axes.set_yticks([])
        _say_of_what(made, found)
    return Plot(f"attention-{layer}", f"Attention of the heads of layer {layer}", made)


def _overview(found: Explained) -> Plot:
    layers, heads = found.walk.heads.entropy.shape
    bars = min(len(found.likeliest(found.walk.logprobs())), _MOST_BARS)
    heights = [min(WIDTH / heads, 1.6) * layers + 0.5, 0.3 * (layers + 1) + 0.7, 1.9, 0.24 * bars + 0.6]
    with figure(4, 1, height=sum(heights)) as (made, (maps, lens, sizes, following)):
        grid = maps.get_gridspec()
        assert grid is not None
        grid.set_height_ratios(heights)
        _all_maps(maps, found)
        _lens(lens, found)
        _sizes(sizes, found)
        _next(following, found)
        _say_of_what(made, found)
    return Plot("explained", "A prompt on its way through a model", made)


def _say_of_what(made: "Figure", found: Explained) -> None:
    """The model and what was changed, above everything."""
    changed = [*found.changes.specs, *([f"shuffled ({found.shuffle})"] if found.shuffle is not None else [])]
    told = one_line(found.loaded.name + (f", changed: {', '.join(changed)}" if changed else ""))
    made.suptitle(told if len(told) <= _LONGEST_TITLE else f"{told[: _LONGEST_TITLE - 1]}…", fontsize="medium")


def _all_maps(axes: "Axes", found: Explained) -> None:
    """The maps of all heads side by side, a row for each layer, with a gap of a cell between them."""
    layers = sorted(found.walk.maps)
    kept = [found.walk.maps[layer] for layer in layers]
    T, heads = kept[0].shape[-1], len(kept[0])
    gap = max(1, T // 12)
    tiled = np.full((len(kept) * (T + gap) - gap, heads * (T + gap) - gap), np.nan, np.float32)
    for row, maps in enumerate(kept):
        for column, weights in enumerate(maps):
            top, left = row * (T + gap), column * (T + gap)
            tiled[top : top + T, left : left + T] = _seen(weights)
    axes.set_title("Attention of every head; each row of a map adds up to one")
    axes.imshow(tiled, cmap=_shades(), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    centres = (T - 1) / 2
    axes.set_yticks([centres + row * (T + gap) for row in range(len(kept))], [f"layer {n}" for n in layers])
    axes.set_xticks([centres + column * (T + gap) for column in range(heads)], [f"head {n}" for n in range(heads)])
    _bare(axes)


def _map(axes: "Axes", weights: npt.NDArray[np.float32]) -> None:
    axes.imshow(_seen(weights), cmap=_shades(), vmin=0, vmax=1, interpolation="nearest", aspect="equal")
    _bare(axes)


def _seen(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What may not be looked at is left empty."""
    hidden = (weights == 0) & ~np.tri(len(weights), dtype=bool)
    return np.where(hidden, np.nan, weights)


def _name_pieces(axes: "Axes", found: Explained) -> None:
    ids = found.walk.token_ids
    if len(ids) > _MOST_LABELS:
        return
    names = [_letters(found.piece(token_id)) for token_id in ids]
    axes.set_yticks(range(len(ids)), names)
    axes.set_xticks(range(len(ids)), names, rotation=90)


def _lens(axes: "Axes", found: Explained) -> None:
    """The likeliest next piece behind each layer, at the last positions up to the one that is looked at."""
    seen, lens = found.walk, found.walk.lens
    stop = seen.at + 1 - lens.start
    first = max(0, stop - _COLUMNS)
    probs = lens.probs[::-1, first:stop]
    axes.set_title("What it would say next if it stopped behind a layer")
    axes.imshow(probs, cmap=_shades(), vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    for row, ids in enumerate(lens.ids[::-1, first:stop].tolist()):
        for column, token_id in enumerate(ids):
            tint = colour("page") if probs[row, column] > 0.55 else colour("ink")
            axes.text(column, row, _letters(found.piece(token_id)), color=tint, size=7, ha="center", va="center")
    layers = len(lens.ids) - 1
    axes.set_yticks(range(layers + 1), [*(f"layer {n}" for n in reversed(range(layers))), "embedding"])
    positions = range(lens.start + first, lens.start + stop)
    axes.set_xticks(range(len(positions)), [_letters(found.piece(seen.token_ids[n])) for n in positions])
    _bare(axes)


def _sizes(axes: "Axes", found: Explained) -> None:
    seen, at = found.walk, found.walk.at
    layers = range(len(seen.attention))
    lines: Sequence[tuple[Any, Any, str]] = (
        (range(-1, len(layers)), seen.stream[:, at], "stream"),
        (layers, seen.attention[:, at], "attention adds"),
        (layers, seen.mlp[:, at], "feed-forward adds"),
    )
    for number, (x, y, name) in enumerate(lines):
        axes.plot(x, y, marker="o", markersize=3.5, color=line_colour(number), label=name)
    axes.set_title(f"Sizes at piece {at} (root mean square)")
    axes.set_xticks(range(-1, len(layers)), ["embedding", *(str(n) for n in layers)])
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _next(axes: "Axes", found: Explained) -> None:
    """Bars of the likeliest next pieces; of what was changed, before and after."""
    changed = found.before is not None
    shown = found.effect() if changed else found.likeliest(found.walk.logprobs())
    if changed:
        shown = sorted(shown, key=lambda each: -max(each["before"], each["after"]))
    shown = shown[:_MOST_BARS]
    places = np.arange(len(shown))
    thick = 0.38 if changed else 0.7
    if changed:
        axes.barh(places - 0.2, [each["before"] for each in shown], thick, color=line_colour(0), label="before")
        axes.barh(places + 0.2, [each["after"] for each in shown], thick, color=line_colour(1), label="after")
        axes.legend(fontsize=8, loc="lower right")
    else:
        axes.barh(places, [each["prob"] for each in shown], thick, color=line_colour(0))
    told = f", {found.kl:.3g} nats from before (KL)" if changed else ""
    axes.set_title(f"Probability of the next piece{told}")
    axes.set_yticks(places, [_letters(each["piece"]) for each in shown])
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


def _bare(axes: "Axes") -> None:
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("shades", [colour("panel"), colour("c0")])
    return shades.with_extremes(bad=colour("page"))


def _letters(piece: str) -> str:
    """A piece as it fits into a cell, in signs that the font has."""
    told = "".join(char if _drawable(char) else "□" for char in visible(piece))
    return told if len(told) <= _LONGEST else f"{told[: _LONGEST - 1]}…"


@cache
def _drawable(char: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return bool(get_font(findfont("DejaVu Sans")).get_char_index(ord(char)))
