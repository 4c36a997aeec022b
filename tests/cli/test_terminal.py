"""Sentences on a terminal are folded between words; elsewhere they stay as they are."""

import contextlib
import io
import os
import pty

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.cli.progress import TrainingView, part_of
from mlxllm.cli.terminal import columns, did_you_mean, fold
from tests.training.tiny import call


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")


SENTENCE = "run 'mine' exists already; continue it with `mlxllm resume mine` or choose another --run name"


@given(st.lists(st.text("abc-/.", min_size=1, max_size=20), min_size=1).map(" ".join))
def test_folding_keeps_every_word_whole_and_every_line_within_the_terminal(text: str) -> None:
    lines = fold(text, Terminal()).split("\n")
    assert " ".join(lines) == text
    assert max(map(len, lines)) <= 39
    assert fold(text, io.StringIO()) == text


def test_a_path_longer_than_a_line_stays_in_one_piece_but_what_a_model_writes_does_not() -> None:
    path = "/home/" + 60 * "x"
    assert fold(f"there is {path} already", Terminal()).split("\n") == ["there is", path, "already"]
    folded = fold(path, Terminal(), margin="  | ", whole_words=False).split("\n")
    assert len(folded) == 2
    assert all(line.startswith("  | ") and len(line) <= 39 for line in folded)


def test_lines_go_on_below_their_own_beginning() -> None:
    text = "Next:\n  mlxllm chat --model stories-1           talk to it\n\nend"
    shown = fold(text, Terminal())
    assert shown == "Next:\n  mlxllm chat --model stories-1\n  talk to it\n\nend"
    assert (
        fold(text, io.StringIO(), margin="| ").split("\n")[1]
        == "|   mlxllm chat --model stories-1           talk to it"
    )


def test_the_width_is_that_of_the_stream_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    ours, theirs = pty.openpty()
    with open(theirs, "w") as stream:
        assert columns(stream) == 80  # a terminal that does not know
        import fcntl
        import struct
        import termios

        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 57, 0, 0))
        assert columns(stream) == 57
    os.close(ours)
    assert columns(io.StringIO()) == 80


def test_an_error_on_a_terminal_is_folded_and_one_line_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    from mlxllm.cli.app import run

    plain = call("train", "--preset", "nothing-like-it").stderr
    assert len(plain.splitlines()) == 1
    stream = Terminal()
    monkeypatch.setattr("sys.argv", ["mlxllm", "train", "--preset", "nothing-like-it"])
    with contextlib.redirect_stderr(stream), pytest.raises(SystemExit):
        run()
    lines = stream.getvalue().splitlines()
    assert len(lines) > 3
    assert " ".join(lines) == plain.strip()
    assert max(map(len, lines)) <= 39


def test_narration_on_a_terminal_is_folded() -> None:
    stream = Terminal()
    TrainingView(stream=stream).say(SENTENCE)
    assert " ".join(stream.getvalue().splitlines()) == SENTENCE
    assert max(map(len, stream.getvalue().splitlines())) <= 39


@pytest.mark.parametrize(
    ("tokens", "dataset", "words"),
    [
        (25_000, 10_000, "2.5 times through the dataset's 10,000"),
        (10_000, 10_000, "1.0 times through the dataset's 10,000"),
        (9_990, 10_000, "100 % of the dataset's 10,000"),
        (3_140, 10_000, "31 % of the dataset's 10,000"),
        (31, 10_000, "0.31 % of the dataset's 10,000"),
        (700, 1_000_000, "0.07 % of the dataset's 1,000,000"),
        (1, 10_000_000, "less than 0.01 % of the dataset's 10,000,000"),
    ],
)
def test_how_much_of_a_dataset_is_read(tokens: int, dataset: int, words: str) -> None:
    assert part_of(tokens, dataset) == words


def test_the_nearest_name() -> None:
    assert did_you_mean("char-tny", ("small-10m", "char-tiny")) == "did you mean char-tiny?"
    assert did_you_mean("qqq", ("small-10m", "char-tiny")) is None
