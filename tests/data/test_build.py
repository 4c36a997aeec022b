import itertools
import json
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import pytest

from mlxllm.data import filling
from mlxllm.data.build import build_dataset
from mlxllm.data.build_progress import BuildProgress, Dealt, Meter
from mlxllm.data.label import data_label
from mlxllm.data.manifest import read_manifest
from mlxllm.data.shards import TokenDataset, TokenSplit
from mlxllm.data.sources import open_source
from mlxllm.data.sources.text import TextSource
from mlxllm.data.split import ByPosition, is_validation, training_texts
from mlxllm.data.weights import Weight
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import TokenizerRecipe, train_tokenizer
from tests.data.conftest import Build, ListSource

TEXTS = [f"Story {i}: {'word ' * (i % 37)}é🙂\r\n\tend {i * i}" for i in range(300)]


def texts_of(dataset: TokenDataset, split: TokenSplit) -> list[str]:
    texts = [dataset.tokenizer.decode(split.document(i)) for i in range(split.num_documents)]
    assert all(text.endswith("<|endoftext|>") for text in texts)
    return [text.removesuffix("<|endoftext|>") for text in texts]


def test_text_comes_back_from_the_shards(build: Build) -> None:
    dataset = build(TEXTS)
    train, val = texts_of(dataset, dataset.train), texts_of(dataset, dataset.val)
    assert Counter(train + val) == Counter(TEXTS)
    assert val == [text for text in TEXTS if is_validation(text, 0.2)]
    assert 30 < len(val) < 90
    assert len(dataset.manifest.train.shards) > 10
    for split, texts in ((dataset.train, train), (dataset.val, val)):
        assert split.num_bytes == sum(len(text.encode()) for text in texts)
        assert split.num_tokens == split.num_bytes + len(texts)


def test_the_split_does_not_depend_on_the_order(build: Build, tmp_path: Path) -> None:
    forward = build(TEXTS)
    backward = build(list(reversed(TEXTS)), directory=tmp_path / "backward")
    assert sorted(texts_of(forward, forward.val)) == sorted(texts_of(backward, backward.val))
    assert forward.fingerprint != backward.fingerprint


def test_equal_texts_never_stand_on_both_sides(build: Build) -> None:
    dataset = build(TEXTS * 3)
    assert not set(texts_of(dataset, dataset.train)) & set(texts_of(dataset, dataset.val))


def test_equal_data_gives_equal_bits(build: Build, tmp_path: Path) -> None:
    one = build(TEXTS)
    two = build((ListSource(TEXTS, "renamed"), None), directory=tmp_path / "other")
    assert one.fingerprint == two.fingerprint
    files = sorted(path.name for path in one.directory.glob("*.bin"))
    assert files == sorted(path.name for path in two.directory.glob("*.bin"))
    assert all((one.directory / f).read_bytes() == (two.directory / f).read_bytes() for f in files)


def test_one_text_is_split_by_position(build: Build) -> None:
    text = "".join(f"Line {i} of a longer text.\n" for i in range(2000))
    dataset = build((ListSource([text], single_text=True), None), val_split=0.1)
    (train,), (val,) = texts_of(dataset, dataset.train), texts_of(dataset, dataset.val)
    assert train + val == text
    assert train.endswith("\n")
    assert val.startswith("Line ")
    assert abs(len(val) / len(text) - 0.1) < 0.01
    assert dataset.manifest.sources["list"].documents_kept == 1


@pytest.mark.parametrize("val_split", [0.0, 0.5, 0.999999])
def test_a_text_without_any_blank_is_cut_at_whole_characters(build: Build, val_split: float) -> None:
    text = "e\u0301" * 50
    dataset = build((ListSource([text], single_text=True), None), val_split=val_split)
    parts = texts_of(dataset, dataset.train) + texts_of(dataset, dataset.val)
    assert "".join(parts) == text
    assert all(part and not part.startswith("\u0301") for part in parts)


def test_documents_by_position_keep_their_ends(build: Build) -> None:
    dataset = build((ByPosition(ListSource(["a\n" * 50, "b\n" * 50, "c\n" * 50])), None), val_split=0.5)
    assert texts_of(dataset, dataset.train) == ["a\n" * 50, "b\n" * 25]
    assert texts_of(dataset, dataset.val) == ["b\n" * 25, "c\n" * 50]
    assert dataset.manifest.sources["list"].documents_kept == 3
    # A cut between two documents leaves no empty one behind.
    dataset = build((ByPosition(ListSource(["a\n" * 50, "b\n" * 50])), None), val_split=0.5)
    assert texts_of(dataset, dataset.train) == ["a\n" * 50]
    assert texts_of(dataset, dataset.val) == ["b\n" * 50]


def test_long_documents_are_tokenized_in_pieces_and_stay_one(build: Build) -> None:
    texts = ["x" * 700_000, "ab " * 250_000]
    dataset = build(texts, val_split=0.0, shard_tokens=1 << 18)
    assert texts_of(dataset, dataset.train) == texts


def test_each_source_has_its_own_stretch(build: Build) -> None:
    other = [f"Another kind of text, number {i}." for i in range(100)]
    dataset = build(
        (ListSource(TEXTS, "a"), None),
        (ListSource(other, "b"), Weight(2.0, times=True)),
        (ListSource(TEXTS, "a"), None),
    )
    assert list(dataset.train.sources) == ["a", "b", "a-2"]
    for split in (dataset.train, dataset.val):
        stretches = list(split.sources.values())
        assert stretches[0].start == 0
        assert stretches[-1].end == split.num_tokens
        assert all(a.end == b.start for a, b in itertools.pairwise(stretches))
        assert sum(s.documents for s in stretches) == split.num_documents
    b = dataset.val.sources["b"]
    text = dataset.tokenizer.decode(dataset.val.read(b.start, b.end - b.start))
    assert text == "".join(t + "<|endoftext|>" for t in other if is_validation(t, 0.2))


def test_the_label_accounts_for_every_record(build: Build, tmp_path: Path) -> None:
    lines = [
        '{"text": "one"}',
        "{bad",
        '{"text": "two"}',
        '{"body": 1}',
        '{"text": " "}',
        '{"text": "three"}',
    ]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    dataset = build((TextSource(str(tmp_path / "x.jsonl")), None))
    source = data_label(dataset.manifest)["sources"]["x.jsonl"]
    assert source["documents_read"] == 6
    assert source["documents_kept"] == 3
    assert source["dropped"] == {"bad JSON": 1, "no text field": 1, "empty": 1}
    assert source["bytes"] == len("onetwothree")
    assert source["tokens"] == source["bytes"] + 3
    assert any("3 of 6 records" in warning and "x.jsonl:2" in warning for warning in dataset.manifest.warnings)


def test_an_empty_side_is_warned_of(build: Build) -> None:
    assert any("validation split is empty" in w for w in build(TEXTS, val_split=0.0).manifest.warnings)
    assert any("train split is empty" in w for w in build(["a"], val_split=0.999999).manifest.warnings)
    assert build(TEXTS).manifest.warnings == ()


def test_text_for_a_tokenizer_is_the_training_text_alone() -> None:
    texts = list(training_texts([ListSource(TEXTS), ListSource(["x" * 300_000])], 0.0))
    assert "".join(texts) == "".join(TEXTS) + "x" * 300_000
    assert set(training_texts([ListSource(TEXTS)], 0.2)) == {t for t in TEXTS if not is_validation(t, 0.2)}


def test_a_tokenizer_learns_from_the_beginning_of_a_large_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "TOKENIZER_BYTES", 2000)
    texts = ["abc " * 200] * 2000 + ["xyz " * 200] * 2000
    build_dataset(tmp_path / "d", [(ListSource(texts), None)], TokenizerRecipe("char"), val_split=0.0)
    tokenizer = TokenDataset.open(tmp_path / "d").tokenizer
    assert tokenizer.vocab_size == train_tokenizer("char", ["abc "]).vocab_size
    assert TokenDataset.open(tmp_path / "d").train.num_bytes == sum(map(len, texts))


def test_large_vocabularies_take_four_bytes_an_id(tmp_path: Path) -> None:
    text = "".join(chr(code) for code in range(0x4E00, 0x9F00)) + "".join(chr(c) for c in range(0x20000, 0x2B000))
    tokenizer = train_tokenizer("char", [text])
    build_dataset(tmp_path / "d", [(ListSource([text, text[::-1]]), None)], tokenizer, val_split=0.0)
    dataset = TokenDataset.open(tmp_path / "d", verify=True)
    assert dataset.train.dtype.itemsize == 4
    assert texts_of(dataset, dataset.train) == [text, text[::-1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"val_split": 1.0}, "val_split is 1.0"),
        ({"val_split": -0.1}, "val_split is -0.1"),
        ({"val_split": float("nan")}, "val_split is nan"),
        ({"sources": []}, "at least one source"),
        (
            {"sources": [(ListSource(["a"]), Weight(0.5)), (ListSource(["b"]), Weight(2.0, times=True))]},
            "@0.5 and @2x",
        ),
        ({"max_epochs": 0.5}, "max_epochs is 0.5"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, arguments: dict[str, object], message: str) -> None:
    settings = {"sources": [(ListSource(TEXTS), None)], "val_split": 0.1} | arguments
    with pytest.raises(ConfigError, match=message):
        build_dataset(tmp_path / "d", tokenizer=train_tokenizer("byte", []), **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_over(build: Build, tmp_path: Path) -> None:
    first = build(TEXTS)
    with pytest.raises(DataError, match=r"'dataset' exists already .* --force"):
        build(["other"], replace=False)
    assert TokenDataset.open(first.directory).fingerprint == first.fingerprint
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="is not a dataset"):
        build(TEXTS, directory=tmp_path / "notes")
    assert (tmp_path / "notes" / "mine.txt").read_text() == "keep me"


def test_a_failed_build_leaves_the_old_dataset_and_no_rubbish(build: Build, tmp_path: Path) -> None:
    first = build(TEXTS)
    (tmp_path / "bad.txt").write_bytes(b"\xff\xff")
    with pytest.raises(DataError, match=r"no usable text.*byte 0"):
        build((ListSource(TEXTS), None), (TextSource(str(tmp_path / "bad.txt")), None))
    assert TokenDataset.open(first.directory, verify=True).fingerprint == first.fingerprint
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.txt", "dataset"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    program = f"""
        import resource, signal, sys
        from pathlib import Path
        from mlxllm.data.build import build_dataset
        from mlxllm.data.sources import open_source
        from mlxllm.errors import DataError
        from mlxllm.tokenizer import TokenizerRecipe, train_tokenizer
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        try:
            build_dataset(Path({str(tmp_path / "d")!r}), [(open_source({str(tmp_path / "a.txt")!r}), None)],
                          train_tokenizer("byte", []))
        except DataError as error:
            print(error)
    """
    (tmp_path / "a.txt").write_text("many words\n" * 50_000)
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert "'d' could not be written" in done.stdout
    assert "File too large" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_progress_is_told(tmp_path: Path) -> None:
    seen: list[BuildProgress] = []
    texts = ["some words " * 1000] * 600
    tokenizer = train_tokenizer("byte", [])
    manifest = build_dataset(tmp_path / "d", [(ListSource(texts), None)], tokenizer, progress=seen.append)
    assert len(seen) >= 3
    assert [p.tokens for p in seen] == sorted(p.tokens for p in seen)
    assert seen[-1].tokens == manifest.train.tokens + manifest.val.tokens
    assert {p.phase for p in seen} == {"writing"}
    assert {p.fraction for p in seen} == {None}, "nobody knows how long a list is"


def test_progress_knows_how_far_it_is_where_sizes_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("many words\n" * 200_000)
    (tmp_path / "b.txt").write_text("more words\n" * 200_000)
    sources = [(open_source(str(tmp_path / name)), None) for name in ("a.txt", "b.txt")]
    seen: list[BuildProgress] = []
    build_dataset(tmp_path / "d", sources, TokenizerRecipe("char"), val_split=0.0, progress=seen.append)
    for phase in ("tokenizer", "writing"):
        fractions = [p.fraction for p in seen if p.phase == phase]
        assert None not in fractions
        assert fractions == sorted(fractions)  # type: ignore[type-var]
    assert fractions[-1] == 1.0
    assert any(p.source == "b.txt" and p.fraction and 0.5 < p.fraction < 1 for p in seen)
    meter = Meter([open_source("stories:50")], seen.append)
    meter.say("writing", Dealt(25, 10_000))
    assert seen[-1].fraction == 0.5


def _peak_mib(path: Path, out: Path) -> float:
    program = f"""
        from pathlib import Path
        from mlxllm.data.build import build_dataset
        from tests.peak import peak_kib
        from mlxllm.data.sources import open_source
        from mlxllm.tokenizer import TokenizerRecipe, train_tokenizer
        build_dataset(Path({str(out)!r}), [(open_source({str(path)!r}), None)], train_tokenizer("byte", []))
        print(peak_kib() / 1024)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_is_flat(tmp_path: Path) -> None:
    small, large = tmp_path / "small.txt", tmp_path / "large.txt"
    # One line without end, the worst case for a reader of lines; and stretches of one, two and four bytes a
    # character in memory.
    megabyte = ("All of this is one line. " * 16_000 + "Всё это одна строка. " * 10_000 + "🙂" * 60_000).encode()
    small.write_bytes(megabyte * 10)
    large.write_bytes(megabyte * 60)
    low, high = _peak_mib(small, tmp_path / "a"), _peak_mib(large, tmp_path / "b")
    assert high < low + 25  # of 50 MiB more; how many pieces wait between threads is a matter of the moment
    manifest = read_manifest(tmp_path / "b")
    assert manifest.train.bytes + manifest.val.bytes == large.stat().st_size
    assert (manifest.train.documents, manifest.val.documents) == (1, 1)


def test_the_manifest_is_json_for_others(build: Build) -> None:
    raw = json.loads((build(TEXTS).directory / "manifest.json").read_text())
    assert raw["format"] == "mlxllm-dataset"
    assert raw["tokenizer"]["kind"] == "byte"


@pytest.mark.data
def test_the_sample_texts(build: Build, test_data: Path) -> None:
    folder = test_data / "text"
    dataset = build((TextSource(str(folder)), None), shard_tokens=1 << 20)
    # Four plain files, and one of five stories.
    assert dataset.manifest.sources["text"].documents_kept == 9
    texts = texts_of(dataset, dataset.train) + texts_of(dataset, dataset.val)
    for path in folder.glob("*.txt"):
        text = path.read_bytes().decode("utf-8-sig")
        assert text in texts or all(part.strip("\n") in texts for part in text.split("<|endoftext|>") if part.strip())
