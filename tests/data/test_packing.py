"""Rows packed from texts hold every text once, whole, and nothing else."""

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.packing import PackedRows, Text, best_fit, pack


def texts_of(rows: PackedRows) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The (token ids, mask of the targets) that stand in the rows; padding stands nowhere: its mask is 0."""
    found = []
    for inputs, targets, mask, positions in zip(rows.inputs, rows.targets, rows.loss_mask, rows.positions, strict=True):
        starts = [*np.flatnonzero(positions == 0).tolist(), len(positions)]
        for start, end in itertools.pairwise(starts):
            if mask[start:end].any():
                assert positions[start:end].tolist() == list(range(end - start))
                assert inputs[start + 1 : end].tolist() == targets[start : end - 1].tolist()
                ids = (int(inputs[start]), *targets[start:end].tolist())
                found.append((ids, tuple(mask[start:end].tolist())))
    return found


texts = st.lists(
    st.lists(st.tuples(st.integers(1, 50), st.booleans()), min_size=0, max_size=20).map(
        lambda pairs: Text(np.array([i for i, _ in pairs], dtype=np.int64), np.array([m for _, m in pairs], dtype=bool))
    ),
    max_size=30,
)


@given(texts=texts, length=st.integers(1, 24))
def test_every_text_is_there_once(texts: list[Text], length: int) -> None:
    rows = pack(texts, length)
    expected = []
    for number, text in enumerate(texts):
        ids, mask = text.token_ids[: length + 1], text.loss_mask[1 : length + 1]
        assert (number in rows.truncated) == (len(text.token_ids) > length + 1)
        assert (number in rows.dropped) == (not mask.any())
        if mask.any():
            expected.append((tuple(ids.tolist()), tuple(int(m) for m in mask)))
    assert sorted(texts_of(rows)) == sorted(expected)
    assert rows.texts == len(expected)
    assert rows.trained_tokens == sum(sum(mask) for _, mask in expected)
    used = sum(len(ids) - 1 for ids, _ in expected)
    assert rows.padding == (1 - used / rows.inputs.size if used else 0)


@given(lengths=st.lists(st.integers(1, 40), max_size=60), capacity=st.integers(40, 60))
def test_best_fit_wastes_little(lengths: list[int], capacity: int) -> None:
    rows = best_fit(lengths, capacity)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    filled = [sum(lengths[i] for i in row) for row in rows]
    assert all(f <= capacity for f in filled)
    # An item never opens a row where it had room: two rows at most half full would have become one.
    assert sum(f <= capacity / 2 for f in filled) <= 1
    assert best_fit(lengths, capacity) == rows
