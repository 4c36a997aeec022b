"""How long training will take: rates between measured ones, runs of the same shape, and a guess that says so."""

import json
import os
import platform
import socket
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm import speed
from mlxllm.budget import Cost, seconds_of, steps_within
from mlxllm.config import RunConfig
from mlxllm.estimate import estimate
from mlxllm.presets import PRESETS, preset_config
from mlxllm.runs import RunDirectory, RunState, write_json_atomic, write_state
from mlxllm.speed import Point, Speed

MEASURED = Speed(
    "cpu",
    "some chip",
    platform.machine(),
    os.cpu_count() or 1,
    1e9,
    1e-3,
    (Point(64, 4e10, 3e10, 5e7), Point(512, 1.6e11, 1.2e11, 2e8)),
)


def test_at_a_measured_width_a_step_costs_its_operations_at_that_rate() -> None:
    config = preset_config("char-tiny")
    costs = estimate(config)
    step = MEASURED.cost(config).step
    gradient = costs.tokens_per_step * costs.flops_per_token / 4e10 + 2 * 1e-3
    assert gradient < step < 2 * gradient
    adamw = MEASURED.cost(config.with_values(train={"optimizer": "adamw"})).step
    assert adamw == pytest.approx(gradient + costs.parameters / 5e7)
    for lanes in (1, 2):
        again = config.with_values(train={"optimizer": "adamw", "gradient_checkpointing": True, "lanes": lanes})
        expected = 4 / 3 * lanes * gradient + costs.parameters / 5e7
        assert MEASURED.cost(again).step == pytest.approx(expected)


def test_a_validation_costs_less_than_training_on_as_many_tokens() -> None:
    config = preset_config("char-tiny")
    trained = 3000 * estimate(config).flops_per_token / 4e10
    assert trained / 3 < MEASURED.cost(config, 3000).validation < trained
    assert MEASURED.cost(config).validation == 0


@pytest.mark.parametrize("preset", PRESETS)
def test_more_work_takes_longer(preset: str) -> None:
    config = preset_config(preset)
    train, model = config.train, config.model
    more = [
        config.with_values(train={"batch_size": 2 * train.batch_size}),
        config.with_values(train={"grad_accum_steps": 2 * train.grad_accum_steps}),
        config.with_values(model={"num_hidden_layers": 2 * model.num_hidden_layers}),
        config.with_values(model={"vocab_size": 8192}),
    ]
    assert all(MEASURED.cost(other).step > MEASURED.cost(config).step for other in more)


@given(width=st.integers(1, 10_000))
def test_a_rate_is_never_beyond_those_that_were_measured(width: int) -> None:
    assert 4e10 * 0.999 <= MEASURED._rate(lambda p: p.flops, width) <= 1.6e11 * 1.001


@given(
    step=st.floats(1e-3, 10), validation=st.floats(0, 5), steps=st.integers(1, 10**6), every=st.sampled_from([0, 50])
)
def test_the_steps_of_a_time_take_about_that_time(step: float, validation: float, steps: int, every: int) -> None:
    cost = Cost(step, validation, 0.0)
    train = preset_config("char-tiny").train.model_copy(update={"max_steps": steps, "eval_every": every})
    seconds = seconds_of(train, cost)
    fitting = steps_within(train, cost, seconds / 0.96)
    assert fitting == pytest.approx(steps, rel=0.05, abs=2 + validation / step)


def test_what_was_measured_is_kept_and_read_again(mlxllm_home: Path) -> None:
    assert not speed.read_speed().measured
    path = speed.write_speed(MEASURED)
    assert path == mlxllm_home / "cache" / "speed.json"
    assert speed.read_speed() == MEASURED


@pytest.mark.parametrize(
    "changed", [{"machine": "pdp11"}, {"cpus": 1000}, {"points": []}, {"time": "x"}, {"block_seconds": -1}]
)
def test_a_measurement_of_another_machine_or_a_damaged_one_is_a_guess(
    mlxllm_home: Path, changed: dict[str, object]
) -> None:
    path = speed.write_speed(MEASURED)
    path.write_text(json.dumps({**asdict(MEASURED), **changed}))
    assert speed.read_speed() == speed.guess()
    path.write_text("{")
    assert speed.read_speed() == speed.guess()


def test_a_guess_is_called_one_and_is_of_a_sensible_size() -> None:
    pace = speed.pace(preset_config("shakespeare-char-cpu"), speed.guess())
    assert pace.source == "a guess"
    assert 1e-3 < pace.cost.step < 1


def made_run(name: str, config: RunConfig, seconds: float, status: str = "finished", host: str = "") -> RunDirectory:
    run = RunDirectory.create(speed.paths.folder("runs") / name)
    write_json_atomic(run.config, config.model_dump(mode="json"))
    state = RunState(
        status=status,  # type: ignore[arg-type]  # one of them
        pid=1,
        host=host or socket.gethostname(),
        started=time.time(),
        heartbeat=time.time(),
        step=100,
        max_steps=100,
        latest={"train": {"step": 100}, "val": {}, "best_val": {}, "seconds": seconds},
    )
    write_state(run, state)
    return run


def test_a_run_of_the_same_shape_knows_best() -> None:
    config = preset_config("char-tiny").with_values(model={"vocab_size": 65})
    made_run("older", config, 7.0)
    made_run("short", config, 0.5)
    made_run("elsewhere", config, 70.0, host="another machine")
    made_run("unfinished", config, 70.0, status="stopped")
    runs = speed.paced_runs()
    assert [run.name for run in runs] == ["older"]
    longer = config.with_values(train={"max_steps": 5000, "learning_rate": 1e-4})
    pace = speed.pace(longer, MEASURED, runs, 10**6)
    assert (pace.source, pace.cost) == ("as run older took", Cost(0.07, 0.0, 0.0))
    other = config.with_values(train={"batch_size": 16})
    assert speed.pace(other, MEASURED, runs).source == "measured on this machine"


def test_a_damaged_run_hides_no_other() -> None:
    config = preset_config("char-tiny")
    made_run("good", config, 7.0)
    made_run("broken", config, 7.0).config.write_text("{")
    made_run("odd", config, 7.0).state.write_text('{"status": "finished"}')
    assert [run.name for run in speed.paced_runs()] == ["good"]


def test_no_run_is_busy_without_a_trainer() -> None:
    made_run("finished", preset_config("char-tiny"), 7.0)
    assert speed.busy_runs() == []


def test_the_newest_run_of_a_shape_counts() -> None:
    config = preset_config("char-tiny")
    for name, age, seconds in (("old", 1000, 10.0), ("new", 0, 20.0)):
        run = made_run(name, config, seconds)
        raw = json.loads(run.state.read_text())
        run.state.write_text(json.dumps({**raw, "heartbeat": raw["heartbeat"] - age}))
    assert speed.pace(config, replace(MEASURED), speed.paced_runs()).source == "as run new took"
