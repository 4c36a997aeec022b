"""A walk through a model as text: tables, and a head's attention in shaded cells."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from mlxllm.cli.sampling import bold
from mlxllm.cli.table import print_table
from mlxllm.cli.terminal import columns, fold
from mlxllm.cli.token_view import display_width
from mlxllm.visible import counted, visible

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from mlxllm.explain.order import Order
    from mlxllm.explain.xray import Explained

SHADES = ((0.6, "█"), (0.3, "▓"), (0.1, "▒"), (0.02, "░"), (0.0, "·"))
"""A cell of attention from so much weight on; what a token may not look at stays empty."""
_LEGEND = "· below 2 %   ░ 2 to 10 %   ▒ 10 to 30 %   ▓ 30 to 60 %   █ above"
_PIECE = 12
"""Columns of a piece beside a row."""
_SAID = 3
_BAR = 30


def show(found: "Explained", layer: int | None = None, head: int | None = None) -> None:
    """Print all of it.

    Args:
        found: with the maps of the layer that is shown.
        layer: whose attention is shown; by default the most decided head of all is.
        head: the head of it; by default all of them.
    """
    import numpy as np

    config, seen = found.loaded.config, found.walk
    entropy = seen.heads.entropy
    heads = [head] if head is not None else list(range(config.num_attention_heads))
    if decided := layer is None:
        layer, best = (int(n) for n in np.unravel_index(np.argmin(entropy), entropy.shape))
        heads = [best]
    place = {"rope": "rotary positions", "none": "no positions"}.get(config.positions, f"{config.positions} positions")
    about = f"{counted(config.num_hidden_layers, 'layer')} of {counted(config.num_attention_heads, 'head')}"
    _head(f"{visible(found.loaded.address)}: {about}, {config.hidden_size:,} wide, {place}")
    for spec in found.changes.specs:
        print(f"changed: {visible(spec)}")
    if found.shuffle is not None:
        print(f"changed: the pieces before position {seen.at} shuffled (seed {found.shuffle})")
    _head("\nPieces")
    _pieces(found)
    _head(f"\nThrough the layers, at piece {seen.at} {_piece(found, seen.at)!r}")
    _layers(found)
    _head(f"\nHeads of layer {layer}")
    _heads(found, layer)
    pieces = [_piece(found, n) for n in range(len(seen.token_ids))]
    for each in heads:
        _head(f"\nAttention of layer {layer}, head {each}" + (" (the most decided one)" if decided else ""))
        for line in heat_map(seen.maps[layer][each], pieces, _room()):
            print(line)
    _head(f"\nNext piece, after {_piece(found, seen.at)!r}")
    _next(found)
    if found.order:
        _head("\nWhat order is worth")
        _order(found.order, found.loaded.config.sliding_window)


def heat_map(weights: "npt.NDArray[np.float32]", pieces: Sequence[str], room: int | None) -> Iterator[str]:
    """Lines of a head's attention: a row for each token, and in it a cell for each that it looks at.

    Args:
        weights: (T, T), rows sum to one.
        pieces: T of them, safe to be printed.
        room: columns of the terminal; None is as many as it takes. The last tokens are shown where there are too few.
    """
    T = len(pieces)
    start = 0 if room is None else max(0, T - max((room - _PIECE - 6) // 2, 1))
    margin = " " * (_PIECE + 5)
    if start:
        yield f"the last {T - start} of {T} pieces"
    every = 5 if T > 10 else 1  # two digits side by side would run into each other
    yield (margin + "".join(f"{n % 100:>2}" if n % every == 0 else "  " for n in range(start, T))).rstrip()
    for n in range(start, T):
        cells = "".join(
            _shade(float(weights[n, m])) * 2 if weights[n, m] > 0 or m <= n else "  " for m in range(start, T)
        )
        yield f"{n:>4} {_cut(pieces[n])}{cells}".rstrip()
    yield margin + _LEGEND


def _shade(weight: float) -> str:
    return next(sign for least, sign in SHADES if weight >= least)


def _cut(piece: str) -> str:
    """A piece in exactly `_PIECE` columns."""
    while display_width(piece) > _PIECE - 1:
        piece = piece[:-2] + "…"
    return piece + " " * (_PIECE - display_width(piece))


def _room() -> int | None:
    return columns(sys.stdout) if sys.stdout.isatty() else None


def _head(text: str) -> None:
    line_end = "\n" if text.startswith("\n") else ""
    print(line_end + bold(text.removeprefix("\n"), sys.stdout))


def _piece(found: "Explained", position: int) -> str:
    return visible(found.piece(found.walk.token_ids[position]))


def _pieces(found: "Explained") -> None:
    rows = []
    for position, token_id in enumerate(found.walk.token_ids):
        near = ", ".join(
            f"{visible(found.piece(other))} {cosine:.2f}" for other, cosine in found.near.get(token_id, ())
        )
        rows.append((str(position), _piece(found, position), f"{token_id:,}", near))
    header = ("position", "piece", "id", "embeddings near it (cosine)")
    print_table(header if found.near else header[:3], rows if found.near else [row[:3] for row in rows])


def _layers(found: "Explained") -> None:
    import numpy as np

    from mlxllm.explain.xray import best_ids, entropy_of

    seen, rows = found.walk, []
    for number in range(len(seen.logits)):
        logprobs = seen.logprobs(number)
        said = ", ".join(f"{visible(found.piece(i))} {np.exp(logprobs[i]):.1%}" for i in best_ids(logprobs, _SAID))
        added = [f"{sizes[number - 1, seen.at]:.3g}" if number else "" for sizes in (seen.attention, seen.mlp)]
        name = str(number - 1) if number else "embedding"
        rows.append((name, f"{seen.stream[number, seen.at]:.3g}", *added, f"{entropy_of(logprobs):.2f}", said))
    print_table(
        ("layer", "stream", "attention +", "feed-forward +", "entropy", "if it stopped here, it would say"), rows
    )
    print("(sizes are root mean squares; entropy in nats)")


def _heads(found: "Explained", layer: int) -> None:
    heads, rows = found.walk.heads, []
    for head in range(heads.entropy.shape[1]):
        target = int(heads.target[layer, head])
        most = f"{target} {_piece(found, target)} {heads.target_weight[layer, head]:.0%}"
        shares = [f"{each[layer, head]:.0%}" for each in (heads.itself, heads.previous, heads.first)]
        rows.append((str(head), f"{heads.entropy[layer, head]:.2f}", *shares, most))
    at = found.walk.at
    print_table(("head", "entropy", "itself", "the one before", "the first", f"piece {at} looks most at"), rows)


def _next(found: "Explained") -> None:
    import numpy as np

    from mlxllm.explain.xray import entropy_of

    logprobs = found.walk.logprobs()
    entropy, most = entropy_of(logprobs), float(np.log(len(logprobs)))
    if found.before is None:
        rows = [
            (visible(each["piece"]), f"{each['id']:,}", f"{each['prob']:.2%}", "█" * round(each["prob"] * _BAR))
            for each in found.likeliest(logprobs)
        ]
        print_table(("piece", "id", "probability", ""), rows)
        print(f"entropy {entropy:.3f} nats (guessing would be {most:.3f})")
        return
    changed = [
        (
            visible(each["piece"]),
            f"{each['before']:.2%}",
            f"{each['after']:.2%}",
            f"{each['after'] - each['before']:+.2%}",
        )
        for each in found.effect()
    ]
    print_table(("piece", "before", "after", "change"), changed)
    print(f"entropy {entropy_of(found.before.logprobs()):.3f} -> {entropy:.3f} nats (guessing would be {most:.3f})")
    print(f"KL divergence {found.kl:.6f} nats; no probability changes by more than {found.largest_change:.3g}")


def _order(orders: Sequence["Order"], window: int | None) -> None:
    rows = []
    for order in orders:
        positions, mask = "as they are" if order.positions else "off", "causal" if order.causal else "lifted"
        first = order.by_layer[1]
        rows.append((positions, mask, f"{first:.2e}", f"{order.change:.2e}"))
    print_table(("positions", "mask", "change behind layer 0", "change of the prediction"), rows)
    told = (
        "The largest change of a probability when the pieces before are shuffled. Without positions the first layer is "
        "a sum, which has no order. In deeper layers the causal mask still tells it, as a piece is what it has seen: only "
        "with the mask lifted as well is all of it free of order, up to rounding."
    )
    if window is not None:
        told += f" Behind the window of {window:,} pieces it does depend on order, which decides what is let in."
    print(fold(told, sys.stdout))
