"""Rows of records by step: each once an epoch, the same from wherever one begins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.errors import DataError
from mlxllm.training import rows as module
from mlxllm.training.rows import RowLoader


def loader(count: int, rows_per_step: int, seed: int = 0) -> RowLoader:
    rows = [
        {"ids": np.full(4, n, dtype=np.int32), "more": np.array([n, -n], dtype=np.float32), "left": np.zeros(1)}
        for n in range(count)
    ]
    return RowLoader(rows, ("more", "ids"), rows_per_step, seed)


def numbers(rows: RowLoader, step: int) -> list[int]:
    more, ids = rows.batch(step)
    assert ids.shape[1:] == (4,)
    assert (more[:, 0] == ids[:, 0]).all()
    assert (more[:, 1] == -ids[:, 0]).all()
    return [int(i) for i in ids[:, 0]]


@settings(max_examples=25)
@given(count=st.integers(1, 12), rows_per_step=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_every_row_once_an_epoch(count: int, rows_per_step: int, seed: int) -> None:
    ours = loader(count, rows_per_step, seed)
    visited = [n for step in range(3 * count) for n in numbers(ours, step)]
    for epoch in range(3 * rows_per_step):
        assert sorted(visited[epoch * count : (epoch + 1) * count]) == list(range(count))


@pytest.mark.parametrize("begin", [0, 3, 4, 5, 11])
def test_a_step_reads_the_same_from_wherever_one_begins(begin: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the stretches that are laid out at a time, and when a step is asked for again."""
    monkeypatch.setattr(module, "_STRETCH", 8)
    whole = [numbers(loader(7, 2), step) for step in range(16)]
    again = loader(7, 2)
    assert [numbers(again, step) for step in range(begin, 16)] == whole[begin:]
    assert [numbers(again, 5), numbers(again, 5), numbers(again, 6)] == [whole[5], whole[5], whole[6]]
    assert [numbers(loader(7, 2, seed=1), step) for step in range(16)] != whole


@settings(max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=40),
    rows_per_step=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_rows_of_a_step_are_about_equally_long(lengths: list[int], rows_per_step: int, seed: int) -> None:
    """Each is still there once an epoch, filled up with zeros to the longest of its step."""
    rows = [{"ids": np.full((2, n), i + 1, dtype=np.int32)} for i, n in enumerate(lengths)]
    ours = RowLoader(rows, ("ids",), rows_per_step, seed, lengths=lengths)
    visited, padding, steps = [], 0, len(lengths) // rows_per_step
    for step in range(steps):
        (ids,) = ours.batch(step)
        for row in ids:
            number = int(row[0, 0])
            visited.append(number)
            n = lengths[number - 1]
            assert (row[:, :n] == number).all()
            assert (row[:, n:] == 0).all()
            padding += row.shape[1] - n
        assert ids.shape[2] == max(lengths[n - 1] for n in visited[-rows_per_step:])
    assert len(set(visited)) == steps * rows_per_step
    if len(lengths) <= 16 * rows_per_step:
        assert padding <= (rows_per_step - 1) * (max(lengths) - min(lengths))


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="no record"):
        loader(0, 1)
