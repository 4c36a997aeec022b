"""What stands beside the map of a head: the pieces of the prompt, and the next piece before and after a change."""

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from tui.talking.shown import percent
from tui.talking.xray import View

_PIECE = 14
_ORDER_NAME, _ORDER_NUMBER = 12, 9


def pieces(view: View, width: int, *, ascii_only: bool) -> Content:
    """The pieces in a line, that which is looked at in brackets; around it, where there is no room for all."""
    at, more = view.at, "..." if ascii_only else "…"
    parts = [f" {piece} " if n != at else f"[{piece}]" for n, piece in enumerate(view.pieces)]
    start = at
    used = cell_len(parts[at])
    while start and used + cell_len(parts[start - 1]) + 4 <= width:
        start -= 1
        used += cell_len(parts[start])
    shown: list[str | tuple[str, str]] = [f"{more} " if start else ""]
    for n in range(start, len(parts)):
        if n > at and used + cell_len(parts[n]) + 8 > width:
            shown.append(f" {more}")
            break
        used += cell_len(parts[n]) if n > at else 0
        shown.append((parts[n], "bold $accent") if n == at else (parts[n], "on $panel" if n % 2 else ""))
    return Content.assemble(*shown)


def about_piece(view: View, neighbours: str) -> Content:
    """Which piece is looked at, and what its embedding is like."""
    token = view.told["tokens"][view.at]
    near = f"   embeddings near it: {neighbours}" if neighbours else ""
    return Content.styled(
        f"piece {view.at} of {len(view.pieces)} (, and . move), id {token['id']:,}{near}", "$text-muted"
    )


def next_piece(view: View, width: int, *, ascii_only: bool) -> Content:
    """The likeliest next pieces with bars; where something is changed, before and after."""
    full = "#" if ascii_only else "█"
    lines = []
    for piece, before, now in view.next_lines():
        numbers = f"{percent(now):>5} " if before is None else f"{percent(before):>5} > {percent(now):>5} "
        name = set_cell_size(piece, min(_PIECE, max(width - len(numbers) - 3, 6)))
        room = max(width - cell_len(name) - len(numbers), 3)
        bar = full * round(now * room)
        style = "$primary" if before is None or abs(now - before) < 0.005 else "$success" if now > before else "$error"
        lines.append(Content.assemble((name, "bold"), numbers, (bar, style)))
    lines += [Content(""), Content(view.entropies())]
    if order := view.order_lines():
        lines += [Content(""), Content.styled("shuffled: the largest change", "bold")]
        lines.append(
            Content.styled(f"{'':<{_ORDER_NAME}}{'layer 0':>{_ORDER_NUMBER}}{'answer':>{_ORDER_NUMBER}}", "$text-muted")
        )
        lines += [
            Content(f"{name:<{_ORDER_NAME}}{first:>{_ORDER_NUMBER}.1e}{last:>{_ORDER_NUMBER}.1e}")
            for name, first, last in order
        ]
        lines.append(Content.styled(_ORDER, "$text-muted"))
    return Content("\n").join(lines)


_ORDER = (
    "Without positions the first layer is a sum, which has no order. Above it the causal mask still tells the order; "
    "with that lifted too, nothing does."
)
