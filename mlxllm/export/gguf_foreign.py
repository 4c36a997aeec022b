"""Somebody else's tokenizer as a GGUF file holds it: byte-level BPE with its merges, or SentencePiece with scores.

Both are taken from a tokenizer.json (a tokenizer.model is turned into one first), so that there is one way for each kind.

llama.cpp knows the rules that cut a text into words, which byte-level BPE begins with, by names; which name a tokenizer
has follows from its regular expressions.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mlxllm.errors import DataError, ModelError
from mlxllm.export.gguf_vocabulary import (
    ANOTHER_SPACE,
    COMPOSES_NOTHING,
    SPACE,
    SPACE_BEHIND_SPECIALS,
    TokenType,
    Vocabulary,
    padded,
)
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.hub_files import CONFIG_FILE, SENTENCEPIECE_MODEL, TOKENIZER_JSON
from mlxllm.tokenizer.hub_sentencepiece import as_tokenizer_json, read_sentencepiece

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_DIGIT = r"\p{N}"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_REST_SLASH = _REST.replace(r"[\r\n]*", r"[\r\n/]*", 1)
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*"
_QWEN35 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = rf"{_CONTRACTIONS}|{_LETTERS}|\p{{N}}{{1,3}}|{_REST}"

_KEEPING_MATCHES = (("Isolated", False), ("Removed", True))
"""Ways to say that each match is a word."""

PRE_TOKENIZERS: dict[tuple[tuple[str, ...], bool], str] = {
    ((_GPT2,), False): "gpt-2",
    ((_DIGIT, _GPT2), False): "smollm",
    ((_LLAMA3,), True): "llama-bpe",
    ((_LLAMA3,), False): "smaug-bpe",
    ((_LLAMA3.replace("{1,3}", ""),), False): "qwen2",
    ((_QWEN35,), False): "qwen35",
    ((rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}|{_REST_SLASH}",), True): "tekken",
    ((rf"{_CASED[0]}{_CONTRACTIONS}?|{_CASED[1]}{_CONTRACTIONS}?|\p{{N}}{{1,3}}|{_REST_SLASH}",), False): "gpt-4o",
}
"""(regular expressions that cut a text one after the other, whether a word that is a token skips the merges) -> the name
that llama.cpp has for this."""


def foreign_vocabulary(tokenizer: Tokenizer, rows: int) -> Vocabulary:
    """A tokenizer that came with somebody else's model.

    Args:
        tokenizer: of the kind `hub`.
        rows: of the embedding, which may have more than the tokenizer has ids.

    Raises:
        ModelError: llama.cpp has no such tokenizer; the message says what is in the way.
    """
    files = tokenizer.model_files()
    config = json.loads(files.get(CONFIG_FILE, b"{}"))
    if TOKENIZER_JSON in files:
        content = json.loads(files[TOKENIZER_JSON])
    else:
        read = read_sentencepiece(files[SENTENCEPIECE_MODEL], SENTENCEPIECE_MODEL)
        content = as_tokenizer_json(read, config, SENTENCEPIECE_MODEL)
    if content["model"].get("type", "BPE") != "BPE":
        raise _no_such(f"it is of the kind {content['model'].get('type')}, and only BPE is the same there")
    steps = [*_steps(content.get("normalizer")), *_steps(content.get("pre_tokenizer"))]
    byte_level = any(step["type"] == "ByteLevel" for step in steps)
    tokens, types = _tokens(tokenizer, content, byte_level)
    padded(tokens, types, rows)
    if len(set(tokens)) < len(tokens):
        raise _no_such(f"the token {_twice(tokens)!r} has two ids, which llama.cpp does not take")
    notes = []
    if any(token.get("lstrip") or token.get("rstrip") for token in content.get("added_tokens") or ()):
        notes.append("llama.cpp keeps the spaces beside special tokens that this tokenizer takes away")
    bos = tokenizer.special_ids.get(_spelled(config.get("bos_token")))
    if tokenizer.prefix_ids:
        bos = tokenizer.prefix_ids[0]
    others = [i for i in tokenizer.stop_ids if i != tokenizer.eot_id]
    named: dict[str, Any] = {
        "eos_id": tokenizer.eot_id,
        # llama.cpp would take a number of its own otherwise.
        "bos_id": tokenizer.eot_id if bos is None else bos,
        "unk_id": tokenizer.special_ids.get(_spelled(config.get("unk_token"))),
        "pad_id": tokenizer.special_ids.get(_spelled(config.get("pad_token"))),
        "eot_id": others[-1] if others else None,
        "add_bos": bool(tokenizer.prefix_ids),
    }
    if byte_level:
        name, told = pre_tokenizer_of(content)
        merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]]
        return Vocabulary("gpt2", tokens, types, merges=merges, pre=name, notes=(*notes, *told), **named)
    space, told = _space_prefix(content, tokens, types)
    scores = _scores(tokens, content["model"]["merges"])
    return Vocabulary("llama", tokens, types, scores=scores, add_space_prefix=space, notes=(*notes, *told), **named)


def pre_tokenizer_of(content: Mapping[str, Any]) -> tuple[str, list[str]]:
    """llama.cpp's name for the rule by which a byte-level tokenizer.json cuts texts, and what is otherwise there.

    Raises:
        ModelError: it has none.
    """
    notes = []
    for step in _steps(content.get("normalizer")):
        if step["type"] not in ("NFC", "ByteLevel"):
            raise _no_such(f"it changes texts first ({step['type']}), which llama.cpp does not")
        if step["type"] == "NFC":
            notes.append(COMPOSES_NOTHING)
    patterns: list[str] = []
    for step in _steps(content.get("pre_tokenizer")):
        kind = step["type"]
        if kind == "ByteLevel":
            if step.get("add_prefix_space"):
                raise _no_such("it puts a space before every text, which llama.cpp does not with byte-level BPE")
            patterns += [_GPT2] if step.get("use_regex", True) else []
        elif kind == "Digits" and step.get("individual_digits"):
            patterns.append(_DIGIT)
        elif kind == "Split" and (step.get("behavior"), bool(step.get("invert"))) in _KEEPING_MATCHES:
            patterns.append(str(step["pattern"].get("Regex", step["pattern"].get("String"))))
        else:
            raise _no_such(f"it cuts texts by {kind}, for which llama.cpp has no name")
    key = (tuple(patterns), bool(content["model"].get("ignore_merges")))
    if key not in PRE_TOKENIZERS:
        known = ", ".join(PRE_TOKENIZERS.values())
        shown = " then ".join(repr(pattern if len(pattern) < 60 else f"{pattern[:56]} ...") for pattern in patterns)
        what = (
            f"it cuts texts by {shown}{' (ignore_merges)' if key[1] else ''}" if patterns else "it does not cut texts"
        )
        raise _no_such(f"{what}, for which llama.cpp has no name that is known here ({known})")
    return PRE_TOKENIZERS[key], notes


def _tokens(tokenizer: Tokenizer, content: Mapping[str, Any], byte_level: bool) -> tuple[list[str], list[TokenType]]:
    """The token of each id, and its type."""
    spelled = {number: token for token, number in content["model"]["vocab"].items()}
    added = {token["id"]: token["content"] for token in content.get("added_tokens") or ()}
    special = set(tokenizer.special_ids.values())
    unknown = content["model"].get("unk_token")
    fallback = not byte_level and content["model"].get("byte_fallback")
    tokens, types = [], []
    for i in range(tokenizer.vocab_size):
        kind = TokenType.NORMAL
        text = added.get(i, spelled.get(i))
        if text is None:  # a token that another file adds, or a hole
            try:
                text = tokenizer.piece(i)
                kind = TokenType.USER_DEFINED
            except DataError:
                text, kind = f"[PAD{i}]", TokenType.UNUSED
        if i in special:
            kind = TokenType.UNKNOWN if text == unknown and not byte_level else TokenType.CONTROL
        elif fallback and _BYTE.fullmatch(text):
            kind = TokenType.BYTE
        elif i in added:
            kind = TokenType.USER_DEFINED
        tokens.append(text)
        types.append(kind)
    return tokens, types


def _space_prefix(
    content: Mapping[str, Any], tokens: Sequence[str], types: Sequence[TokenType]
) -> tuple[bool, list[str]]:
    """Whether a SentencePiece tokenizer puts a space before a text, and what is otherwise in llama.cpp."""
    if types.count(TokenType.BYTE) < 256:
        raise _no_such("it has no tokens for single bytes, which llama.cpp spells unknown characters with")
    prefix, escapes, notes = False, False, []
    for step in _steps(content.get("normalizer")):
        if step["type"] == "Prepend" and step.get("prepend") == SPACE:
            prefix = True
        elif step["type"] == "Replace" and step.get("content") == SPACE and step["pattern"].get("String") == " ":
            escapes = True
        else:
            raise _no_such(f"it changes texts first ({step['type']}), which llama.cpp does not")
    for step in _steps(content.get("pre_tokenizer")):
        inner = any(SPACE in token[1:] for token, kind in zip(tokens, types, strict=True) if kind is TokenType.NORMAL)
        if step["type"] != "Metaspace" or step.get("replacement") != SPACE or (step.get("split", True) and inner):
            raise _no_such(f"it cuts texts by {step['type']}, which llama.cpp does not with SentencePiece")
        escapes = True
        scheme = step.get("prepend_scheme", "always" if step.get("add_prefix_space", True) else "never")
        prefix = scheme != "never"
        if prefix:
            notes += [ANOTHER_SPACE, SPACE_BEHIND_SPECIALS] if scheme == "first" else [ANOTHER_SPACE]
    if not escapes:
        raise _no_such("it does not write spaces as U+2581")
    return prefix, notes


def _scores(tokens: Sequence[str], merges: Sequence[Any]) -> list[float]:
    """Minus the place of the first merge that makes a token: the earlier one is merged first."""
    place: dict[str, int] = {}
    for number, pair in enumerate(merges):
        made = pair.replace(" ", "", 1) if isinstance(pair, str) else "".join(pair)
        place.setdefault(made, number)
    return [-float(place.get(token, len(merges))) for token in tokens]


def _steps(part: Any) -> Iterator[Mapping[str, Any]]:
    """The steps of a normaliser or pre-tokenizer, sequences within sequences undone."""
    if not isinstance(part, dict):
        return
    if part.get("type") != "Sequence":
        yield part
        return
    for each in part.get("normalizers") or part.get("pretokenizers") or ():
        yield from _steps(each)


def _spelled(token: Any) -> str:
    """A special token is its text, or an object that describes it."""
    content = token.get("content") if isinstance(token, dict) else token
    return content if isinstance(content, str) else ""


def _twice(tokens: Sequence[str]) -> str:
    seen: set[str] = set()
    return next(token for token in tokens if token in seen or seen.add(token))  # type: ignore[func-returns-value]


def _no_such(why: str) -> ModelError:
    return ModelError(f"the tokenizer of this model cannot go into a GGUF file: {why}; export it with --format hf")
