"""What a user names to a tokenizer: one that is there, or a recipe for one."""

from mlxllm import paths
from mlxllm.errors import ConfigError
from mlxllm.tokenizer.base import Tokenizer
from mlxllm.tokenizer.storage import load_tokenizer, tokenizer_directory
from mlxllm.tokenizer.training import KINDS, TokenizerRecipe


def choose_tokenizer(text: str) -> Tokenizer | TokenizerRecipe:
    """A tokenizer by name or path, or of a model of the Hub that was fetched before; else what `bpe:SIZE` or so asks for.

    Raises:
        ConfigError: it is none of these.
        DataError: the tokenizer of that name is damaged.
    """
    if text.partition(":")[0] in KINDS and not (paths.folder("tokenizers") / text).exists():
        return TokenizerRecipe.parse(text)
    try:
        return load_tokenizer(tokenizer_directory(paths.existing("tokenizers", text)))
    except ConfigError as error:
        from mlxllm.data.hub.models import cached_model, parse_hub_name  # only here: it brings the downloader

        name = None if paths.is_path(text) else parse_hub_name(text)
        if name is not None and (folder := cached_model(name)) is not None:
            return load_tokenizer(tokenizer_directory(folder))
        there = "; a model of the Hub has to be here already (`mlxllm sample` fetches it)" if name is not None else ""
        raise ConfigError(f"{error}{there}; or give char, byte or bpe[:VOCAB] to make one") from None
