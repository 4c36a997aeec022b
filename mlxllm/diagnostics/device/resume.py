"""A tiny run through the real trainer: stopped half-way and resumed, against the same run left alone."""

import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import mlx.core as mx

from mlxllm.config import DataConfig, RunConfig, TrainConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.diagnostics.device.result import Test, largest_difference
from mlxllm.diagnostics.device.steps import TRAINED_MODEL
from mlxllm.model.checkpoint_files import find_checkpoint
from mlxllm.runs import Event, RunDirectory
from mlxllm.tokenizer.byte import ByteTokenizer
from mlxllm.training.checkpoint import load_checkpoint
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.start import resume, start

_STEPS = 12
_GPU_ORDER = 5e-3
"""A GPU adds up gradients of the embedding in an order that changes from run to run, and that flips the sign of
an update whose gradient is next to nothing; the CPU never does."""


def resume_tests() -> Iterator[Test]:
    """Nothing is lost when a run is stopped."""
    tolerance = _GPU_ORDER if mx.default_device().type == mx.gpu else 0.0
    name = f"{_STEPS} steps, and {_STEPS // 2} + {_STEPS // 2} resumed"
    yield Test(name, tolerance, _resumed_and_undisturbed)


def _resumed_and_undisturbed() -> float:
    """The last checkpoints of both runs: weights and optimizer state."""
    with tempfile.TemporaryDirectory(prefix="mlxllm-selftest-") as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text(" ".join(f"{n} squared is {n * n}." for n in range(400)))
        build_dataset(folder / "data", [(open_source(f"text:{text}"), None)], ByteTokenizer(), val_split=0.2)
        config = RunConfig(
            model=TRAINED_MODEL.model_copy(update={"vocab_size": 0}),
            data=DataConfig(dataset=str(folder / "data"), max_seq_len=32),
            train=TrainConfig(
                batch_size=4,
                max_steps=_STEPS,
                checkpoint_every=_STEPS // 2,
                eval_every=0,
                warmup_steps=2,
                compute_dtype="float32",
            ),
        )
        undisturbed, halved = RunDirectory(folder / "undisturbed"), RunDirectory(folder / "halved")
        start(plan_run(undisturbed, config), lambda event: None, Interrupts())

        interrupts = Interrupts()

        def stop_half_way(event: Event) -> None:
            if event["kind"] == "train" and event["step"] == _STEPS // 2:
                interrupts.received = signal.SIGINT  # as if the user had pressed Ctrl-C

        outcome = start(plan_run(halved, config), stop_half_way, interrupts)
        stopped_at = find_checkpoint(halved.path, "last").step
        if outcome.status != "stopped" or stopped_at >= _STEPS:
            raise ValueError(f"the run to be interrupted is {outcome.status} at step {stopped_at}")
        resume(halved, lambda event: None, Interrupts())

        states = [load_checkpoint(find_checkpoint(r.path, _STEPS).path)[0] for r in (halved, undisturbed)]
        return largest_difference(*(state.arrays() for state in states))
