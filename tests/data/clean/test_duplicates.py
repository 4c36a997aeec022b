"""The index of documents seen: against plain sets, batch by batch, and after it was killed."""

import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mlxllm.data.clean.duplicates import EXACT, NEAR, Duplicate, DuplicateIndex
from mlxllm.data.clean.exact import exact_hash, exact_hashes
from mlxllm.data.clean.near_duplicates import BANDS, band_keys, band_keys_of
from mlxllm.data.clean.seen import SeenHashes
from mlxllm.errors import DataError

Documents = tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.bool_]]


@pytest.mark.parametrize("words", [1, 2])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_set_of_hashes_is_a_set(words: int, data: st.DataObject) -> None:
    drawn = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    high = data.draw(st.sampled_from([3, 50, 20_000, 2**63]))
    seen, reference = SeenHashes(words), set[tuple[int, ...]]()
    for size in data.draw(st.lists(st.integers(0, 6000), min_size=1, max_size=4)):
        hashes = drawn.integers(1, high, (size, words), dtype=np.uint64)
        expected = []
        for row in map(tuple, hashes.tolist()):
            expected.append(row in reference)
            reference.add(row)
        assert seen.add(hashes).tolist() == expected
        assert len(seen) == len(reference)


def test_the_hash_of_nothing_is_a_hash_too() -> None:
    seen = SeenHashes(2)
    zero = np.zeros((1, 2), np.uint64)
    assert seen.add(zero).tolist() == [False]
    assert seen.add(zero).tolist() == [True]
    assert seen.add(np.array([[0, 1]], np.uint64)).tolist() == [False]


def test_a_set_takes_as_much_memory_as_it_says() -> None:
    seen, drawn = SeenHashes(), np.random.default_rng(0)
    for _ in range(40):
        seen.add(drawn.integers(1, 2**63, (5000, 1), dtype=np.uint64))
        assert seen.nbytes <= 16.01 * max(len(seen), 4096 * 0.75)
    assert len(seen) == 200_000
    reserved = SeenHashes()
    reserved.reserve(200_000)
    size = reserved.nbytes
    reserved.add(drawn.integers(1, 2**63, (200_000, 1), dtype=np.uint64))
    assert reserved.nbytes == size


@st.composite
def documents(draw: st.DrawFn) -> Documents:
    """Few different hashes and keys, so that all kinds of duplicates occur."""
    count = draw(st.integers(0, 40))
    drawn = np.random.default_rng(draw(st.integers(0, 2**32)))
    exact = drawn.integers(1, draw(st.sampled_from([4, 1000])), (count, 2), dtype=np.uint64)
    keys = drawn.integers(1, draw(st.sampled_from([30, 400, 10_000])), (count, BANDS), dtype=np.uint64)
    keys = keys * np.uint64(16) + np.arange(BANDS, dtype=np.uint64)  # those of different bands are never equal
    return exact, keys, drawn.random(count) < 0.8


def by_hand(exact: NDArray[np.uint64], keys: NDArray[np.uint64], has_keys: NDArray[np.bool_]) -> list[Duplicate | None]:
    """The rule, with sets."""
    texts, bands = set[tuple[int, ...]](), set[int]()
    found: list[Duplicate | None] = []
    for number, text in enumerate(map(tuple, exact.tolist())):
        own = set(keys[number].tolist()) if has_keys[number] else set()
        found.append("exact duplicate" if text in texts else "near duplicate" if own & bands else None)
        if text not in texts:
            bands |= own
        texts.add(text)
    return found


@given(documents(), st.lists(st.integers(0, 40), max_size=4))
@settings(max_examples=100, deadline=None)
def test_batches_give_what_one_after_another_gives(shown: Documents, cuts: list[int]) -> None:
    exact, keys, has_keys = shown
    single = DuplicateIndex()
    expected = [single.look(e, k if h else None) for e, k, h in zip(exact, keys, has_keys, strict=True)]
    assert expected == by_hand(exact, keys, has_keys)
    index = DuplicateIndex()
    edges = [0, *sorted(min(cut, len(exact)) for cut in cuts), len(exact)]
    batches = [index.look_batch(exact[a:b], keys[a:b], has_keys[a:b]) for a, b in itertools.pairwise(edges)]
    assert [reason for batch in batches for reason in batch] == expected
    assert index.count == single.count == len(exact)


@given(documents(), st.integers(0, 40), st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_a_restored_index_goes_on_as_the_old_one_would(shown: Documents, kept: int, lost: int) -> None:
    exact, keys, has_keys = shown
    whole = DuplicateIndex().look_batch(*shown)
    kept = min(kept, len(exact))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "duplicates.bin"
        with DuplicateIndex(path) as index:
            index.look_batch(exact[:kept], keys[:kept], has_keys[:kept])
            index.look_batch(exact[kept : kept + lost], keys[kept : kept + lost], has_keys[kept : kept + lost])
            index.flush()
        with path.open("ab") as file:
            file.write(b"half a record")
        for _ in range(2):
            with DuplicateIndex.restore(path, kept) as restored:
                assert restored.count == kept
                assert restored.look_batch(exact[kept:], keys[kept:], has_keys[kept:]) == whole[kept:]
                restored.flush()
            assert path.stat().st_size == 224 * len(exact)


def test_what_was_flushed_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "duplicates.bin"
    program = (
        "import os, signal, numpy as np; from pathlib import Path\n"
        "from mlxllm.data.clean.duplicates import DuplicateIndex\n"
        f"index = DuplicateIndex(Path({str(path)!r}))\n"
        "for n in range(1, 1001): index.look(np.array([n, n], np.uint64), None)\n"
        "index.flush()\n"
        "for n in range(1001, 1500): index.look(np.array([n, n], np.uint64), None)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
    with DuplicateIndex.restore(path, 1000) as index:
        seen = np.arange(990, 1010, dtype=np.uint64).repeat(2).reshape(-1, 2)
        found = index.look_batch(seen, np.zeros((20, BANDS), np.uint64), np.zeros(20, np.bool_))
    assert found == ["exact duplicate"] * 11 + [None] * 9


def test_a_file_that_holds_too_little_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "duplicates.bin"
    with pytest.raises(DataError, match="holds less than was written"):
        DuplicateIndex.restore(path, 0)
    with DuplicateIndex(path) as index:
        index.look(np.ones(2, np.uint64), None)
    with pytest.raises(DataError, match="holds less than was written"):
        DuplicateIndex.restore(path, 2)


def test_a_chain_of_similar_documents_leaves_its_first() -> None:
    """Each shares most with the one before, the last one nothing with the first."""
    words = ["".join(letters) for letters in itertools.product("abcdefghijklmnopqrst", repeat=2)]
    chain = [" ".join(words[start : start + 200]) for start in range(0, 201, 8)]
    index = DuplicateIndex()
    found = index.look_batch(exact_hashes(chain), *band_keys_of(chain))
    assert found == [None] + ["near duplicate"] * (len(chain) - 1)
    first, last = band_keys(chain[0]), band_keys(chain[-1])
    assert first is not None
    assert last is not None
    assert not (first == last).any()
    # What comes again of a near-duplicate is an exact one.
    assert index.look(exact_hash(chain[3]), band_keys(chain[3])) == "exact duplicate"
    assert index.look(exact_hash(chain[3].upper()), band_keys(chain[3].upper())) == "near duplicate"


def test_exact_hashes_are_those_of_the_bytes() -> None:
    # The reference implementation's test vector: XXH3_128bits of nothing, seed 0.
    assert exact_hash("").tolist() == [0x99AA06D3014798D8, 0x6001C324468D497F]
    assert exact_hashes(["é", "e\u0301", "\ud800"]).shape == (3, 2)
    assert len(np.unique(exact_hashes(["a", "a ", "A", "é", "e\u0301", "\ud800", "\udfff"]), axis=0)) == 7
    assert exact_hashes([]).shape == (0, 2)


def test_the_first_document_that_is_alike_is_told(tmp_path: Path) -> None:
    path = tmp_path / "duplicates.bin"
    text = "So they went home and slept until the sun had risen above the hills, and then they walked on."
    texts = ["x", text, text + " Yes.", "y", "x", text + " Yes."]
    places = ["a:1", "a:2", "b:1", "b:2", "b:3", "ü" * 90 + ":4"]
    exact, (keys, has_keys) = exact_hashes(texts), band_keys_of(texts)
    with DuplicateIndex(path) as index:
        found = index.look_batch(exact[:4], keys[:4], has_keys[:4], places[:4])
        assert found == [None, None, NEAR, None]
        index.flush()
    with DuplicateIndex.restore(path, 4) as index:
        assert index.look_batch(exact[4:], keys[4:], has_keys[4:], places[4:]) == [EXACT, EXACT]
        alike = [index.like(what, exact[i], keys[i]) for i, what in ((2, NEAR), (4, EXACT), (5, EXACT), (5, NEAR))]
        assert alike == ["a:2", "a:1", "b:1", "a:2"]
        last = exact_hashes(["z"])
        index.look_batch(last, np.zeros((1, BANDS), np.uint64), np.zeros(1, np.bool_), places[5:])
        assert index.like(EXACT, last[0], keys[0]) == "ü" * 46 + ":4"
    assert DuplicateIndex().like(EXACT, exact[0], keys[0]) == ""
