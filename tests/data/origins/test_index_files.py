"""An index is whose it says: of this content, whole, replaced at once, and gone with its dataset."""

import pytest

from mlxllm import paths
from mlxllm.data.origins.building import build_index
from mlxllm.data.origins.files import find_index, has_index, remove_indexes
from mlxllm.data.origins.tracing import Origins
from mlxllm.errors import DataError
from tests.data.conftest import Build

TEXTS = [f"Story {n}: once upon a time there was a cat that had {n} hats and no shoes." for n in range(30)]


def test_held_out_documents_are_not_in_it(build: Build) -> None:
    dataset = build(TEXTS, val_split=0.3)
    build_index(dataset)
    origins = Origins([dataset.directory])
    tokenizer = dataset.tokenizer
    for split, share in ((dataset.train, 1.0), (dataset.val, 0.0)):
        assert split.num_documents > 3
        for number in range(split.num_documents):
            text = tokenizer.decode(split.document(number)[:-1])
            found = origins.trace(text, 16)
            assert found.share(found.copied_words) == share, text


def test_it_is_stale_when_the_dataset_changes_and_replaced_when_it_is_built_again(build: Build) -> None:
    dataset = build(TEXTS)
    with pytest.raises(DataError, match="has no index of its words yet; build it with `mlxllm data index dataset`"):
        find_index(dataset.directory)
    folder, about = build_index(dataset)
    assert find_index(dataset.directory) == (folder, about)
    old = Origins([dataset.directory])
    changed = build([*TEXTS, "Another document of a few words more."])
    assert not has_index(changed.directory)
    with pytest.raises(DataError, match="is stale: the dataset was changed since it was built"):
        Origins([changed.directory])
    again, _ = build_index(changed)
    assert not folder.exists()
    assert [path.name for path in again.parent.iterdir()] == [again.name]
    assert old.trace(TEXTS[0]).words == 17, "what somebody has open stays readable"


def test_a_dataset_that_was_renamed_keeps_its_index(build: Build) -> None:
    dataset = build(TEXTS)
    folder, _ = build_index(dataset)
    dataset.directory.rename(dataset.directory.with_name("other"))
    assert find_index(dataset.directory.with_name("other"))[0] == folder


def test_a_damaged_index_is_told_in_a_sentence(build: Build) -> None:
    dataset = build(TEXTS)
    folder, _ = build_index(dataset)
    order = folder / "piece-00000.order"
    order.write_bytes(order.read_bytes()[:-4])
    with pytest.raises(DataError, match=r"is damaged: .*piece-00000.order has .* bytes and not .*; build it with"):
        Origins([dataset.directory])
    order.unlink()
    with pytest.raises(DataError, match=r"piece-00000\.order is missing"):
        Origins([dataset.directory])
    (folder / "index.json").write_text("{}")
    with pytest.raises(DataError, match="is damaged; build it with"):
        find_index(dataset.directory)


def test_a_build_that_ends_early_leaves_nothing_but_what_was_there(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = build(TEXTS)
    folder, _ = build_index(dataset)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_index(dataset, progress=stop)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert has_index(dataset.directory)
    assert remove_indexes(dataset.name) == 1
    assert not has_index(dataset.directory)
    assert paths.folder("cache").is_dir()


def test_a_dataset_without_training_text_is_refused(build: Build) -> None:
    dataset = build(TEXTS[:2], val_split=0.999999)
    assert dataset.train.num_documents == 0
    with pytest.raises(DataError, match="no training documents"):
        build_index(dataset)
