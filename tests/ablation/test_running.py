"""What a step takes, from the times of a run's events."""

import pytest

from mlxllm.ablation.running import seconds_per_step
from mlxllm.runs import Event


def events(*timed: tuple[str, float]) -> list[Event]:
    return [{"kind": kind, "time": time} for kind, time in timed]


def test_validations_and_compiling_do_not_count() -> None:
    run = events(
        *(
            ("run_started", 0.0),
            ("val", 5.0),
            ("train", 25.0),
            ("train", 26.0),
            ("val", 30.0),
            ("checkpoint_saved", 33.0),
        ),
        *(("train", 34.0), ("train", 35.0), ("train", 36.0), ("val", 50.0), ("train", 51.0), ("train", 52.0)),
        *(("val", 60.0), ("train", 69.0), ("val", 70.0), ("run_finished", 70.0)),
    )
    assert seconds_per_step(run) == pytest.approx(1.0)


def test_each_attempt_compiles() -> None:
    run = events(
        *(("run_started", 0.0), ("train", 10.0), ("val", 11.0), ("train", 13.0), ("val", 14.0)),
        *(("run_started", 100.0), ("train", 150.0), ("val", 151.0), ("train", 153.0), ("run_finished", 153.0)),
    )
    assert seconds_per_step(run) == pytest.approx(2.0)


def test_a_run_of_one_stretch_has_nothing_else() -> None:
    assert seconds_per_step(events(("run_started", 0.0), ("val", 1.0), ("train", 4.0), ("train", 5.0))) == 2.0
    assert seconds_per_step(events(("run_started", 0.0), ("val", 1.0))) is None
    assert seconds_per_step([]) is None
