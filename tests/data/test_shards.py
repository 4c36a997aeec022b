import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.build import build_dataset
from mlxllm.data.manifest import Manifest
from mlxllm.data.shards import HEADER_BYTES, TokenDataset
from mlxllm.data.weights import Weight
from mlxllm.errors import DataError
from mlxllm.tokenizer import train_tokenizer
from tests.data.conftest import Build, ListSource

TEXTS = [f"Text number {i}, " * (1 + i % 7) for i in range(120)]


@pytest.fixture
def dataset(build: Build) -> TokenDataset:
    return build(TEXTS)


@pytest.fixture(scope="module")
def many_shards(tmp_path_factory: pytest.TempPathFactory) -> TokenDataset:
    directory = tmp_path_factory.mktemp("shards") / "d"
    build_dataset(
        directory,
        [(ListSource(TEXTS), Weight(2.0, times=True))],
        train_tokenizer("byte", []),
        val_split=0.3,
        shard_tokens=97,
    )
    return TokenDataset.open(directory)


@given(data=st.data())
def test_read_is_one_stream_across_files(many_shards: TokenDataset, data: st.DataObject) -> None:
    split = data.draw(st.sampled_from([many_shards.train, many_shards.val]))
    files = sorted(many_shards.directory.glob(f"{split.name}-0*.bin"))
    stream = np.concatenate([np.fromfile(f, "<u2", offset=HEADER_BYTES) for f in files])
    assert len(files) > 20
    assert len(stream) == split.num_tokens
    start = data.draw(st.integers(0, split.num_tokens))
    count = data.draw(st.integers(0, split.num_tokens - start))
    got = split.read(start, count)
    assert got.dtype == np.uint16
    assert got.shape == (count,)
    assert np.array_equal(got, stream[start : start + count])


@pytest.mark.parametrize(("start", "count"), [(-1, 2), (0, -1), (1 << 40, 1), (0, 1 << 40)])
def test_read_outside_the_split(many_shards: TokenDataset, start: int, count: int) -> None:
    with pytest.raises(IndexError, match="not within"):
        many_shards.train.read(start, count)


def test_document_ends(many_shards: TokenDataset) -> None:
    split = many_shards.train
    ids = split.read(0, split.num_tokens)
    assert np.array_equal(np.flatnonzero(ids == many_shards.tokenizer.eot_id) + 1, split.document_ends)
    assert len(split.document_ends) == split.num_documents


def test_reading_does_not_write(dataset: TokenDataset) -> None:
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.read(0, 10)[0] = 1


def test_the_copy_of_the_tokenizer_makes_it_self_contained(dataset: TokenDataset, tmp_path: Path) -> None:
    moved = dataset.directory.rename(tmp_path / "moved")
    again = TokenDataset.open(moved, verify=True)
    assert again.name == "moved"
    assert again.fingerprint == dataset.fingerprint
    assert again.tokenizer_directory == moved / "tokenizer"
    assert again.vocab_size == again.tokenizer.vocab_size == 261


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def assert_refused(directory: Path, message: str, *, verify: bool = False) -> None:
    """Refused with one sentence that names the dataset and the remedy."""
    with pytest.raises(DataError, match=message) as caught:
        TokenDataset.open(directory, verify=verify)
    text = str(caught.value)
    assert "\n" not in text
    assert "'dataset'" in text
    assert "data build" in text


def test_a_truncated_shard(dataset: TokenDataset) -> None:
    path = dataset.directory / "train-00001.bin"
    path.write_bytes(path.read_bytes()[:-2])
    assert_refused(dataset.directory, r"train-00001.bin has 2,062 bytes, its manifest says 2,064")


def test_a_missing_shard(dataset: TokenDataset) -> None:
    (dataset.directory / "train-00000.bin").unlink()
    assert_refused(dataset.directory, "train-00000.bin is missing")


@pytest.mark.parametrize("offset", [0, 9, 13, 17, 40])
def test_a_flipped_bit_in_a_header(dataset: TokenDataset, offset: int) -> None:
    flip(dataset.directory / "val-00000.bin", offset)
    assert_refused(dataset.directory, "the header of val-00000.bin is damaged")


@pytest.mark.parametrize("offset", [3, HEADER_BYTES + 5, -1])
def test_a_flipped_bit_in_the_index(dataset: TokenDataset, offset: int) -> None:
    flip(dataset.directory / "train-index.bin", offset)
    assert_refused(dataset.directory, "train-index.bin has been changed")


def test_a_flipped_bit_in_the_tokens_is_found_by_verify(dataset: TokenDataset) -> None:
    flip(dataset.directory / "train-00001.bin", HEADER_BYTES + 100)
    TokenDataset.open(dataset.directory)
    assert_refused(dataset.directory, "train-00001.bin has been changed", verify=True)


def test_an_id_out_of_range_is_found_by_verify(dataset: TokenDataset) -> None:
    path = dataset.directory / "train-00001.bin"
    ids = np.fromfile(path, "<u2", offset=HEADER_BYTES)
    ids[7] = 261
    path.write_bytes(path.read_bytes()[:HEADER_BYTES] + ids.tobytes())
    message = r"train-00001.bin holds token id 261 at offset 7, but its tokenizer has 261 ids"
    assert_refused(dataset.directory, message, verify=True)


def change_manifest(directory: Path, refresh: bool = True, **changes: Any) -> None:
    """Change the manifest as a program would that knows how to compute its fingerprint."""
    path = directory / "manifest.json"
    manifest = Manifest.model_validate_json(path.read_bytes()).model_copy(update=changes)
    if refresh:
        manifest = manifest.model_copy(update={"fingerprint": manifest.content_fingerprint()})
    path.write_text(manifest.model_dump_json())


def test_the_largest_id_is_looked_at_on_opening(dataset: TokenDataset) -> None:
    train = dataset.manifest.train
    shards = (train.shards[0].model_copy(update={"largest_id": 300}), *train.shards[1:])
    change_manifest(dataset.directory, train=train.model_copy(update={"shards": shards}))
    assert_refused(dataset.directory, "train-00000.bin holds token id 300, but its tokenizer has 261")


def test_another_tokenizer_than_the_one_that_made_the_ids(dataset: TokenDataset) -> None:
    train_tokenizer("char", ["abc"]).save(dataset.directory / "tokenizer")
    assert_refused(dataset.directory, r"the tokenizer in .*264 ids\) did not make its tokens")


def test_shards_that_do_not_sum_up(dataset: TokenDataset) -> None:
    train = dataset.manifest.train
    change_manifest(dataset.directory, train=train.model_copy(update={"shards": train.shards[1:]}))
    assert_refused(dataset.directory, "do not sum up")


def test_a_manifest_changed_by_hand(dataset: TokenDataset) -> None:
    train = dataset.manifest.train.model_copy(update={"bytes": 1})
    change_manifest(dataset.directory, refresh=False, train=train)
    assert_refused(dataset.directory, "hashes do not give its fingerprint")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is damaged"),
        (b"\xff", "is damaged"),
        (b"[]", "not the manifest of a dataset"),
        (b'{"format": "other"}', "not the manifest of a dataset"),
        (b'{"format": "mlxllm-dataset", "format_version": 99}', "format version 99"),
        (b'{"format": "mlxllm-dataset", "format_version": 1, "train": 7}', "damaged at"),
    ],
)
def test_manifests_of_all_kinds(dataset: TokenDataset, content: bytes, message: str) -> None:
    (dataset.directory / "manifest.json").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        TokenDataset.open(dataset.directory)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a dataset: it has no manifest.json"):
        TokenDataset.open(tmp_path)


def test_source_names_do_not_count_as_content(dataset: TokenDataset) -> None:
    raw = json.loads((dataset.directory / "manifest.json").read_text())
    raw["sources"] = {"renamed": raw["sources"]["list"]}
    (dataset.directory / "manifest.json").write_text(json.dumps(raw))
    assert TokenDataset.open(dataset.directory).fingerprint == dataset.fingerprint
