"""Stop strings, however the text is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.errors import ConfigError
from mlxllm.inference.stopping import StopMatcher


def run(pieces: list[str], stop: list[str]) -> tuple[str, bool]:
    matcher = StopMatcher(stop)
    out = ""
    for piece in pieces:
        out += matcher.add(piece)
        if matcher.stopped:
            return out, True
    return out + matcher.flush(), False


def first_end(text: str, stop: list[str]) -> tuple[str, bool]:
    """The definition, by brute force."""
    for end in range(1, len(text) + 1):
        found = [s for s in stop if text[:end].endswith(s)]
        if found:
            return text[: end - max(map(len, found))], True
    return text, False


@given(
    pieces=st.lists(st.text("ab", max_size=4), max_size=8),
    stop=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_the_cut_makes_no_difference(pieces, stop):
    text = "".join(pieces)
    assert run(pieces, stop) == run(list(text), stop) == run([text], stop) == first_end(text, stop)


def test_holds_back_no_more_than_it_must():
    matcher = StopMatcher(["\nUser:"])
    assert matcher.add("Hello") == "Hello"
    assert matcher.add(" there\nUs") == " there"
    assert matcher.add("ed") == "\nUsed"
    assert matcher.add("\n") == ""
    assert matcher.flush() == "\n"
    assert not matcher.stopped
    assert [matcher.add(c) for c in "x\nUser: y"] == ["x", *[""] * 8]
    assert matcher.stopped


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="stop string is empty"):
        StopMatcher(["a", ""])
