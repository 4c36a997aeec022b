"""Pasted text is text: an escape character in it must not end the paste, or the rest of it would be taken for keys.

Textual's parser looks for escape sequences within a paste too. At one that it does not know, it hands on what follows as
keys, ahead of the paste: a tab moves the focus, a line's end sends, letters do what they do on the screen. So the
character becomes a sign before the parser sees it.
"""

from collections.abc import Iterable

from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START, XTermParser
from textual.drivers import linux_driver, web_driver
from textual.message import Message

_ESCAPE, _SIGN = "\x1b", "\u241b"


class PasteFilter:
    """What comes from the terminal, in pieces that may end anywhere."""

    def __init__(self) -> None:
        """No paste has begun."""
        self._inside = False
        self._held = ""  # of the end's mark, which may go on in the next piece
        self._tail = ""  # what came last, in which the beginning's mark may have begun

    def clean(self, piece: str) -> str:
        """The piece without escape characters inside of a paste; the beginning of a mark of the end waits for the rest."""
        cleaned: list[str] = []
        while piece:
            if self._inside:
                piece, self._held = self._held + piece, ""
                body, end, piece = piece.partition(BRACKETED_PASTE_END)
                if not end:
                    self._held = _begun(body)
                    body = body.removesuffix(self._held)
                self._inside = not end
                cleaned += [body.replace(_ESCAPE, _SIGN), end]
            else:
                seen = self._tail + piece
                before, start, piece = seen.partition(BRACKETED_PASTE_START)
                self._inside = bool(start)
                cleaned.append((before + start)[len(self._tail) :])
                self._tail = "" if start else seen[-len(BRACKETED_PASTE_START) + 1 :]
        return "".join(cleaned)


def _begun(text: str) -> str:
    """The end of a text that may be the beginning of the mark; "" for none."""
    sizes = range(min(len(BRACKETED_PASTE_END) - 1, len(text)), 0, -1)
    return next((BRACKETED_PASTE_END[:size] for size in sizes if text.endswith(BRACKETED_PASTE_END[:size])), "")


class PasteParser(XTermParser):
    """Textual's parser, which gets pastes without escape characters."""

    def __init__(self, debug: bool = False) -> None:
        """Begin outside of a paste."""
        super().__init__(debug)
        self._pastes = PasteFilter()

    def feed(self, data: str) -> Iterable[Message]:
        """The events of what came; an empty text is the end."""
        cleaned = self._pastes.clean(data)
        return super().feed(cleaned) if cleaned or not data else ()


def install() -> None:
    """Have the drivers that start from now on use it: Textual has no place to say so."""
    for driver in (linux_driver, web_driver):
        setattr(driver, XTermParser.__name__, PasteParser)
