"""What a user names to a tokenizer: one that is there, or a recipe for one."""

from mlxllm import paths
from mlxllm.errors import ConfigError
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.storage import load_tokenizer
from mlxllm.tokenizer.training import KINDS, TokenizerRecipe


def choose_tokenizer(text: str) -> Tokenizer | TokenizerRecipe:
    """A tokenizer by name or path, else what `char`, `byte`, `bpe` or `bpe:SIZE` asks for.

    Raises:
        ConfigError: it is none of these.
        DataError: the tokenizer of that name is damaged.
    """
    if text.partition(":")[0] in KINDS and not (paths.folder("tokenizers") / text).exists():
        return TokenizerRecipe.parse(text)
    try:
        return load_tokenizer(paths.existing("tokenizers", text))
    except ConfigError as error:
        raise ConfigError(f"{error}; or give char, byte or bpe[:VOCAB] to make one") from None
