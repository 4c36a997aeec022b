"""Pastes reach the application whole, wherever what comes from the terminal is cut."""

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from textual import events
from textual._xterm_parser import BRACKETED_PASTE_END, BRACKETED_PASTE_START
from textual.message import Message

from tui.pasting import PasteParser

NASTY = "line one\nline \x1b[31mtwo\ttab\nline three"
PASTES = st.text(st.sampled_from("\x1b[201~ab\n\r\té"), min_size=1, max_size=40).filter(
    lambda text: BRACKETED_PASTE_END not in text
)


def events_of(text: str, cuts: list[int]) -> list[Message]:
    parser, places = PasteParser(), sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[begin:end] for begin, end in pairwise(places)]
    return [event for piece in pieces for event in parser.feed(piece)]


@given(PASTES, PASTES, st.lists(st.integers(0, 200), max_size=6))
@example(NASTY, NASTY, [])
@example("\x1b[201", "\x1b", [3, 8, 14])
def test_a_paste_is_one_event_and_no_key(first: str, second: str, cuts: list[int]) -> None:
    sent = "".join(f"{BRACKETED_PASTE_START}{text}{BRACKETED_PASTE_END}" for text in (first, second))
    came = events_of(f"x{sent}\x1b[Ay", cuts)
    assert [type(event) for event in came] == [events.Key, events.Paste, events.Paste, events.Key, events.Key]
    pasted = [event.text for event in came if isinstance(event, events.Paste)]
    assert pasted == [text.replace("\x1b", "␛") for text in (first, second)]
    assert [event.key for event in came if isinstance(event, events.Key)] == ["x", "up", "y"]
