"""Tables, fields and streamed text: whole in a pipe, made to fit on a terminal, and never cut."""

import io
import sys

import pytest

from mlxllm.cli.run_compare import print_by_run
from mlxllm.cli.streaming import Stream
from mlxllm.cli.table import field_lines, table_lines

HEADER = ("name", "status", "numbers", "notes")
ROWS = [("a-name-of-some-length", "finished", "1,234/5,678", "four short words here"), ("b", "-", "-", "-")]


class Terminal(io.StringIO):
    """Written text, as on a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch):
    return lambda columns: monkeypatch.setenv("COLUMNS", str(columns))


def table(stream: io.StringIO, *expendable: str) -> list[str]:
    return list(table_lines(HEADER, ROWS, stream, expendable))


def test_a_pipe_gets_every_column_whole(width) -> None:
    width(20)
    header, first, second = table(io.StringIO(), "notes", "numbers")
    assert header.split() == list(HEADER)
    assert first == "  ".join(ROWS[0])
    assert second.split() == list(ROWS[1])
    assert [second.index("-"), header.index("status")] == [header.index("status")] * 2


@pytest.mark.parametrize(
    ("columns", "left"),
    [
        (120, HEADER),
        (68, HEADER),
        (67, ("name", "status", "notes")),
        (40, ("name", "status")),
        (10, ("name", "status")),
    ],
)
def test_a_terminal_does_without_the_expendable_columns_first(width, columns: int, left: tuple[str, ...]) -> None:
    width(columns)
    lines = table(Terminal(), "numbers", "notes")
    assert tuple(lines[0].split()) == left
    assert lines[1].split()[:2] == ["a-name-of-some-length", "finished"], "what is left is never cut"
    if columns > 40:
        assert max(map(len, lines)) < columns


def test_the_last_column_is_folded_between_words(width) -> None:
    width(60)
    lines = table(Terminal())
    assert [line.split("  ")[-1].strip() for line in lines[:3]] == ["notes", "four short", "words here"]
    assert lines[1].index("four") == lines[2].index("words")


@pytest.mark.parametrize(("columns", "long"), [(80, False), (50, True)])
def test_runs_side_by_side_go_below_each_other_where_there_is_no_room(
    width, columns: int, long: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    width(columns)
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    runs = ["tales-first", "tales-second", "tales-third"]
    rows = [["quiz", *4 * [""]], ["  acc", "20", "35.0 % ± 10.9", "36.0 % ± 10.9", "37.0 % ± 10.9"]]
    print_by_run(["task, metric", "items", *runs], rows, expendable=("items",))
    lines = [line.rstrip() for line in out.getvalue().splitlines()]
    assert max(map(len, lines)) < columns
    if long:
        assert [line.split("  ")[-1].strip() for line in lines] == ["value", "quiz", *rows[1][2:]]
        assert [line.split()[:2] for line in lines[2:3]] == [["acc", runs[0]]]
        assert [line.split()[0] for line in lines[3:]] == runs[1:]
    else:
        assert lines[0].split() == ["task,", "metric", "items", *runs]
        assert len(lines) == 3


def test_wide_characters_are_counted_as_a_terminal_shows_them() -> None:
    first, second, third = table_lines(("a", "b"), [("日本", "x"), ("long", "y")], io.StringIO())
    assert (first, second, third) == ("a     b", "日本  x", "long  y")


def test_fields_go_on_below_themselves(width) -> None:
    width(40)
    fields = [
        ("short", "one"),
        ("longer", "a value of more words than there is room for"),
        ("x", "/a/path/" + "p" * 50),
    ]
    lines = list(field_lines(fields, Terminal()))
    assert lines[0] == "short   one"
    assert lines[1].splitlines()[0].startswith("longer  a value of")
    assert all(line.startswith(" " * 8) for line in lines[1].splitlines()[1:])
    assert max(map(len, lines[1].splitlines())) < 40
    assert lines[2].endswith("p" * 50), "a path can still be copied"
    assert list(field_lines(fields, io.StringIO()))[1] == f"longer  {fields[1][1]}"


# Streamed text


def streamed(monkeypatch: pytest.MonkeyPatch, out: io.StringIO, *pieces: str, given: str = "", mark: str = "") -> str:
    monkeypatch.setattr(sys, "stdout", out)
    stream = Stream()
    stream.given(given, mark)
    for piece in pieces:
        stream.add(piece)
    stream.end()
    return out.getvalue()


TEXT = "The little dog ran home, and\n  its friend came too. " + "x" * 45 + " and so on"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_words_stay_whole_on_a_terminal_however_they_come(monkeypatch: pytest.MonkeyPatch, width, size: int) -> None:
    width(30)
    shown = streamed(monkeypatch, Terminal(), *(TEXT[i : i + size] for i in range(0, len(TEXT), size)))
    words = [word for word in TEXT.split() if "x" not in word]
    assert [word for word in shown.split() if "x" not in word] == words
    assert shown.count("x") == 45
    lines = shown.splitlines()
    assert lines[0] == "The little dog ran home, and"
    assert lines[1] == "  its friend came too."
    assert max(map(len, lines)) < 30
    assert shown.endswith("on\n")


def test_letters_are_shown_at_once_where_there_is_room(monkeypatch: pytest.MonkeyPatch, width) -> None:
    width(50)
    out = Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    stream = Stream()
    stream.add("Onc")
    assert out.getvalue() == "Onc"
    stream.add(" upon" * 8)
    assert out.getvalue().endswith("upon"), "there is no room for a long word any more, so the last one waits"
    assert len(out.getvalue()) < len("Onc" + " upon" * 8)
    stream.end()
    assert out.getvalue() == "Onc" + " upon" * 8 + "\n"


def test_a_pipe_gets_the_text_as_it_is(monkeypatch: pytest.MonkeyPatch, width) -> None:
    width(10)
    assert streamed(monkeypatch, io.StringIO(), TEXT, "\x1b") == TEXT + "\x1b\n"
    assert streamed(monkeypatch, io.StringIO(), "ends\n") == "ends\n"
    assert streamed(monkeypatch, io.StringIO()) == "\n"


def test_what_is_continued_stands_out(monkeypatch: pytest.MonkeyPatch, width) -> None:
    width(80)
    assert streamed(monkeypatch, Terminal(), " a time", given="Once upon", mark="|") == "Once upon| a time\n"
    assert streamed(monkeypatch, Terminal(), "A time", mark="|") == "A time\n"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "xterm")
    coloured = streamed(monkeypatch, Terminal(), " a time", given="Once upon", mark="|")
    assert coloured == "\x1b[2mOnce upon\x1b[0m a time\n"
