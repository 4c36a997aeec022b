"""How far a reader is: it survives, it grows, and a damaged file costs a sentence."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.errors import UserError
from mlxllm.learn import progress
from mlxllm.learn.contents import CHAPTERS
from mlxllm.learn.progress import MARKS, Progress, forget, mark, read_progress


def test_marks_survive_and_add_up(mlxllm_home: Path) -> None:
    assert (read_progress(), read_progress().next) == (Progress(), 1)
    mark(1, "read")
    mark(1, "tried", "answered")
    now = mark(3, "read")
    assert now == read_progress()
    assert (now.of(1), now.of(3), now.of(2)) == ({"read", "tried", "answered"}, {"read"}, frozenset())
    assert (now.done, now.next, now.last) == (1, 2, 3)
    assert mark(2, "done").next == 3
    forget()
    assert read_progress() == Progress()
    assert list(mlxllm_home.iterdir()) == []
    forget()  # nothing to forget is no mistake


@given(st.lists(st.tuples(st.integers(1, len(CHAPTERS)), st.sampled_from(MARKS)), max_size=30))
def test_what_is_written_is_what_is_read(steps: list[tuple[int, progress.Mark]]) -> None:
    forget()
    for number, what in steps:
        mark(number, what)
    now = read_progress()
    for number in range(1, len(CHAPTERS) + 1):
        assert now.of(number) == {what for at, what in steps if at == number}
        assert now.is_done(number) == ("done" in now.of(number) or {"tried", "answered"} <= now.of(number))
    assert now.last == (steps[-1][0] if steps else 0)
    assert now.done == sum(now.is_done(chapter.number) for chapter in CHAPTERS)


@pytest.mark.parametrize("content", ["{broken", "[]", '{"chapters": 3}', "\x00", '"' + "x" * 2000])
def test_a_damaged_file_is_one_sentence_and_a_fresh_start(mlxllm_home: Path, content: str) -> None:
    place = mlxllm_home / progress.FILE
    place.write_text(content)
    found = read_progress()
    assert found.marks == {}
    assert str(place) in found.problem
    assert "begins anew" in found.problem
    assert "\n" not in found.problem
    assert mark(2, "read").of(2) == {"read"}
    assert (mlxllm_home / f"{progress.FILE}.damaged").read_text() == content
    assert read_progress() == Progress({2: frozenset({"read"})}, 2)


def test_what_is_not_known_is_passed_over(mlxllm_home: Path) -> None:
    """A file of a later version, with chapters and marks that this one does not have."""
    chapters = {"1": ["read", "sung"], "99": ["read"], "x": ["done"], "2": "done", "3": []}
    (mlxllm_home / progress.FILE).write_text(json.dumps({"last": 99, "chapters": chapters}))
    found = read_progress()
    assert (found.of(1), found.of(2), found.last, found.problem) == ({"read"}, frozenset(), 0, "")


def test_a_home_that_cannot_be_written_is_told(mlxllm_home: Path) -> None:
    (mlxllm_home / progress.FILE).mkdir()
    with pytest.raises(UserError, match="cannot remove"):
        forget()
