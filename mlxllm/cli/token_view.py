"""Tokens for the eye: each piece above its id, on alternating backgrounds or between bars.

White space is made visible and control characters are written out, so that a text can neither hide a token
nor steer the terminal.
"""

from collections.abc import Iterable, Iterator, Sequence

from mlxllm.visible import SIGN_NAMES, SIGNS, visible

# 256-colour pairs (background) that keep black text readable on dark and light terminals.
_BACKGROUNDS = ("\x1b[30;48;5;153m", "\x1b[30;48;5;223m")
_DIM, RESET = "\x1b[2m", "\x1b[0m"
TRAINED, MASKED = "\x1b[30;48;5;157m", "\x1b[38;5;245m"
"""Black on green and grey, for tokens that are targets of training and for those that are not."""


def legend(pieces: Iterable[str]) -> str:
    """What the signs in these pieces stand for; empty where there are none."""
    listed = list(pieces)
    seen = set().union(*listed)
    told = [f"{sign} is {SIGN_NAMES[sign]}" for char, sign in SIGNS.items() if char in seen]
    if byte := next((piece for piece in listed if piece.startswith("<0x")), None):
        told.append(f"{byte} is a byte of what has no piece of its own")
    return ", ".join(told)


def interlinear(
    tokens: Sequence[tuple[int, str]], width: int, colour: bool, trained: Sequence[bool] | None = None
) -> Iterator[str]:
    """Lines of pieces, each followed by a line of their ids.

    Args:
        tokens: id and piece of every token.
        width: columns of the terminal.
        colour: alternate backgrounds; otherwise bars stand between the tokens, unless each is a character or a byte.
        trained: which tokens are targets of training: colours say that then, or brackets around the ids.
    """
    single = all(len(piece) == 1 or piece.startswith("<0x") for _, piece in tokens)
    separator = " " if colour or single else "|"
    for row in _rows(tokens, width, 2 if trained is not None and not colour else 0):
        above, below = [], []
        for position, token_id, piece, columns in row:
            space = columns - display_width(piece)
            # A character stands in the middle of its id, the rest begins where its id begins.
            left = space // 2 if single else 0
            padded = " " * left + piece + " " * (space - left)
            number = f"{token_id:<{columns}}"
            background = _BACKGROUNDS[position % 2]
            if trained is not None:
                background = TRAINED if trained[position] else MASKED
                number = f"[{token_id}]".ljust(columns) if trained[position] and not colour else number
            above.append(f"{background}{padded}{RESET}" if colour else padded)
            below.append(f"{_DIM}{number}{RESET}" if colour else number)
        yield separator.join(above)
        yield separator.join(below)


def _rows(tokens: Sequence[tuple[int, str]], width: int, around: int) -> Iterator[list[tuple[int, int, str, int]]]:
    """Rows of (position, id, visible piece, columns); a row ends at the width or behind a line end.

    An id takes `around` columns more than its digits.
    """
    row: list[tuple[int, int, str, int]] = []
    used = 0
    for position, (token_id, piece) in enumerate(tokens):
        shown = visible(piece)
        columns = max(display_width(shown), len(str(token_id)) + around)
        if row and used + columns > width:
            yield row
            row, used = [], 0
        row.append((position, token_id, shown, columns))
        used += columns + 1
        if "\n" in piece:
            yield row
            row, used = [], 0
    if row:
        yield row


def display_width(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # East Asian characters take two columns

    return cell_len(text)
