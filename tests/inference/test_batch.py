"""Continuations side by side are those that each prompt would have had alone."""

from typing import Any

import pytest

from mlxllm.config import ModelConfig, SampleConfig
from mlxllm.inference.batch import generate_batch
from mlxllm.inference.generate import generate
from mlxllm.model.transformer import build_model
from mlxllm.tokenizer.byte import ByteTokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
PROMPTS = ["a", "Once upon a time", "the quick brown fox", "", "zz", "Once upon a time!"]


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"positions": "learned"},
        {"positions": "sinusoidal"},
        {"positions": "none", "norm": "layernorm"},
        {"qk_norm": True},
    ],
)
def test_greedy_continuations_are_those_of_one_at_a_time(shape: dict[str, Any]) -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate({**SHAPE, **shape}), seed=3)
    model.train()
    prompts = [tokenizer.encode(p) or [tokenizer.eot_id] for p in PROMPTS]
    sample = SampleConfig(temperature=0, max_tokens=24)
    alone = [[t.id for t in generate(model, tokenizer, p, sample, stop_ids=())] for p in prompts]
    stop = alone[1][7]  # some continuations end early, at different places
    expected = [ids[: ids.index(stop)] if stop in ids else ids for ids in alone]
    assert len({len(ids) for ids in expected}) > 1
    for size in (1, 4, 32):
        assert generate_batch(model, tokenizer, prompts, sample, stop_ids=[stop], batch_size=size) == expected
    assert model.training


def test_draws_follow_the_seed_and_differ_between_rows() -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate({**SHAPE, "initializer_range": 0.02}), seed=0)
    sample = SampleConfig(temperature=1.0, max_tokens=12, seed=5)
    prompts = [tokenizer.encode("same")] * 3
    first = generate_batch(model, tokenizer, prompts, sample)
    assert first == generate_batch(model, tokenizer, prompts, sample)
    assert first != generate_batch(model, tokenizer, prompts, sample.model_copy(update={"seed": 6}))
    assert len({tuple(ids) for ids in first}) == 3
