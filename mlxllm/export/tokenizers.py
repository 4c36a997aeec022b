"""Our own tokenizers as tokenizer.json of the `tokenizers` library: the same ids for any text that spells no special token.

- char and byte: every id is written as its bytes, in the letters that GPT-2 writes bytes with, so that stray bytes decode
  as they do here: each incomplete character once as U+FFFD.
- bpe: pieces as they are, other characters as bytes (`<0x0A>`), as in Llama's first tokenizers. Stray bytes decode as
  U+FFFD one by one, with the whole characters that are spelled in bytes beside them.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from mlxllm.errors import ModelError
from mlxllm.tokenizer import FIRST_BYTE_ID, FIRST_LEARNED_ID, Tokenizer

OWN_KINDS = ("char", "byte", "bpe")

TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
TEMPLATE_FILE = "chat_template.jinja"

_MARK = "\u0180"
"""Not one of `byte_letters`."""


def is_own(tokenizer: Tokenizer) -> bool:
    """Whether it is one of ours, rather than one that came with somebody's model."""
    return tokenizer.kind in OWN_KINDS


def tokenizer_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of tokenizer.json for one of our own tokenizers."""
    if tokenizer.kind == "bpe":
        parts = _pieces_and_bytes(tokenizer)
    else:
        parts = _byte_letters(tokenizer)
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, **_added(token)} for token, i in tokenizer.special_ids.items()],
        "normalizer": None,
        "post_processor": None,
        **parts,
    }


def tokenizer_config(tokenizer: Tokenizer, *, eos: str, longest: int, template: str | None) -> dict[str, Any]:
    """The content of tokenizer_config.json for one of our own tokenizers.

    Args:
        tokenizer: of a kind of ours.
        eos: the special token that ends an answer, or a text.
        longest: the model's longest context.
        template: the chat template, for readers that look for it here; None for a base model.
    """
    # Of `extra_special_tokens` transformers before 5 wants a dictionary: `added_tokens_decoder` says it to all.
    config = {
        "added_tokens_decoder": {str(i): _added(token) for token, i in tokenizer.special_ids.items()},
        "clean_up_tokenization_spaces": False,
        "eos_token": eos,
        "model_max_length": longest,
        "pad_token": "<|endoftext|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return config if template is None else config | {"chat_template": template}


def as_json(content: dict[str, Any]) -> bytes:
    """A JSON file: equal content gives equal bytes."""
    return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8")


def merge_rules(pieces: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs that byte-pair encoding by pairs has to merge, strongest first, to do what ours does by pieces.

    Ours merges whichever neighbours make the strongest piece, the leftmost first; tokenizer.json ranks the pairs. Inside
    the stretch of text that becomes a piece, merges come in the order in which they come when that piece is encoded
    alone: no merge crosses the stretch, and what is beside it changes none within. So a piece has one last pair,
    whatever the text is, and these pairs in the order of their pieces give the same merges in the same order. A piece
    that encoding its own text does not give is never merged from any text and has no rule.

    Args:
        pieces: the earlier the stronger.

    Raises:
        ModelError: a piece has a character that is no piece itself, which none that was trained has.
    """
    rank = {piece: i for i, piece in enumerate(pieces)}
    pairs = ((piece, _last_pair(piece, rank)) for piece in pieces if len(piece) > 1)
    return [pair for _, pair in pairs if pair is not None]


def _last_pair(piece: str, rank: dict[str, int]) -> tuple[str, str] | None:
    symbols = list(piece)
    if alone := next((symbol for symbol in symbols if symbol not in rank), None):
        # Here they would still merge; in tokenizer.json it is bytes by then.
        raise ModelError(
            f"the tokenizer has the piece {piece!r} but none for {alone!r}, which tokenizer.json cannot express; "
            f"train one with `mlxllm tokenizer train`"
        )
    while len(symbols) > 2:
        best, i = min((rank.get(left + right, len(rank)), i) for i, (left, right) in enumerate(pairwise(symbols)))
        if best == len(rank):
            return None
        symbols[i : i + 2] = [symbols[i] + symbols[i + 1]]
    return symbols[0], symbols[1]


def _pieces_and_bytes(tokenizer: Tokenizer) -> dict[str, Any]:
    vocabulary = {tokenizer.piece(i): i for i in range(tokenizer.vocab_size)}
    learned = [tokenizer.piece(i) for i in range(FIRST_LEARNED_ID, tokenizer.vocab_size)]
    return {
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]},
        "model": _model(vocabulary, [list(pair) for pair in merge_rules(learned)], byte_fallback=True),
    }


def _byte_letters(tokenizer: Tokenizer) -> dict[str, Any]:
    letters = byte_letters()
    spelled = ["".join(letters[byte] for byte in tokenizer.token_bytes(i)) for i in range(tokenizer.vocab_size)]
    learned = set(spelled[FIRST_LEARNED_ID:])
    vocabulary = dict(tokenizer.special_ids)
    for i in range(FIRST_BYTE_ID, tokenizer.vocab_size):
        # The byte of a learned character is never encoded, and two ids cannot have one name: it is marked, the decoder
        # takes the mark off.
        vocabulary[_MARK + spelled[i] if i < FIRST_LEARNED_ID and spelled[i] in learned else spelled[i]] = i
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    if not learned:
        return {"pre_tokenizer": byte_level, "decoder": byte_level, "model": _model(vocabulary, [])}
    unmarked = {"type": "Strip", "content": _MARK, "start": 1, "stop": 0}
    characters = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}
    return {
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [characters, byte_level]},
        "decoder": {"type": "Sequence", "decoders": [unmarked, byte_level]},
        # What is in the vocabulary as a whole, a learned character, needs no merges.
        "model": _model(vocabulary, [], ignore_merges=True),
    }


def byte_letters() -> list[str]:
    """The letter that stands for each byte: itself where it can be seen, else one from U+0100 on (GPT-2)."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = iter(range(0x100, 0x200))
    return [chr(byte) if byte in seen else chr(next(hidden)) for byte in range(256)]


def _model(
    vocabulary: dict[str, int], merges: list[list[str]], *, byte_fallback: bool = False, ignore_merges: bool = False
) -> dict[str, Any]:
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": byte_fallback,
        "ignore_merges": ignore_merges,
        "vocab": vocabulary,
        "merges": merges,
    }


def _added(token: str) -> dict[str, Any]:
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"content": token, **plain, "special": True}
