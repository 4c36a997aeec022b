"""How much of each source a dataset holds."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.data.label import data_label
from mlxllm.data.shards import TokenDataset
from mlxllm.data.split import val_threshold
from mlxllm.data.weights import MAX_EPOCHS, Weight, epochs, parse_source
from mlxllm.errors import ConfigError
from tests.data.conftest import Build, ListSource

TEXTS = [f"Story {i}: {'word ' * (i % 37)}é🙂\r\n\tend {i * i}" for i in range(300)]
OTHER = [f"Another kind of text, number {i}. {'More of it. ' * (i % 5)}" for i in range(100)]


def train_texts(dataset: TokenDataset) -> list[str]:
    split = dataset.train
    return [
        dataset.tokenizer.decode(split.document(i)).removesuffix("<|endoftext|>") for i in range(split.num_documents)
    ]


def times(value: float) -> Weight:
    return Weight(value, times=True)


def test_times_repeat_and_thin_out_training_documents(build: Build) -> None:
    once = build((ListSource(TEXTS), None))
    expected = Counter(train_texts(once))
    twice = build((ListSource(TEXTS), times(2)))
    assert Counter(train_texts(twice)) == Counter(dict.fromkeys(expected, 2))
    assert train_texts(twice)[: len(expected)] == train_texts(once)
    half = build((ListSource(TEXTS), times(0.5)))
    assert half.train.num_tokens == round(once.train.num_tokens * 0.5)
    kept = train_texts(half)
    assert all(text in expected for text in kept[:-1])
    assert any(text.startswith(kept[-1]) for text in expected), "the last one may be cut"
    assert 0.4 < len(kept) / len(expected) < 0.6
    more = build((ListSource(TEXTS), times(1.5)))
    assert train_texts(more) == train_texts(once) + kept
    for dataset in (once, twice, half, more):
        assert dataset.val.num_tokens == once.val.num_tokens
        assert dataset.train.num_bytes == sum(len(text.encode()) for text in train_texts(dataset))
        assert dataset.train.sources["list"].bytes == dataset.train.num_bytes
        assert dataset.manifest.sources["list"].documents_kept == len(TEXTS)
    assert more.manifest.sources["list"].tokens == once.manifest.sources["list"].tokens
    assert (half.manifest.sources["list"].epochs, half.manifest.sources["list"].weight) == (0.5, "0.5x")


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.9, 0.1), (0.1, 0.9), (3, 1)])
def test_shares_are_shares_of_the_tokens(build: Build, shares: tuple[float, float]) -> None:
    dataset = build((ListSource(TEXTS, "a"), Weight(shares[0])), (ListSource(OTHER, "b"), Weight(shares[1])))
    label = data_label(dataset.manifest)["sources"]
    for name, share in zip("ab", shares, strict=True):
        assert label[name]["train_share"] == pytest.approx(share / sum(shares), abs=0.001)
        assert 0 < label[name]["epochs"] <= MAX_EPOCHS
    assert max(entry["epochs"] for entry in label.values()) >= 1.0
    assert dataset.train.num_documents == sum(part.documents for part in dataset.train.sources.values())


def test_a_share_of_one_text_is_its_beginning(build: Build) -> None:
    text = "".join(f"Line {i} of a longer text.\n" for i in range(2000))
    one = ListSource([text], "one", single_text=True)
    dataset = build((one, Weight(0.2)), (ListSource(TEXTS, "a"), Weight(0.8)), val_split=0.1)
    part = dataset.train.sources["one"]
    assert (part.end - part.start) / dataset.train.num_tokens == pytest.approx(0.2, abs=0.001)
    assert part.documents == 1
    read = dataset.tokenizer.decode(dataset.train.document(0)).removesuffix("<|endoftext|>")
    assert text.startswith(read)


def test_of_every_source_something_is_held_out(build: Build) -> None:
    few = ["A few words.", "More of them.", "A few words.", "The last."]
    low = min(few, key=val_threshold)
    assert val_threshold(low) > 0.001
    strict = build((ListSource(TEXTS, "a"), None), (ListSource(few, "b"), None), val_split=0.0001)
    held_out = strict.val.sources["b"]
    assert held_out.documents == few.count(low)
    read = strict.tokenizer.decode(strict.val.read(held_out.start, held_out.end - held_out.start))
    assert read == (low + "<|endoftext|>") * few.count(low)
    assert low not in train_texts(strict)
    assert train_texts(strict)[-2:] == [text for text in few if text != low]
    assert strict.train.num_documents + strict.val.num_documents == len(TEXTS) + len(few)
    alike = build((ListSource(TEXTS, "a"), None), (ListSource(["x"] * 3, "c"), None), val_split=0.0001)
    assert alike.val.sources["c"].documents == 0
    assert any("nothing to be held out" in warning for warning in alike.manifest.warnings)


@given(
    tokens=st.lists(st.integers(1, 10**12), min_size=1, max_size=6),
    weights=st.lists(st.floats(0.001, 1000), min_size=6, max_size=6),
    most=st.floats(1, 100),
)
def test_as_much_as_can_be_had_without_too_many_repetitions(
    tokens: list[int], weights: list[float], most: float
) -> None:
    shares = [Weight(value) for value in weights[: len(tokens)]]
    often = epochs(tokens, shares, most)
    sizes = [have * number for have, number in zip(tokens, often, strict=True)]
    for weight, size in zip(shares, sizes, strict=True):
        assert size / sum(sizes) == pytest.approx(weight.value / sum(w.value for w in shares))
    assert max(often) <= most * 1.000001
    # More is not to be had (a source is at its most), or not needed (every source is read once).
    assert max(often) == pytest.approx(most) or min(often) == pytest.approx(1.0)


def test_without_shares_a_source_is_read_once_or_as_often_as_it_says() -> None:
    assert epochs([5, 50], [None, None]) == [1.0, 1.0]
    assert epochs([5, 50], [None, times(9)]) == [1.0, 9.0]
    assert epochs([100, 100], [Weight(1), Weight(3)]) == [pytest.approx(1), pytest.approx(3)]
    assert epochs([0, 100], [Weight(1), Weight(1)]) == [1.0, 1.0]


@pytest.mark.parametrize("weight", ["0", "-1", "x", "nan", "inf", "1e9", "", "0x", "2xx", "half"])
def test_what_is_no_weight(weight: str) -> None:
    with pytest.raises(ConfigError, match="is not a number above 0 and up to 1000"):
        parse_source(f"stories@{weight}")


@pytest.mark.parametrize("weight", [Weight(0.3), Weight(2.0, times=True), Weight(1 / 3)])
def test_a_weight_is_what_it_was_written_as(weight: Weight) -> None:
    assert Weight.parse(str(weight)) == weight
    assert parse_source(f"stories:5@{weight}")[1] == weight
