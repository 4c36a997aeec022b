"""A text in fewer cells than it has."""

from rich.cells import cell_len


def cut_middle(text: str, width: int, *, ascii_only: bool = False) -> str:
    """A text in so many cells: of a longer one, beginning and end with a mark between them."""
    if cell_len(text) <= width:
        return text
    mark = ".." if ascii_only else "…"
    room = max(0, width - cell_len(mark))
    head, tail = text[: room // 2], text[-room:] if room else ""
    while cell_len(head) > room // 2:
        head = head[:-1]
    while cell_len(tail) > room - cell_len(head):
        tail = tail[1:]
    return f"{head}{mark}{tail}"


def cut_end(text: str, width: int, *, ascii_only: bool = False) -> str:
    """A text in so many cells: of a longer one its beginning, and a mark."""
    if cell_len(text) <= width:
        return text
    mark = ".." if ascii_only else "…"
    while text and cell_len(text) + len(mark) > width:
        text = text[:-1]
    return text + mark
