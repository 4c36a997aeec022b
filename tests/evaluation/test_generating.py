"""Texts side by side are those that each prompt would have had alone, up to its stop strings."""

import pytest

from mlxllm.config import SampleConfig
from mlxllm.errors import ConfigError
from mlxllm.evaluation.generating import write_until
from mlxllm.inference.generate import generate
from mlxllm.model.transformer import Transformer
from tests.inference.tiny import TOKENIZER, tiny, writing_letters

PROMPTS = [TOKENIZER.encode(text) for text in ("a", "Once upon a time", "the quick brown fox", "zz", "Once upon it")]


def alone(model: Transformer, prompt: list[int], tokens: int, stop: tuple[str, ...] = ()) -> str:
    sample = SampleConfig(temperature=0, max_tokens=tokens)
    return "".join(token.text for token in generate(model, TOKENIZER, prompt, sample, stop=stop))


def test_texts_end_before_a_stop_string_as_they_do_alone() -> None:
    model = writing_letters()
    whole = [alone(model, prompt, 30) for prompt in PROMPTS]
    stops = (whole[1][4:7], whole[3][9:11])
    expected = [alone(model, prompt, 30, stops) for prompt in PROMPTS]
    assert len({len(text) for text in expected}) > 2
    told: dict[int, str] = {}
    assert write_until(model, TOKENIZER, PROMPTS, max_tokens=30, stop=stops, done=told.__setitem__) == expected
    assert [told[number] for number in range(len(PROMPTS))] == expected


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_a_prompt_that_leaves_no_room_loses_its_beginning(positions: str) -> None:
    model = tiny(positions=positions)  # 64 positions
    long = [1 + n % 200 for n in range(100)]
    [text] = write_until(model, TOKENIZER, [long], max_tokens=20)
    assert text == write_until(model, TOKENIZER, [long[-44:]], max_tokens=20)[0]
    assert write_until(model, TOKENIZER, [long], max_tokens=500)[0].startswith(
        write_until(model, TOKENIZER, [long[-1:]], max_tokens=40)[0][:20]
    )


def test_a_stop_string_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="stop string is empty"):
        write_until(tiny(), TOKENIZER, PROMPTS, max_tokens=3, stop=[""])
