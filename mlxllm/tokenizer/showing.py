"""Tokens for the eye: the piece of each, and the runs of a sequence that are trained."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mlxllm.tokenizer.base import Tokenizer


def read_as(tokenizer: Tokenizer, token_id: int) -> str:
    """The piece; of a byte tokenizer the character where the byte is one, as nothing else would be readable.

    Raises:
        DataError: the id is not in the vocabulary.
    """
    if tokenizer.kind == "byte" and (value := tokenizer.token_bytes(token_id)).isascii():
        return value.decode("ascii") or tokenizer.piece(token_id)
    return tokenizer.piece(token_id)


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens in a row that are all trained or all not, and all special or all not."""

    text: str
    """What they spell, so that a character of several tokens can be read."""
    trained: bool
    special: bool


def runs_of(token_ids: Sequence[int], trained: Sequence[bool], tokenizer: Tokenizer) -> Iterator[Run]:
    """A sequence as runs of text.

    Args:
        token_ids: the sequence.
        trained: for each token, whether it is a target.
        tokenizer: spells them; its special tokens are the headers and ends of turns.
    """
    special = set(tokenizer.special_ids.values())
    marked = (
        (token_id, bool(is_trained), token_id in special)
        for token_id, is_trained in zip(token_ids, trained, strict=True)
    )
    for (is_trained, is_special), group in groupby(marked, key=lambda token: token[1:]):
        yield Run(tokenizer.decode([i for i, _, _ in group]), is_trained, is_special)
