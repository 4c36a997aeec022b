"""The learning rate's shape, for any length of run."""

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.config import TrainConfig
from mlxllm.training.schedules import decay_start, learning_rate_scale, warmup_steps

recipes = st.builds(
    TrainConfig,
    schedule=st.sampled_from(["constant", "cosine", "linear", "wsd"]),
    max_steps=st.integers(1, 400),
    warmup_steps=st.integers(0, 100),
    decay_fraction=st.floats(0.01, 1.0),
    min_lr_ratio=st.floats(0.0, 1.0),
)


def curve(train: TrainConfig) -> list[float]:
    return [learning_rate_scale(train, step) for step in range(train.max_steps)]


@given(train=recipes)
def test_bounds_and_shape(train: TrainConfig) -> None:
    rates = curve(train)
    assert all(0 < rate <= 1 + 1e-12 for rate in rates)
    warmup, decay = warmup_steps(train), decay_start(train)
    assert 0 <= warmup <= train.max_steps / 2
    assert warmup <= decay <= train.max_steps
    for step, rate in enumerate(rates):
        if step < warmup:
            assert rate == pytest.approx((step + 1) / warmup)
        elif step < decay:
            assert rate == 1.0
        else:
            assert rate >= train.min_lr_ratio - 1e-12
    falling = rates[decay:]
    assert falling == sorted(falling, reverse=True)
    assert max(rates) == 1.0 or not rates[warmup:decay]


@given(train=recipes)
def test_no_jumps(train: TrainConfig) -> None:
    """From one step to the next the rate changes no more than the steepest part of its ramp allows."""
    rates = curve(train)
    warmup, length = warmup_steps(train), train.max_steps - decay_start(train) + 1
    steepest = max(1 / warmup if warmup else 0.0, math.pi / 2 / length if length > 1 else 0.0)
    for before, after in pairwise(rates):
        assert abs(after - before) <= steepest + 1e-9


@given(train=recipes)
def test_the_end_comes_within_one_step_of_the_floor(train: TrainConfig) -> None:
    if train.schedule == "constant":
        assert learning_rate_scale(train, train.max_steps - 1) == 1.0
        return
    length = train.max_steps - decay_start(train) + 1
    last, floor = learning_rate_scale(train, train.max_steps - 1), train.min_lr_ratio
    assert floor <= last <= floor + (1 - floor) * math.pi / 2 / length + 1e-9
    assert learning_rate_scale(train, train.max_steps) == pytest.approx(floor, abs=1e-12)
    assert learning_rate_scale(train, train.max_steps + 50) == pytest.approx(floor, abs=1e-12)


@given(train=recipes.filter(lambda t: t.schedule == "wsd"), more=st.integers(1, 400))
def test_the_stable_part_of_an_extended_run_is_the_same(train: TrainConfig, more: int) -> None:
    """What extending a run rests on: before the decay, a longer run makes the very same updates."""
    longer = train.model_copy(update={"max_steps": train.max_steps + more})
    if warmup_steps(longer) != warmup_steps(train):
        return  # a run too short for its warm-up has a shorter one
    before = decay_start(train)
    assert curve(longer)[:before] == curve(train)[:before]
    assert decay_start(longer) >= before


@pytest.mark.parametrize(("schedule", "middle"), [("cosine", 0.55), ("linear", 0.55)])
def test_half_way_down(schedule: str, middle: float) -> None:
    train = TrainConfig(schedule=schedule, max_steps=99, warmup_steps=0, min_lr_ratio=0.1)
    assert learning_rate_scale(train, 49) == pytest.approx(middle)
    quarter = {"cosine": 0.1 + 0.9 * (1 + math.cos(math.pi / 4)) / 2, "linear": 0.775}
    assert learning_rate_scale(train, 24) == pytest.approx(quarter[schedule])


def test_the_shipped_default_decays_over_the_last_part() -> None:
    train = TrainConfig(max_steps=100, warmup_steps=10, decay_fraction=0.3, schedule="wsd", min_lr_ratio=0.0)
    rates = curve(train)
    assert rates[:10] == pytest.approx([n / 10 for n in range(1, 11)])
    assert rates[10:70] == [1.0] * 60
    assert rates[70:] == pytest.approx([1 - n / 31 for n in range(1, 31)])


@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "wsd"])
def test_a_run_of_one_step(schedule: str) -> None:
    train = TrainConfig(schedule=schedule, max_steps=1, warmup_steps=20)
    assert 0 < learning_rate_scale(train, 0) <= 1
