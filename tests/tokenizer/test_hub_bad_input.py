"""Damaged, hostile and unknown tokenizers of others: a sentence each, never a crash."""

import base64
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlxllm.errors import DataError
from mlxllm.tokenizer import load_tokenizer
from mlxllm.tokenizer.hub_files import MOST_BYTES
from tests.tokenizer import foreign

REPOSITORY = Path(__file__).parents[2]
CTC = {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}


def test_thousands_of_spoiled_files_end_in_a_sentence(tmp_path: Path) -> None:
    for kind in ("gpt2", "llama3", "llama2", "metaspace", "sentencepiece"):
        foreign.write(kind, tmp_path / "sound" / kind)
    done = subprocess.run(
        [sys.executable, "-m", "tests.tokenizer.spoiled_tokenizers", str(tmp_path / "sound"), "6", "5000"],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["refused"] + told["opened"] == 5000
    assert told["used"] > 100, "some changes do no harm"
    assert told["peak_mib"] < 500


def _changed(folder: Path, change: Callable[[dict[str, Any]], object], name: str = "tokenizer.json") -> None:
    content = json.loads((folder / name).read_text("utf-8"))
    change(content)
    (folder / name).write_text(json.dumps(content), "utf-8")


def _refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_tokenizer(folder)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(folder) in sentence
    return sentence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c.pop("model"), "its model is missing and should be an object"),
        (
            lambda c: c["model"].update(type="WordPiece"),
            "a tokenizer of the kind 'WordPiece'; known are BPE and Unigram",
        ),
        (lambda c: c["model"]["vocab"].update(big=1 << 31), "tokens have ids from 0 to 2,147,483,648"),
        (lambda c: c["model"]["vocab"].update(minus=-1), "ids from -1 to"),
        (lambda c: c["model"]["vocab"].update(half=0.5), "is not a whole number"),
        (lambda c: c["model"]["vocab"].update(twin=5), "two tokens of its vocab have the same id"),
        (lambda c: c["model"]["merges"].append(["q", "q"]), "makes 'qq' of pieces that are not all in the vocab"),
        (lambda c: c["model"]["merges"].append("q"), "of pieces that are not all in the vocab"),
        (lambda c: c["model"]["merges"].append(7), "is not a pair of texts"),
        (lambda c: c["added_tokens"][0].update(content=""), "added token 0 has no spelling"),
        (lambda c: c["added_tokens"][0].update(id=1 << 40), "has the id 1099511627776"),
        (lambda c: c.update(decoder=CTC), "a way that is not known here .decoder: CTC."),
        (lambda c: c.update(decoder=[]), "the decoder of .* is a JSON list and should be an object"),
        (
            lambda c: c.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(\\w+\\s?)*$"}}),
            "repeats what repeats and may never end",
        ),
        (
            lambda c: c.update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "((a{99}){99}){99}"}}),
            "repeats what repeats and may never end",
        ),
        (
            lambda c: c.update(
                normalizer={
                    "type": "Sequence",
                    "normalizers": [{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}] * 40,
                }
            ),
            "can make a text 1,099,511,627,776 times as long",
        ),
        (
            lambda c: c.update(
                normalizer={
                    "type": "Precompiled",
                    "precompiled_charsmap": base64.b64encode(b"\xff\xff\xff\xff1234").decode(),
                }
            ),
            "a damaged table of characters",
        ),
        (lambda c: c.update(pre_tokenizer={"type": "Nonsense"}), "cannot be opened"),
    ],
)
def test_a_bad_part_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], sentence: str) -> None:
    folder = foreign.write("gpt2", tmp_path / "t")
    _changed(folder, change)
    assert re.search(sentence, _refusal(folder)), _refusal(folder)


def test_a_search_that_explodes_ends_in_a_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = foreign.write("gpt2", tmp_path / "t")
    split = {"type": "Split", "pattern": {"Regex": "(a|a)*$"}, "behavior": "Isolated", "invert": False}
    _changed(folder, lambda c: c.update(pre_tokenizer=split))
    tokenizer = load_tokenizer(folder)
    with pytest.raises(DataError, match=r"cannot encode a text .*take another tokenizer"):
        tokenizer.encode("a" * 40 + "!")
    capfd.readouterr()  # the library reports its panic there


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN}', b'"text"'])
@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"])
def test_files_that_are_no_json(tmp_path: Path, name: str, content: bytes) -> None:
    folder = foreign.write("gpt2", tmp_path / "t")
    (folder / name).write_bytes(content)
    if content == b'{"a": NaN}' and name != "tokenizer.json":
        load_tokenizer(folder)
    else:
        assert name in _refusal(folder)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\xff" * 40, b"\n\x03abc", b"PK\x03\x04" + bytes(100)])
def test_files_that_are_no_sentencepiece_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.model").write_bytes(content)
    assert "tokenizer.model is not a SentencePiece model, or damaged" in _refusal(tmp_path)


def test_links_and_sizes(tmp_path: Path) -> None:
    folder = foreign.write("gpt2", tmp_path / "t")
    (folder / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    (folder / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    assert "is a symbolic link to" in _refusal(folder)
    # The Hub's cache keeps a snapshot's files beside it, under the names of their hashes.
    snapshot = foreign.write("gpt2", tmp_path / "models--a--b" / "snapshots" / "1234")
    (tmp_path / "models--a--b" / "blobs").mkdir()
    (snapshot / "tokenizer.json").rename(tmp_path / "models--a--b" / "blobs" / "abcd")
    (snapshot / "tokenizer.json").symlink_to("../../blobs/abcd")
    assert load_tokenizer(snapshot).kind == "hub"
    (folder / "tokenizer.json").unlink()
    with open(folder / "tokenizer.json", "wb") as file:
        file.truncate(MOST_BYTES + 1)
    assert f"has {MOST_BYTES + 1:,} bytes" in _refusal(folder)


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    folder = foreign.write("gpt2", tmp_path / "t", added_tokens_decoder={"4000": {"content": "<new>"}})
    assert "gives the added token '<new>' the id 4,000" in _refusal(folder)
    folder = foreign.write("gpt2", tmp_path / "u", eos_token=None)
    _changed(folder, lambda c: c.update(added_tokens=[]))
    assert 'names a token that ends a text; add "eos_token"' in _refusal(folder)


def test_ids_that_stand_for_nothing(tmp_path: Path) -> None:
    folder = foreign.write("gpt2", tmp_path / "t")

    def with_a_hole(content: dict[str, Any]) -> None:
        content["model"]["vocab"]["far"] = 900

    _changed(folder, with_a_hole)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.vocab_size == 901
    assert tokenizer.decode([900]) == "far"
    for ask in (tokenizer.decode, lambda ids: tokenizer.piece(ids[0]), lambda ids: tokenizer.token_bytes(ids[0])):
        with pytest.raises(DataError, match="token id 800 stands for nothing"):
            ask([800])
    with pytest.raises(DataError, match="token id 901 is not in the vocabulary of this hub tokenizer"):
        tokenizer.decode([901])


def test_lone_surrogates_are_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(foreign.write("gpt2", tmp_path / "t"))
    for ask in (tokenizer.encode, tokenizer.encode_with_specials, lambda text: tokenizer.encode_to_array(["ok", text])):
        with pytest.raises(DataError, match=r"lone surrogate U\+D800"):
            ask("a\ud800b")
