"""A saved tokenizer is the same tokenizer, and a damaged one is refused in one sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import DataError
from mlxllm.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from mlxllm.tokenizer.base import fingerprint_of

TEXT = 'The fox said: "Hello, 世界!"\n\n\tYes \u2581 é\r\n'


def test_saved_and_loaded_is_the_same(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "deep" / "t")
    # Self-contained: a copy elsewhere, without the original, is enough.
    shutil.copytree(tmp_path / "deep" / "t", tmp_path / "copy")
    shutil.rmtree(tmp_path / "deep")
    loaded = load_tokenizer(tmp_path / "copy")
    assert type(loaded) is type(tokenizer)
    assert (loaded.kind, loaded.vocab_size, loaded.fingerprint) == (
        tokenizer.kind,
        tokenizer.vocab_size,
        tokenizer.fingerprint,
    )
    assert loaded.encode(TEXT) == tokenizer.encode(TEXT)
    assert [loaded.piece(i) for i in range(loaded.vocab_size)] == [
        tokenizer.piece(i) for i in range(tokenizer.vocab_size)
    ]


def test_equal_tokenizers_are_equal_bytes(tokenizer: Tokenizer, texts: list[str], tmp_path: Path) -> None:
    size = tokenizer.vocab_size if tokenizer.kind == "bpe" else None
    again = train_tokenizer(tokenizer.kind, texts, vocab_size=size)
    tokenizer.save(tmp_path / "a")
    again.save(tmp_path / "b")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_the_format_is_stable() -> None:
    """Fingerprints are stored in datasets and runs: a change of these values makes all of them unreadable."""
    assert train_tokenizer("byte", []).fingerprint == (
        "05e87ad7976471173d7378504a620ee90bce6d72a61dd7121d82e2b1475cf008"
    )
    assert train_tokenizer("char", ["hello é"]).fingerprint == (
        "ac5ac05e32854ebbb9ca225990d63408f34f38cae1d16149bee2d0564b4d98c6"
    )
    assert train_tokenizer("bpe", ["hello hello é"], vocab_size=270).fingerprint == (
        "027f2123e3213ddf24e64cb368e272b2765aee15b5900dc9ae641f0956fc892e"
    )


def test_different_vocabularies_have_different_fingerprints(tokenizers: dict[str, Tokenizer]) -> None:
    others = [train_tokenizer("char", ["abc"]), train_tokenizer("char", ["abd"])]
    found = [t.fingerprint for t in [*tokenizers.values(), *others]]
    assert len(set(found)) == len(found)
    assert all(len(value) == 64 for value in found)


def test_an_older_tokenizer_is_replaced_as_a_whole(tokenizers: dict[str, Tokenizer], tmp_path: Path) -> None:
    directory = tmp_path / "t"
    tokenizers["bpe"].save(directory)
    tokenizers["char"].save(directory)
    assert sorted(path.name for path in directory.iterdir()) == ["characters.json", "tokenizer_config.json"]
    assert load_tokenizer(directory).kind == "char"
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_what_is_not_a_tokenizer_is_never_replaced(tokenizer: Tokenizer, tmp_path: Path) -> None:
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "tokenizer_config.json").write_text("{}")
    (directory / "model.safetensors").write_text("weights")
    with pytest.raises(DataError, match="exists and is not a tokenizer"):
        tokenizer.save(directory)
    assert (directory / "model.safetensors").read_text() == "weights"
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match="exists and is not a tokenizer"):
        tokenizer.save(tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "model"]


def test_a_place_that_cannot_be_written_is_one_sentence(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(DataError, match=r"cannot write tokenizer .*: Not a directory"):
        tokenizer.save(tmp_path / "file" / "t")


def _edit(directory: Path, **changes: Any) -> None:
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"fingerprint": "0" * 64}, "do not fit the fingerprint"),
        ({"fingerprint": None}, "do not fit the fingerprint"),
        ({"kind": "word"}, "unknown kind 'word'; known are char, byte, bpe"),
        ({"kind": ["bpe"]}, "unknown kind"),
        ({"format_version": 2}, "has format version 2, this mlxllm reads 1"),
        ({"format": "other"}, "was not written by mlxllm|if it was made here"),
        ({"vocab_size": 7}, "says 7 ids, its files hold"),
        ({"special_tokens": {"<|endoftext|>": 1}}, "special tokens are not the reserved ones"),
    ],
)
def test_a_config_that_lies_is_refused(
    tokenizer: Tokenizer, tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    tokenizer.save(tmp_path / "t")
    _edit(tmp_path / "t", **changes)
    with pytest.raises(DataError, match=sentence) as caught:
        load_tokenizer(tmp_path / "t")
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "t") in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'"text"'])
def test_a_config_that_is_no_config_is_refused(tokenizer: Tokenizer, tmp_path: Path, content: bytes) -> None:
    tokenizer.save(tmp_path / "t")
    (tmp_path / "t" / "tokenizer_config.json").write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|was not written by mlxllm") as caught:
        load_tokenizer(tmp_path / "t")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("kind", "name"), [("char", "characters.json"), ("bpe", "tokenizer.model")])
def test_a_damaged_model_file_is_refused(
    tokenizers: dict[str, Tokenizer], tmp_path: Path, kind: str, name: str
) -> None:
    path = tmp_path / "t" / name
    tokenizers[kind].save(tmp_path / "t")
    good = path.read_bytes()
    for position in (0, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:position] + bytes([good[position] ^ 1]) + good[position + 1 :])
        with pytest.raises(DataError, match="do not fit the fingerprint"):
            load_tokenizer(tmp_path / "t")
    path.write_bytes(good[:-10])
    with pytest.raises(DataError, match="do not fit the fingerprint"):
        load_tokenizer(tmp_path / "t")
    path.unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        load_tokenizer(tmp_path / "t")
    path.mkdir()
    with pytest.raises(DataError, match=f"cannot read .*{name}"):
        load_tokenizer(tmp_path / "t")


@pytest.mark.parametrize(
    ("kind", "name", "content"),
    [
        ("char", "characters.json", b'"ba"'),
        ("char", "characters.json", b"[1, 2]"),
        ("char", "characters.json", b'"\\ud800"'),
        ("char", "characters.json", b"{"),
        ("bpe", "tokenizer.model", b""),
        ("bpe", "tokenizer.model", b"not a model at all"),
    ],
)
def test_a_foreign_model_file_with_a_right_fingerprint_is_refused(
    tokenizers: dict[str, Tokenizer], tmp_path: Path, kind: str, name: str, content: bytes
) -> None:
    tokenizers[kind].save(tmp_path / "t")
    (tmp_path / "t" / name).write_bytes(content)
    _edit(tmp_path / "t", fingerprint=fingerprint_of(kind, {name: content}))
    with pytest.raises(DataError, match="is damaged") as caught:
        load_tokenizer(tmp_path / "t")
    assert "\n" not in str(caught.value)


def test_a_missing_tokenizer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no tokenizer at"):
        load_tokenizer(tmp_path / "none")
    with pytest.raises(DataError, match=r"is not a tokenizer: it holds no tokenizer_config"):
        load_tokenizer(tmp_path)
