"""Continuations side by side are those that each prompt would have had alone."""

from typing import Any

import pytest

from mlxllm.config import ModelConfig, SampleConfig
from mlxllm.inference.batch import generate_batch
from mlxllm.inference.generate import generate
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.tokenizer.byte import ByteTokenizer

SHAPE: dict[str, Any] = {
    "vocab_size": 261, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "intermediate_size": 48, "max_position_embeddings": 64, "initializer_range": 0.3,
}  # fmt: skip
PROMPTS = ["a", "Once upon a time", "the quick brown fox", "", "zz", "Once upon a time!"]


BEGINNING = "What all of them begin with. "
"""Long enough to be read once for all."""


@pytest.mark.parametrize("beginning", ["", BEGINNING])
@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"positions": "learned"},
        {"positions": "sinusoidal"},
        {"positions": "none", "norm": "layernorm"},
        {"qk_norm": True},
        {"sliding_window": 8},
        {"rope_scaling": {"rope_type": "linear", "factor": 3.0}, "no_rope_layers": [1, 0]},
        {"num_experts": 3, "moe_intermediate_size": 24},
    ],
)
def test_greedy_continuations_are_those_of_one_at_a_time(shape: dict[str, Any], beginning: str) -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate({**SHAPE, **shape}), seed=3)
    model.train()
    prompts = [tokenizer.encode(beginning + p) or [tokenizer.eot_id] for p in PROMPTS]
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


def test_draws_do_not_depend_on_the_rows_beside() -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate({**SHAPE, "initializer_range": 0.02}), seed=0)
    sample = SampleConfig(temperature=1.0, max_tokens=12, seed=5)
    prompts = [tokenizer.encode(p) for p in ("one", "another", "more", "same", "same")]
    together = generate_batch(model, tokenizer, prompts, sample, stop_ids=[300])
    assert generate_batch(model, tokenizer, prompts, sample, stop_ids=[300], batch_size=2) == together
    assert together[3] != together[4]


def test_rows_that_have_ended_are_computed_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate(SHAPE), seed=3)
    prompts = [tokenizer.encode(p) or [tokenizer.eot_id] for p in PROMPTS]
    rows: list[int] = []
    logits = Transformer.logits
    monkeypatch.setattr(Transformer, "logits", lambda self, x: (rows.append(x.shape[0]), logits(self, x))[1])
    told: dict[int, list[int | None]] = {}

    def watch(number: int, token: int | None) -> bool:
        told.setdefault(number, []).append(token)
        return len(told[number]) == (30 if number == 2 else 3)

    sample = SampleConfig(temperature=0, max_tokens=40)
    written = generate_batch(model, tokenizer, prompts, sample, stop_ids=(), watch=watch)
    assert [len(ids) for ids in written] == [3, 3, 30, 3, 3, 3]
    assert all(told[number] == [*ids, None] for number, ids in enumerate(written))
    assert rows[0] == 6
    assert rows[6:] == [1] * len(rows[6:])


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_continuation_ends_where_positions_do(positions: str) -> None:
    tokenizer = ByteTokenizer()
    model = build_model(ModelConfig.model_validate({**SHAPE, "positions": positions}), seed=3)
    prompts = [tokenizer.encode("x" * 60), tokenizer.encode("y")]
    sample = SampleConfig(temperature=0, max_tokens=80)
    alone = [[t.id for t in generate(model, tokenizer, p, sample, stop_ids=())] for p in prompts]
    assert [len(ids) for ids in alone] == [5, 64]
    assert generate_batch(model, tokenizer, prompts, sample, stop_ids=()) == alone
