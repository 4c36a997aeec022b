"""Looking at a source before it is built."""

import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.clean.cleaner import Cleaner
from mlxllm.data.clean.recipes import recipe, with_settings
from mlxllm.data.preview import preview_source, preview_tokenizer, spread, stream_rows, tokenize_preview
from mlxllm.data.sources import open_source
from mlxllm.data.sources.base import Document
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import train_tokenizer
from tests.data.conftest import ListSource


def test_a_small_source_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"oops": 1}\n{"text": "twö"}\n')
    seen = preview_source(open_source(str(tmp_path / "a.jsonl")))
    assert [shown.text for shown in seen.shown] == ["one", "twö"]
    assert all(shown.complete for shown in seen.shown)
    assert seen.complete
    assert (seen.bytes, seen.chars) == (7, 6)
    assert (seen.expected_documents, seen.expected_bytes) == (2, 7)
    assert seen.problems.dropped == {"no text field": 1}
    assert f"{tmp_path / 'a.jsonl'}:2" in seen.problems.examples["no text field"][0]


def test_of_a_large_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    text = "Many words in one file, and a snowman \u2603.\n" * 100_000
    for name, write in (("a.txt", Path.write_bytes), ("a.txt.gz", lambda p, b: p.write_bytes(gzip.compress(b)))):
        write(tmp_path / name, text.encode())
        source = open_source(str(tmp_path / name))
        seen = preview_source(source, most_bytes=100_000)
        assert 100_000 <= seen.bytes < 400_000
        assert not seen.complete
        assert text.startswith(seen.texts[0])
        assert not seen.shown[0].complete
        assert seen.single_text
    assert preview_source(open_source(str(tmp_path / "a.txt"))).expected_bytes == len(text.encode())
    (tmp_path / "b.jsonl").write_text('{"text": "some words"}\n' * 50_000)
    seen = preview_source(open_source(str(tmp_path / "b.jsonl")), most_bytes=50_000)
    assert not seen.complete
    assert set(seen.texts) == {"some words"}, "a line that was cut in two is none"
    assert seen.problems.dropped == {}
    assert seen.expected_documents == 23 * 50_000 / 10


def test_known_numbers_are_used() -> None:
    seen = preview_source(open_source("stories:100000"), most_bytes=20_000)
    assert seen.expected_documents == 100_000
    assert seen.expected_bytes == pytest.approx(100_000 * seen.bytes / len(seen.texts), rel=1e-6)
    assert not seen.complete


def test_it_ends_in_time_and_when_nobody_waits() -> None:
    class Slow(ListSource):
        def documents(self) -> Iterator[Document]:
            for document in super().documents():
                time.sleep(0.01)
                yield document

    assert 1 <= len(preview_source(Slow(["a"] * 1000), seconds=0.05).texts) < 20
    assert len(preview_source(Slow(["a"] * 1000), cancelled=lambda: True).texts) == 1


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match=r"no usable text.*byte 0"):
        preview_source(open_source(str(tmp_path / "a.txt")))


def test_tokens_of_a_preview(mlxllm_home: Path) -> None:
    texts = ["ab ab", "ab\n"]
    byte = train_tokenizer("byte", [])
    seen = tokenize_preview(texts, byte)
    assert byte.decode(seen.token_ids) == "ab ab<|endoftext|>ab\n<|endoftext|>"
    assert seen.pieces[:2] == ["a", "b"]
    assert (seen.tokens, seen.bytes, seen.lengths, seen.used_ids) == (10, 8, (6, 4), 5)
    assert seen.bytes_per_token == 1.0
    assert sorted(count for _, _, count in seen.most_frequent) == [1, 1, 2, 3, 3]
    assert len(tokenize_preview(texts, byte, shown=3).token_ids) == 3
    assert tokenize_preview([], byte).bytes_per_token is None

    assert preview_tokenizer("char", texts).vocab_size == 261 + 4
    byte.save(mlxllm_home / "tokenizers" / "mine")
    assert preview_tokenizer("mine", texts).fingerprint == byte.fingerprint
    with pytest.raises(ConfigError, match="no tokenizer 'none'"):
        preview_tokenizer("none", texts)


@given(lengths=st.lists(st.integers(1, 50), max_size=30), size=st.integers(1, 40), number=st.integers(1, 9))
def test_rows_are_the_stream_cut_into_pieces(lengths: list[int], size: int, number: int) -> None:
    rows = stream_rows(lengths, size, number)
    assert len(rows) == min(number, sum(lengths) // size)
    stream = [document for document, length in enumerate(lengths) for _ in range(length)]
    laid = [document for row in rows for document, count in row.parts for _ in range(count)]
    assert laid == stream[: len(rows) * size]
    assert all(sum(count for _, count in row.parts) == size for row in rows)


@given(sizes=st.lists(st.integers(0, 5000), min_size=1))
def test_every_length_is_in_one_bin(sizes: list[int]) -> None:
    found = spread(sizes)
    assert found is not None
    assert sum(count for _, _, count in found.bins) == len(sizes)
    for low, high, count in found.bins:
        assert count == sum(low <= size <= high for size in sizes)
    assert (found.shortest, found.longest) == (min(sizes), max(sizes))


def test_no_lengths() -> None:
    assert spread([]) is None


def test_a_preview_shows_what_cleaning_leaves_out(tmp_path: Path) -> None:
    good = "The old fox lived in a house on the hill with all of her friends, and was glad. " * 8
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in (good, "too short", good)))
    source = open_source(str(tmp_path / "a.jsonl"))
    assert len(preview_source(source).texts) == 3
    strict = with_settings(recipe("none"), ["gopher_quality=on"])
    seen = preview_source(source, Cleaner(strict))
    assert seen.texts == (good, good)
    assert seen.problems.dropped == {"gopher: too few words": 1}
    assert seen.complete
