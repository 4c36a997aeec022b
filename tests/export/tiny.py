"""Small random models of every architecture with any of our tokenizers, ready to be exported."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from mlxllm.export.hf import write_hf
from mlxllm.model.loading import LoadedModel
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer, train_tokenizer
from mlxllm.tokenizer.byte import ByteTokenizer
from tests.inference.tiny import tiny
from tests.model.families_data import POINTS
from tests.tokenizer.corpus import corpus


@cache
def own_tokenizer(kind: str) -> Tokenizer:
    """One of ours, learned from a small corpus."""
    return train_tokenizer(kind, corpus(), vocab_size=420 if kind == "bpe" else None)


def loaded_with(
    model: Transformer,
    tokenizer: Tokenizer | None = None,
    history: tuple[str, ...] = ("base",),
    words: Path = Path("no"),
) -> LoadedModel:
    """As if it had been loaded from a folder."""
    return LoadedModel(
        model, model.config, tokenizer or ByteTokenizer(), words, "tiny", Path("tiny"), None, history, ()
    )


def random_model(
    point: str = "llama", kind: str = "byte", history: tuple[str, ...] = ("base",), seed: int = 0, **changes: Any
) -> LoadedModel:
    """A model of an architecture that changes its mind from token to token."""
    tokenizer = own_tokenizer(kind)
    shape = {"vocab_size": tokenizer.vocab_size, "max_position_embeddings": 512, **POINTS[point][1], **changes}
    return loaded_with(tiny(seed, **shape), tokenizer, history)


def save_folder(model: Transformer, tokenizer: Tokenizer, history: tuple[str, ...], path: Path) -> None:
    """Write a plain model as a folder."""
    write_hf(replace(loaded_with(model), tokenizer=tokenizer, history=history), path)
