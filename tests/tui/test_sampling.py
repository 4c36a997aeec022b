"""Sampling as it is typed: what is right comes back as it was, and what is not is told with its name and value."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError
from tui.talking.sampling import as_texts, from_texts, twin


@given(
    sample=st.builds(
        SampleConfig,
        temperature=st.sampled_from([0.0, 0.05, 0.8, 1.5]),
        top_p=st.sampled_from([0.1, 0.95, 1.0]),
        top_k=st.integers(0, 10_000_000),
        min_p=st.sampled_from([0.0, 0.05, 1.0]),
        max_tokens=st.integers(1, 10_000_000),
    ),
    seed=st.one_of(st.none(), st.integers(0, 2**32 - 1)),
)
def test_what_is_shown_is_read_back(sample: SampleConfig, seed: int | None) -> None:
    found, found_seed = from_texts(as_texts(sample, seed), sample)
    assert (found.model_copy(update={"seed": 0}), found_seed) == (sample, seed)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("temperature", "-1", "temperature is -1.0; it should be greater than or equal to 0"),
        ("temperature", "101", "temperature is 101; it should be from 0 to 100"),
        ("temperature", "hot", "temperature is 'hot', which is not a number; 0: the likeliest, 0.8: lively"),
        ("temperature", "nan", "temperature is"),
        ("top_p", "0", "top-p is 0.0; it should be greater than 0"),
        ("top_k", "2.5", "top-k is '2.5', which is not a whole number"),
        ("max_tokens", "", "max tokens is '', which is not a whole number"),
        ("seed", "4294967296", "seed is 4294967296; it should be less than 4294967296"),
    ],
)
def test_what_cannot_be_is_told(name: str, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        from_texts({**as_texts(SampleConfig(), None), name: text}, SampleConfig())
    assert str(error.value).startswith(told)


def test_the_twin_has_what_differs_from_the_defaults() -> None:
    assert twin("tales@9", SampleConfig(), None) == ("chat", "--model", "tales@9")
    changed = SampleConfig(temperature=0.5, max_tokens=50)
    assert twin("tales", changed, 7) == (
        "chat",
        "--model",
        "tales",
        "--temp",
        "0.5",
        "--max-tokens",
        "50",
        "--seed",
        "7",
    )
