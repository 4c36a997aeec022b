"""Train a preset with the real trainer and note when each validation loss was reached, validation not counted."""

import argparse
import time
from typing import Any

import measure  # before MLX: it prepares BLAS
import mlx.core as mx
import numpy as np

from mlxllm import paths, runtime
from mlxllm.model.hf_config import architecture_of
from mlxllm.model.hf_weights import expected_shapes
from mlxllm.runs import RunDirectory
from mlxllm.settings import build_config
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import Plan, plan_run
from mlxllm.training.start import start


class Stopwatch:
    """Listens to a run. What ends in a train event counts, and all before the first event, in which kernels are compiled;
    what ends in another one, a validation, does not.
    """

    def __init__(self) -> None:
        self.curve: list[dict[str, float]] = []
        self.tokens = 0
        self.scored = 0
        self.first_step_seconds = 0.0
        self._seconds = 0.0
        self._mark = time.perf_counter()

    def __call__(self, event: dict[str, Any]) -> None:
        """One event, in the thread of the trainer."""
        now = time.perf_counter()
        if event["kind"] == "run_started":  # kernels were compiled before
            self._seconds += now - self._mark
        elif event["kind"] == "train":
            self._seconds += now - self._mark
            self.tokens = event["tokens"]
            if event["step"] == 1:
                self.first_step_seconds = self._seconds
        elif event["kind"] == "val":
            self.curve.append({"step": event["step"], "seconds": self._seconds, "loss": event["loss"]})
            self.scored = event["tokens"]
        self._mark = now


def main() -> None:
    """One run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--run", required=True)
    parser.add_argument("--eval-every", type=int, required=True)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--set", action="append", default=[])
    args = parser.parse_args()
    # Watching more closely changes nothing that is trained; samples and checkpoints between would be work that the
    # reference does not do.
    flags = {
        "data.dataset": args.dataset,
        "train.seed": args.seed,
        "train.eval_every": args.eval_every,
        "train.sample_every": 0,
        "train.checkpoint_every": 0,
    }
    config = build_config(preset=args.preset, settings=args.set, flags=flags)
    runtime.select_device(None)
    plan = plan_run(RunDirectory(paths.new("runs", args.run)), config)
    watch = Stopwatch()
    start(plan, watch, Interrupts())
    parameters, used = parameter_counts(plan)
    train = plan.config.train
    measure.report(
        curve=watch.curve,
        first_step_seconds=watch.first_step_seconds,
        steps=train.max_steps,
        tokens=watch.tokens,
        scored=watch.scored,
        context=plan.config.data.max_seq_len,
        parameters=parameters,
        used_parameters=used,
        architecture=architecture_of(plan.config.model),
        lanes=train.lanes,
        peak_memory=mx.get_peak_memory(),
        footprint=measure.peak_footprint(),
        **measure.device_facts(),
    )


def parameter_counts(plan: Plan) -> tuple[int, int]:
    """All parameters, and those without the rows of the vocabulary that the text never has."""
    total = sum(int(np.prod(shape)) for shape in expected_shapes(plan.config.model).values())
    splits = (plan.material.data.train, plan.material.data.val)
    occurring = len(np.unique(np.concatenate([split.read(0, split.num_tokens) for split in splits])))
    model = plan.config.model
    tables = 1 if model.tie_word_embeddings else 2
    return total, total - tables * (model.vocab_size - occurring) * model.hidden_size


if __name__ == "__main__":
    main()
