"""Tokenizers of our own and of others."""

import pytest

from mlxllm.tokenizer import Tokenizer, train_tokenizer
from tests.conversation.hf import CORPUS, HubTokenizer, byte_level, sentence_piece
from tests.conversation.templates import SPECIALS


@pytest.fixture(scope="session")
def own_tokenizer() -> Tokenizer:
    return train_tokenizer("bpe", CORPUS, vocab_size=400)


@pytest.fixture(scope="session")
def byte_level_tokenizer() -> HubTokenizer:
    return byte_level(SPECIALS)


@pytest.fixture(scope="session")
def sentence_piece_tokenizer() -> HubTokenizer:
    return sentence_piece(SPECIALS)
