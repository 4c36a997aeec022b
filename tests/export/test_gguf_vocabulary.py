"""Tokenizers in GGUF files: ours as SPM, those of others as what they are; with llama.cpp where it is installed."""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers

from mlxllm.errors import ModelError
from mlxllm.export.gguf import vocabulary_of, write_gguf
from mlxllm.export.gguf_foreign import PRE_TOKENIZERS, pre_tokenizer_of
from mlxllm.export.gguf_vocabulary import TokenType, Vocabulary, own_vocabulary
from mlxllm.export.llama_cpp_reader import llama_cpp_python, read_with_llama_cpp
from mlxllm.export.verification import verify
from mlxllm.tokenizer import load_tokenizer
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer
from tests.export.test_gguf import loaded_as, tiny
from tests.tokenizer import foreign

needs_llama_cpp = pytest.mark.skipif(llama_cpp_python() is None, reason="needs llama-cpp-python")
WORDS = ["t", "h", "e", " ", "th", "the", " the", "  ", "\n", "é", "<", "0", "x", "日", " t", "▁", "▁▁", "1"]
OWN: dict[str, Tokenizer] = {
    "byte": ByteTokenizer(),
    "char": CharTokenizer("the quick\n▁é日 <0x41>"),
    "char-without-space": CharTokenizer("abc"),
    "bpe": BpeTokenizer([word for word in WORDS if "▁" not in word]),
    "bpe-with-u2581": BpeTokenizer(WORDS),
    "bpe-without-space": BpeTokenizer(["t", "h", "e", "th", " t", "the"]),
}


def texts(number: int) -> list[str]:
    """As others have them, and what could be taken for a token of ours."""
    draw = random.Random(4)
    awkward = ["<0x41>", "<|end|>", "<|endoftext|", "the the", "▁", "  ", "\x00", "aé日本\n", "[PAD300]"]
    ours = ["".join(draw.choices(awkward, k=draw.randrange(1, 6))) for _ in range(number // 2)]
    return [text for text in foreign.texts(number - len(ours)) if text] + ours


def ids_by_scores(vocabulary: Vocabulary, texts: list[str]) -> list[list[int]]:
    """What SPM's merging makes of a text with these tokens and scores, spaces escaped: written out, a pair at a time."""
    number = {token: i for i, token in enumerate(vocabulary.tokens)}
    own = {t: i for t, i in number.items() if vocabulary.types[i] is TokenType.USER_DEFINED}

    def merged(text: str) -> list[int]:
        symbols = list(text.replace(" ", "▁"))
        while True:
            found = [(number.get(a + b), -at) for at, (a, b) in enumerate(pairwise(symbols))]
            pairs = [(vocabulary.scores[i], at) for i, at in found if i is not None]
            if not pairs:
                break
            at = -max(pairs)[1]
            symbols[at : at + 2] = ["".join(symbols[at : at + 2])]
        out: list[int] = []
        for symbol in symbols:
            out += [number[symbol]] if symbol in number else [number[f"<0x{b:02X}>"] for b in symbol.encode()]
        return out

    def tokenized(text: str) -> list[int]:
        for token, i in own.items():
            if token in text:
                before, _, behind = text.partition(token)
                return [*tokenized(before), i, *tokenized(behind)]
        return merged(text)

    return [tokenized(text) for text in texts]


@pytest.mark.parametrize("name", OWN)
def test_our_tokenizers_as_spm(name: str) -> None:
    """The rule of SPM, applied to the file's tokens, gives our ids; with BPE but for U+2581."""
    tokenizer = OWN[name]
    vocabulary = own_vocabulary(tokenizer, tokenizer.vocab_size + 2)
    assert len(vocabulary.tokens) == len(set(vocabulary.tokens)) == len(vocabulary.scores) == tokenizer.vocab_size + 2
    assert vocabulary.types[:5] == [TokenType.CONTROL] * 5
    assert (vocabulary.eos_id, vocabulary.eot_id, vocabulary.add_bos) == (0, 4, False)
    asked = texts(300)
    if tokenizer.kind == "bpe":
        asked = [text.replace("▁", "_") for text in asked]
        assert any("U+2581" in note for note in vocabulary.notes)
    else:
        assert vocabulary.notes == ()
    assert ids_by_scores(vocabulary, asked) == [tokenizer.encode(text) for text in asked]


def test_pieces_that_would_be_two_of_a_kind() -> None:
    """U+2581 and the space are one in SPM, and llama.cpp ends the process where two tokens are alike."""
    vocabulary = own_vocabulary(OWN["bpe-with-u2581"], OWN["bpe-with-u2581"].vocab_size)
    unused = [i for i, kind in enumerate(vocabulary.types) if kind is TokenType.UNUSED]
    assert [OWN["bpe-with-u2581"].piece(i) for i in unused] == ["▁", "▁▁"]
    assert any(note.startswith("2 tokens with U+2581") for note in vocabulary.notes)


def test_a_token_that_pieces_can_spell_is_told() -> None:
    pieces = BpeTokenizer(["<", "|", "e", "n", "d", ">", "<|", "en", "end", "<|end", "|>"])
    assert any("<|end|>" in note for note in own_vocabulary(pieces, pieces.vocab_size).notes)


def test_a_token_of_llama_cpp_cannot_hold_a_nul(tmp_path: Path) -> None:
    tokenizer = CharTokenizer("ab\0")
    loaded = loaded_as(tiny("llama", vocab_size=tokenizer.vocab_size), tmp_path / "m", tokenizer)
    done = write_gguf(loaded, tmp_path / "m.gguf", dtype="f32")
    assert any("cannot hold U+0000" in note for note in done.notes)
    rows = verify(tmp_path / "m.gguf", loaded).rows
    assert {row.status for row in rows} <= {"passed", "not installed"}
    if rows[-1].status == "passed":
        assert "U+0000 was left out" in rows[-1].note


@needs_llama_cpp
@pytest.mark.parametrize("name", OWN)
def test_llama_cpp_finds_our_ids(name: str, tmp_path: Path) -> None:
    tokenizer = OWN[name]
    model = tiny("llama", vocab_size=tokenizer.vocab_size)
    write_gguf(loaded_as(model, tmp_path / "m", tokenizer), tmp_path / "m.gguf", dtype="f32")
    asked = texts(1000)
    if tokenizer.kind == "bpe":
        asked = [text.replace("▁", "_") for text in asked]
    read = read_with_llama_cpp(tmp_path / "m.gguf", asked, prefix=True)
    assert read.ids == [tokenizer.encode(text) for text in asked]
    assert read.special_ids == [tokenizer.encode_with_specials(text) for text in asked]
    assert read.eos_id == tokenizer.eot_id


EXPECTED = {"gpt2": "gpt-2", "llama3": "smaug-bpe", "qwen": "qwen2", "smollm": "smollm"}


def opened(kind: str, tmp_path: Path, **config: Any) -> tuple[Tokenizer, Vocabulary]:
    tokenizer = load_tokenizer(foreign.write(kind, tmp_path / "m", **config))
    model = tiny("llama", vocab_size=tokenizer.vocab_size + 3)
    return tokenizer, vocabulary_of(loaded_as(model, tmp_path / "m", tokenizer))


@pytest.mark.parametrize("kind", foreign.KINDS)
def test_tokenizers_of_others(kind: str, tmp_path: Path) -> None:
    tokenizer, vocabulary = opened(kind, tmp_path)
    assert len(set(vocabulary.tokens)) == len(vocabulary.tokens) == tokenizer.vocab_size + 3
    assert vocabulary.types[-3:] == [TokenType.UNUSED] * 3
    for text, number in tokenizer.special_ids.items():
        assert vocabulary.tokens[number] == text
        assert vocabulary.types[number] in (TokenType.CONTROL, TokenType.UNKNOWN)
    assert vocabulary.eos_id == tokenizer.eot_id
    assert vocabulary.add_bos is bool(tokenizer.prefix_ids)
    assert vocabulary.bos_id == tokenizer.special_ids["<s>"]
    if kind in EXPECTED:
        assert (vocabulary.model, vocabulary.pre) == ("gpt2", EXPECTED[kind])
        assert {TokenType.CONTROL, TokenType.USER_DEFINED} < set(vocabulary.types)
        assert vocabulary.merges
    else:
        assert vocabulary.model == "llama"
        assert vocabulary.types.count(TokenType.BYTE) == 256
        assert vocabulary.add_space_prefix
    assert any("NFC" in note for note in vocabulary.notes) is (kind == "qwen")


@needs_llama_cpp
@pytest.mark.parametrize("kind", foreign.KINDS)
def test_llama_cpp_finds_the_ids_of_others(kind: str, tmp_path: Path) -> None:
    """On a thousand texts, but for what the notes say."""
    tokenizer, _ = opened(kind, tmp_path)
    model = tiny("llama", vocab_size=tokenizer.vocab_size)
    write_gguf(loaded_as(model, tmp_path / "m", tokenizer), tmp_path / "m.gguf", dtype="f32")
    composed = normalizers.NFC().normalize_str
    asked = [composed(text) if kind == "qwen" else text for text in foreign.texts(1000) if text]
    if kind in ("metaspace", "sentencepiece"):
        asked = [text for text in asked if text[0] not in " ▁"]
    read = read_with_llama_cpp(tmp_path / "m.gguf", asked, prefix=True)
    assert read.ids == [[*tokenizer.prefix_ids, *tokenizer.encode(text)] for text in asked]


def test_scores_are_the_order_of_merges(tmp_path: Path) -> None:
    """A SentencePiece file's own ids, from its scores and from ours."""
    _, vocabulary = opened("sentencepiece", tmp_path)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "m/tokenizer.model"))
    normal = [
        i for i, kind in enumerate(vocabulary.types) if kind is TokenType.NORMAL and len(vocabulary.tokens[i]) > 1
    ]
    ours = sorted(normal, key=lambda i: vocabulary.scores[i])
    assert ours == sorted(normal, key=theirs.get_score)


def content(*steps: Any, normalizer: Any = None, ignore_merges: bool = False) -> dict[str, Any]:
    """A byte-level tokenizer.json that cuts texts in this way."""
    from tokenizers import Tokenizer as Backend

    backend = Backend(models.BPE(ignore_merges=ignore_merges))
    backend.pre_tokenizer = pre_tokenizers.Sequence(list(steps))
    backend.decoder = decoders.ByteLevel()
    if normalizer is not None:
        backend.normalizer = normalizer
    found: dict[str, Any] = json.loads(backend.to_str())
    return found


def test_names_of_pre_tokenizers() -> None:
    """By regular expression, however it is written, and by whether whole words skip the merges."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    split = pre_tokenizers.Split(Regex(foreign.LLAMA3), "isolated")
    inverted = pre_tokenizers.Split(Regex(foreign.LLAMA3), "removed", invert=True)
    assert pre_tokenizer_of(content(split, level))[0] == "smaug-bpe"
    assert pre_tokenizer_of(content(inverted, level, ignore_merges=True))[0] == "llama-bpe"
    assert pre_tokenizer_of(content(pre_tokenizers.ByteLevel(add_prefix_space=False)))[0] == "gpt-2"
    for (patterns, ignore), name in PRE_TOKENIZERS.items():
        splits = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in patterns]
        assert pre_tokenizer_of(content(*splits, level, ignore_merges=ignore)) == (name, [])


@pytest.mark.parametrize(
    ("steps", "normalizer", "message"),
    [
        ([pre_tokenizers.Split(Regex(r"\w+"), "isolated")], None, r"cuts texts by '\\\\w\+', for which llama.cpp"),
        ([pre_tokenizers.Split(Regex(foreign.GPT2), "removed")], None, "cuts texts by Split"),
        ([pre_tokenizers.Punctuation()], None, "cuts texts by Punctuation"),
        ([pre_tokenizers.ByteLevel(add_prefix_space=True)], None, "puts a space before every text"),
        (
            [pre_tokenizers.ByteLevel(add_prefix_space=False)],
            normalizers.Lowercase(),
            r"changes texts first \(Lowercase",
        ),
        ([], None, "does not cut texts"),
    ],
)
def test_unknown_rules_are_refused(steps: list[Any], normalizer: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        pre_tokenizer_of(content(*steps, normalizer=normalizer))


def test_other_kinds_are_refused(tmp_path: Path) -> None:
    folder = foreign.write("metaspace", tmp_path / "m")
    raw = json.loads((folder / "tokenizer.json").read_text())

    def refused(message: str, **changes: Any) -> None:
        (folder / "tokenizer.json").write_text(json.dumps(raw | changes))
        tokenizer = load_tokenizer(folder)
        loaded = loaded_as(tiny("llama", vocab_size=tokenizer.vocab_size), folder, tokenizer)
        with pytest.raises(ModelError, match=message):
            write_gguf(loaded, tmp_path / "m.gguf")

    pieces = [[token, -float(number)] for token, number in raw["model"]["vocab"].items()]
    refused("kind Unigram", model={"type": "Unigram", "vocab": pieces, "unk_id": 0, "byte_fallback": True})
    refused("no tokens for single bytes", model=raw["model"] | {"byte_fallback": False})
    refused("cuts texts by Whitespace", pre_tokenizer={"type": "Whitespace"})
    refused(r"changes texts first \(NFKC\)", normalizer={"type": "NFKC"})
    refused("does not write spaces as", pre_tokenizer=None)
    assert not (tmp_path / "m.gguf").exists()
