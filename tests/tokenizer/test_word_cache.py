"""Ids word by word are the ids of the whole text."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.errors import DataError
from mlxllm.tokenizer import word_cache
from mlxllm.tokenizer.bpe import BpeTokenizer
from mlxllm.tokenizer.bpe_training import train_bpe

STORY = (
    "The old fox sat on the wall.  It was warm; the wall was old.\n\n    def fox(self):\n\treturn 42  # wärm ☃\r\n" * 40
)
LEARNED = train_bpe([STORY], 400)
# Pieces that reach across a space, as tokenizers from elsewhere may have.
ACROSS = BpeTokenizer([*"abc ", "a b", "b c", "  ", " a", "ab"])


@pytest.mark.parametrize("tokenizer", [LEARNED, ACROSS], ids=["learned", "across"])
@given(
    texts=st.lists(
        st.one_of(
            st.text(st.sampled_from("abc  \n\tfox wall.é☃1\0"), max_size=40),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
            st.lists(st.sampled_from(STORY.split(" ")), max_size=30).map(" ".join),
        ),
        max_size=6,
    )
)
def test_words_give_the_ids_of_the_text(tokenizer: BpeTokenizer, texts: list[str]) -> None:
    found = tokenizer.encode_to_array(texts)
    assert [ids.tolist() for ids in found] == [tokenizer.encode(text) for text in texts]
    assert all(ids.dtype == np.uint32 for ids in found)


def test_it_forgets_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_cache, "_MOST_WORDS", 50)
    tokenizer = train_bpe([STORY], 300)
    for number in range(200):
        text = f"word{number} fox {number}"
        assert tokenizer.encode_to_array([text])[0].tolist() == tokenizer.encode(text)
    assert len(tokenizer._words._words) <= 60


def test_half_a_character_is_named_by_its_place_in_the_text() -> None:
    with pytest.raises(DataError, match=r"lone surrogate U\+D800.*19"):
        LEARNED.encode_to_array(["fine", "The old fox sat on \ud800 wall"])
    assert LEARNED.encode_to_array(["The old fox"])[0].tolist() == LEARNED.encode("The old fox")


def test_threads_may_share_a_tokenizer() -> None:
    tokenizer = train_bpe([STORY], 300)
    texts = [[f"fox {n} wall {n * 7 % 100} {k}" for n in range(200)] for k in range(16)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(tokenizer.encode_to_array, texts))
    assert [[ids.tolist() for ids in part] for part in found] == [[tokenizer.encode(t) for t in part] for part in texts]
