"""Tokenizers of each kind, made from a small corpus of prose, code and other scripts."""

import pytest

from mlxllm.tokenizer import Tokenizer, train_tokenizer
from tests.tokenizer.corpus import corpus


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return corpus()


@pytest.fixture(scope="session")
def tokenizers(texts: list[str]) -> dict[str, Tokenizer]:
    return {
        "char": train_tokenizer("char", texts),
        "byte": train_tokenizer("byte", texts),
        "bpe": train_tokenizer("bpe", texts, vocab_size=420),
    }


@pytest.fixture(params=["char", "byte", "bpe"])
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    return tokenizers[request.param]
