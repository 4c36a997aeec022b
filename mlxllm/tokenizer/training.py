"""One way to make a tokenizer of any kind."""

from collections.abc import Iterable
from dataclasses import dataclass

from mlxllm.errors import ConfigError
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.tokenizer.char import CharTokenizer

KINDS = ("char", "byte", "bpe")


@dataclass(frozen=True, slots=True)
class TokenizerRecipe:
    """A tokenizer that is still to be made."""

    kind: str
    """`char`, `byte` or `bpe`."""
    vocab_size: int | None = None
    """Of `bpe`; None for its default."""

    def __str__(self) -> str:
        return self.kind if self.vocab_size is None else f"{self.kind}:{self.vocab_size}"

    @classmethod
    def parse(cls, text: str) -> "TokenizerRecipe":
        """`char`, `byte`, `bpe` or `bpe:SIZE`.

        Raises:
            ConfigError: it is none of these.
        """
        kind, colon, size = text.partition(":")
        if kind not in KINDS or (colon and not (kind == "bpe" and size.isdecimal())):
            raise ConfigError(f"tokenizer {text!r} is not understood; give char, byte, bpe or bpe:4096")
        return cls(kind, int(size) if colon else None)

    def make(self, texts: Iterable[str]) -> Tokenizer:
        """Make it from training texts; see `train_tokenizer`."""
        return train_tokenizer(self.kind, texts, vocab_size=self.vocab_size)


def train_tokenizer(kind: str, texts: Iterable[str], *, vocab_size: int | None = None, seed: int = 0) -> Tokenizer:
    """Make a tokenizer from training texts, which are read once and never held as a whole.

    Args:
        kind: `char` (the characters that occur), `byte` (nothing to learn: `texts` is not read) or `bpe`.
        texts: the training texts.
        vocab_size: number of ids of a `bpe` tokenizer, 8,192 by default; text with too little to learn gives
        fewer. seed: of the sample that `bpe` draws from texts longer than 32 million characters.

    Raises:
        ConfigError: the kind is unknown, or `vocab_size` does not go with it.
        DataError: there is no text, or it holds lone surrogates.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no tokenizer kind {kind!r}; known are {', '.join(KINDS)}")
    if kind == "bpe":
        from mlxllm.tokenizer.bpe_training import train_bpe  # sentencepiece is loaded only for this kind

        return train_bpe(texts, vocab_size, seed=seed)
    if vocab_size is not None:
        raise ConfigError(
            f"a {kind} tokenizer has no vocabulary size to choose ({vocab_size:,}); leave it out, or use bpe"
        )
    return ByteTokenizer() if kind == "byte" else CharTokenizer.train(texts)
