"""Tokenizers: by character, by byte, and SentencePiece BPE; see `base.py` for what they share."""

from mlxllm.tokenizer.base import FIRST_BYTE_ID, FIRST_LEARNED_ID, SPECIAL_TOKENS, TokenArray, Tokenizer
from mlxllm.tokenizer.choosing import choose_tokenizer
from mlxllm.tokenizer.storage import load_tokenizer
from mlxllm.tokenizer.streaming import StreamDecoder
from mlxllm.tokenizer.training import KINDS, TokenizerRecipe, train_tokenizer

__all__ = [
    "FIRST_BYTE_ID",
    "FIRST_LEARNED_ID",
    "KINDS",
    "SPECIAL_TOKENS",
    "StreamDecoder",
    "TokenArray",
    "Tokenizer",
    "TokenizerRecipe",
    "choose_tokenizer",
    "load_tokenizer",
    "train_tokenizer",
]
