"""Which tokens a step reads: every window of an epoch once, and a function of seed and step alone."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.data.shards import TokenDataset
from mlxllm.errors import DataError
from mlxllm.training.loader import TokenLoader


class Counting:
    """A stream whose token at place p is p, so that a row tells where it was read."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens

    def read(self, start: int, count: int) -> np.ndarray:
        assert start >= 0
        assert start + count <= self.num_tokens, "read behind the end"
        return np.arange(start, start + count, dtype=np.uint32)


def starts(loader: TokenLoader, steps: range) -> list[int]:
    """Where each row of these steps begins; that it is contiguous is checked on the way."""
    found = []
    for step in steps:
        batch = loader.batch(step)
        assert batch.dtype == np.int32
        assert (np.diff(batch, axis=1) == 1).all()
        found += batch[:, 0].tolist()
    return found


sizes = st.tuples(st.integers(2, 20), st.integers(0, 400)).map(lambda p: (p[0], p[0] + 1 + p[1]))  # (T, tokens)
seeds = st.integers(0, 2**32 - 1)


@given(size=sizes, seed=seeds, epochs=st.integers(1, 4))
def test_an_epoch_has_every_window_exactly_once(size: tuple[int, int], seed: int, epochs: int) -> None:
    T, tokens = size
    loader = TokenLoader(Counting(tokens), T, 1, seed)
    windows = loader.windows_per_epoch
    # At most one window's worth of tokens at the beginning and two at the end are left out of an epoch.
    assert windows * T > tokens - 1 - 3 * T or windows == 1
    for epoch in range(epochs):
        begun = sorted(starts(loader, range(epoch * windows, (epoch + 1) * windows)))
        assert begun == [begun[0] + i * T for i in range(windows)]
        assert 0 <= begun[0] <= T


@given(size=sizes, seed=seeds, rows=st.integers(1, 7), data=st.data())
def test_a_batch_is_a_function_of_seed_and_step(
    size: tuple[int, int], seed: int, rows: int, data: st.DataObject
) -> None:
    T, tokens = size
    used = TokenLoader(Counting(tokens), T, rows, seed)
    for step in data.draw(st.lists(st.integers(0, 100), min_size=2, max_size=6)):
        fresh = TokenLoader(Counting(tokens), T, rows, seed)
        np.testing.assert_array_equal(used.batch(step), fresh.batch(step))


@given(size=sizes, seed=seeds, rows=st.integers(1, 12), ranks=st.integers(1, 4), step=st.integers(0, 30))
def test_any_split_of_the_work_reads_the_same_rows(
    size: tuple[int, int], seed: int, rows: int, ranks: int, step: int
) -> None:
    """Row r of step s is window s * rows + r: by one row a step, or by many, it is the same sequence."""
    T, tokens = size
    rows *= ranks
    whole = TokenLoader(Counting(tokens), T, rows, seed).batch(step)
    single = TokenLoader(Counting(tokens), T, 1, seed)
    np.testing.assert_array_equal(whole, np.concatenate([single.batch(step * rows + r) for r in range(rows)]))
    shares = TokenLoader(Counting(tokens), T, rows // ranks, seed)
    parts = [shares.batch(step * ranks + rank) for rank in range(ranks)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))


@settings(max_examples=25)
@given(seed=seeds, T=st.integers(2, 16))
def test_all_epochs_differ(seed: int, T: int) -> None:
    loader = TokenLoader(Counting(40 * T), T, 1, seed)
    windows = loader.windows_per_epoch
    orders = [tuple(starts(loader, range(e * windows, (e + 1) * windows))) for e in range(6)]
    assert len(set(orders)) == 6
    assert all(list(order) != sorted(order) for order in orders)


def test_seeds_differ_and_offsets_cover_the_window() -> None:
    T, tokens = 8, 200
    firsts = Counter()
    for seed in range(300):
        loader = TokenLoader(Counting(tokens), T, 1, seed)
        firsts[min(starts(loader, range(loader.windows_per_epoch)))] += 1
    assert set(firsts) == set(range(T + 1))
    assert max(firsts.values()) < 4 * min(firsts.values())


def test_windows_come_in_every_order() -> None:
    """The first window of an epoch is as often any of them as any other."""
    seen = Counter(int(TokenLoader(Counting(41), 8, 1, seed).batch(0)[0, 0]) // 8 for seed in range(800))
    assert set(seen) >= {0, 1, 2, 3}
    assert min(seen[i] for i in (1, 2)) > 120


def test_the_order_is_pinned() -> None:
    """A resumed run must read what the interrupted one would have, also after an update of numpy or of us."""
    loader = TokenLoader(Counting(101), 10, 2, 42)
    assert loader.windows_per_epoch == 9
    assert [loader.batch(step)[:, 0].tolist() for step in (0, 1, 5)] == [[37, 77], [7, 87], [14, 74]]


@pytest.mark.parametrize("tokens", [1, 10])
def test_too_short_data_is_refused(tokens: int) -> None:
    with pytest.raises(DataError) as refused:
        TokenLoader(Counting(tokens), 10, 4, 0)
    assert str(refused.value) == (
        f"the training split has {tokens} tokens, fewer than one row of 11 (data.max_seq_len + 1); "
        f"use more text or a smaller --max-seq-len"
    )


def test_one_row_is_enough() -> None:
    loader = TokenLoader(Counting(11), 10, 3, 0)
    assert (loader.windows_per_epoch, loader.tokens_per_step) == (1, 30)
    assert starts(loader, range(4)) == [0] * 12


def test_a_real_dataset(data: Path) -> None:
    split = TokenDataset.open(data).train
    batch = TokenLoader(split, 16, 5, 1).batch(3)
    stream = split.read(0, split.num_tokens).tobytes()
    for row in batch:
        assert row.astype(split.dtype).tobytes() in stream
