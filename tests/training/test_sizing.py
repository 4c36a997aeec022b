"""What quickstart chooses for a machine, a text and a time."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlxllm.budget import Cost, steps_within
from mlxllm.estimate import count_parameters, estimate
from mlxllm.training.sizing import (
    LADDER,
    PARAMETERS_PER_TEXT_TOKEN,
    TOKENS_PER_PARAMETER,
    TextSize,
    choose,
    measured_flops,
)


def parameters(text: TextSize, flops: float) -> int:
    """The size that is chosen."""
    return count_parameters(choose(text, flops, "data", "").model)


@settings(max_examples=50, deadline=None)
@given(flops=st.floats(1e6, 1e20), more=st.floats(1, 1000), tokens=st.integers(100, 10**9))
def test_more_compute_and_more_text_never_make_the_model_smaller(flops: float, more: float, tokens: int) -> None:
    text = TextSize(2048, tokens)
    assert parameters(text, flops * more) >= parameters(text, flops)
    assert parameters(TextSize(2048, int(tokens * more)), flops) >= parameters(text, flops)


@settings(max_examples=50, deadline=None)
@given(flops=st.floats(1e6, 1e20), tokens=st.integers(100, 10**9), vocab=st.sampled_from([330, 2048, 8192]))
def test_what_is_chosen_can_be_trained_in_the_time_and_does_not_dwarf_the_text(
    flops: float, tokens: int, vocab: int
) -> None:
    config = choose(TextSize(vocab, tokens), flops, "data", "")
    width, layers = LADDER[0]
    if (config.model.hidden_size, config.model.num_hidden_layers) == (width, layers):
        return  # the smallest is the answer where nothing fits
    costs = estimate(config)
    assert flops / costs.flops_per_token >= TOKENS_PER_PARAMETER * costs.parameters
    assert costs.parameters <= PARAMETERS_PER_TEXT_TOKEN * tokens


def test_a_short_text_is_read_in_short_rows() -> None:
    assert choose(TextSize(330, 10**6), 1e12, "data", "").data.max_seq_len == 256
    assert choose(TextSize(330, 4096), 1e12, "data", "").data.max_seq_len == 64
    assert choose(TextSize(330, 10), 1e12, "data", "").data.max_seq_len == 32


def test_a_seed_is_passed_on_and_the_prompt_is_sampled() -> None:
    config = choose(TextSize(330, 10**5), 1e12, "somewhere", "Once", seed=7)
    assert (config.train.seed, config.train.sample_prompt, config.data.dataset) == (7, "Once", "somewhere")


def test_the_machine_is_measured() -> None:
    assert 1e6 < measured_flops(TextSize(330, 10**6)) < 1e16


@settings(max_examples=100, deadline=None)
@given(
    step=st.floats(1e-3, 10),
    validation=st.floats(0, 10),
    sample=st.floats(0, 10),
    seconds=st.floats(-10, 1e5),
    milestones=st.integers(0, 20),
    every=st.integers(0, 1000),
)
def test_the_steps_fit_into_the_time_with_all_that_is_between_them(
    step: float, validation: float, sample: float, seconds: float, milestones: int, every: int
) -> None:
    train = choose(TextSize(330, 10**6), 1e12, "data", "").train.model_copy(
        update={"eval_every": every, "sample_every": every}
    )
    steps = steps_within(train, Cost(step, validation, sample), seconds, milestones)
    assert steps >= 1
    times = milestones if milestones else steps / every if every else 0
    if steps > 1:
        assert steps * step + times * (validation + sample) <= seconds + 1e-6


@pytest.mark.parametrize("minutes", [1.0, 10.0])
def test_twice_the_time_is_about_twice_the_steps(minutes: float) -> None:
    train = choose(TextSize(330, 10**6), 1e12, "data", "").train
    cost = Cost(step=0.05, validation=1.0, sample=0.2)
    once, twice = (steps_within(train, cost, 60 * minutes * k, 6) for k in (1, 2))
    assert 1.9 < twice / once < 2.4
