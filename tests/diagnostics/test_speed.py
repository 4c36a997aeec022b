"""The device is timed, and what is kept says how long a real step takes."""

import time

import pytest

from mlxllm.diagnostics.device import speed as measuring
from mlxllm.presets import preset_config
from mlxllm.runtime import blas_for_lanes, select_device
from mlxllm.speed import Speed
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.plan import settle
from mlxllm.training.step import TrainStep, initial_state

import mlx.core as mx  # isort: skip  (after the runtime)

from mlxllm.model.transformer import build_model  # isort: skip


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Speed:
    select_device("cpu")
    monkeypatch.setattr(measuring, "_WIDTHS", {"cpu": (64, 128), "gpu": (64, 128)})
    return measuring.measure_speed()


def test_a_measured_speed_tells_what_a_step_takes(measured: Speed) -> None:
    assert [point.width for point in measured.points] == [64, 128]
    assert measured.measured
    assert measured.device == "cpu"
    config = settle(preset_config("char-tiny").with_values(model={"vocab_size": 512}, train={"batch_size": 32}))
    train = config.train
    step = TrainStep(model := build_model(config.model), train, next_token_objective(train), lanes=train.lanes)
    state = initial_state(model, train)
    ids = mx.zeros((train.batch_size, config.data.max_seq_len), dtype=mx.int32)
    seconds = []
    with blas_for_lanes(train.lanes):
        for _ in range(8):
            begun = time.perf_counter()
            after, metrics = step(state, (ids, ids))
            mx.eval(after.arrays(), metrics.arrays())
            seconds.append(time.perf_counter() - begun)
    # A test machine is busy with other tests: the law is the order of magnitude, `doctor --speed` is held to 25 %.
    assert min(seconds) / 10 < measured.cost(config).step < 10 * min(seconds)


def test_measuring_ends_early_on_a_slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    select_device("cpu")
    monkeypatch.setattr(measuring, "_BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(measuring, "_AT_LEAST_SECONDS", 0.0)
    assert len(measuring.measure_speed().points) == 1
