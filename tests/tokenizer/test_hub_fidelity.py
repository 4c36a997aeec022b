"""Tokenizers of others give the ids and texts that transformers gives."""

import json
from pathlib import Path
from typing import Any

import pytest

from mlxllm.tokenizer import StreamDecoder, load_tokenizer
from tests.tokenizer import foreign

SPELLED = ["a</s>b", "<s>hello", "x <|im_start|>user\n y<|im_end|>\n", "<think>hm</think>", "   three", "<unk>"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {kind: foreign.write(kind, tmp_path_factory.mktemp(kind)) for kind in foreign.KINDS}


def _theirs(folder: Path) -> Any:
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(folder)


@pytest.mark.peers
@pytest.mark.parametrize("kind", foreign.KINDS)
def test_the_same_ids_and_texts_as_transformers(folders: dict[str, Path], kind: str) -> None:
    ours, theirs = load_tokenizer(folders[kind]), _theirs(folders[kind])
    texts = foreign.texts(1000)
    expected = [theirs.encode(text, add_special_tokens=False) for text in texts]
    assert [ids.tolist() for ids in ours.encode_to_array(texts)] == expected
    for text, ids in zip(texts, expected, strict=True):
        assert ours.encode(text) == ids, text
        assert ours.encode_with_specials(text) == ids, text
        decoded = theirs.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert ours.decode(ids) == decoded, text
    assert ours.vocab_size == len(theirs)
    assert [*ours.prefix_ids, *ours.encode("a b")] == theirs("a b").input_ids
    assert ours.eot_id == theirs.eos_token_id


@pytest.mark.peers
@pytest.mark.parametrize("kind", foreign.KINDS)
def test_special_tokens_are_commands_in_a_template_only(folders: dict[str, Path], kind: str) -> None:
    ours, theirs = load_tokenizer(folders[kind]), _theirs(folders[kind])
    special = set(ours.special_ids.values())
    for text in SPELLED:
        whole = theirs.encode(text, add_special_tokens=False)
        assert ours.encode_with_specials(text) == whole, text
        plain = ours.encode(text)
        assert special.isdisjoint(plain), text
        assert ours.decode(plain) == text or text.startswith(" "), text
        if special.isdisjoint(whole):
            assert plain == whole, text


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_texts_come_back(folders: dict[str, Path], kind: str) -> None:
    tokenizer = load_tokenizer(folders[kind])
    spaced = kind in ("llama2", "metaspace", "sentencepiece")
    lengths = tokenizer.byte_lengths()
    assert lengths.shape == (tokenizer.vocab_size,)
    for text in [*foreign.texts(300, seed=2), *SPELLED]:
        if spaced and ("▁" in text or text.startswith(" ")):
            continue  # their alphabet has no other word for a space
        if kind == "qwen" and not text.isascii():
            continue  # it writes accents in one way (NFC)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        spelled = b"".join(tokenizer.token_bytes(i) for i in ids)
        assert spelled == tokenizer.decode_bytes(ids)
        assert spelled == (b" " if spaced and text else b"") + text.encode()
        assert int(lengths[ids].sum()) == len(spelled)
        if text:
            assert int(lengths[[*ids, tokenizer.eot_id]].sum()) == len(text.encode())
        decoder = StreamDecoder(tokenizer)
        assert "".join([*map(decoder.add, ids), decoder.flush()]) == tokenizer.decode_continued(ids)


@pytest.mark.parametrize("kind", ["llama2", "metaspace", "sentencepiece"])
def test_a_continued_text_has_no_space_before_it(folders: dict[str, Path], kind: str) -> None:
    tokenizer = load_tokenizer(folders[kind])
    begun = tokenizer.encode("the quick")
    for more in (" brown", "ly", "\n", "42", " 日本"):
        assert tokenizer.decode([*begun, *tokenizer.encode_continued(more)]) == "the quick" + more


@pytest.mark.peers
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
@pytest.mark.parametrize("kind", ["llama2", "sentencepiece"])
def test_readers_get_what_the_maker_wrote(tmp_path: Path, kind: str, architecture: str) -> None:
    folder = foreign.write(kind, tmp_path / kind, tokenizer_class="LlamaTokenizer", add_bos_token=True)
    (folder / "config.json").write_text(json.dumps({"model_type": architecture}))
    ours = load_tokenizer(folder)
    assert ours.model_files()["tokenizer_config.json"] == (folder / "tokenizer_config.json").read_bytes()
    for name, content in ours.files_for_readers().items():
        (folder / name).write_bytes(content)
    again, theirs = load_tokenizer(folder), _theirs(folder)
    for text in [" two", "  three", "\u2581", "a", *SPELLED, *foreign.texts(50)]:
        assert again.encode(text) == ours.encode(text)
        assert again.encode_with_specials(text) == ours.encode_with_specials(text)
        assert [*ours.prefix_ids, *ours.encode_with_specials(text)] == theirs(text).input_ids
    assert (again.eot_id, again.prefix_ids, again.stop_ids) == (ours.eot_id, ours.prefix_ids, ours.stop_ids)
