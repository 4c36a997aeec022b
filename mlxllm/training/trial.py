"""A few real steps of a configuration, timed, in a process of its own: what `plan` calibrates itself by.

The model has fresh weights and reads random ids, which take as long as any. Nothing is written. The process reads a
configuration as JSON on stdin, and its last line on stdout is the result.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from statistics import median

import mlx.core as mx
import numpy as np

from mlxllm import runtime
from mlxllm.config import RunConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.errors import UserError
from mlxllm.evaluation.perplexity import token_losses
from mlxllm.model.adapters import adapt
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.training.dpo import PairShapes, dpo_objective, stacked
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.plan import settle
from mlxllm.training.step import Batch, Objective, TrainStep, initial_state, install

_STEPS, _AT_LEAST_SECONDS, _MOST_STEPS = 4, 1.5, 60


@dataclass(frozen=True)
class Trial:
    """What a few steps took."""

    step: float
    """Seconds of one."""
    token_forward: float
    """Seconds of a token in a validation."""
    peak_bytes: int
    """MLX's peak memory in the steps."""


def measure(config: RunConfig, device: str | None = None) -> Trial:
    """Run the steps in a process of its own.

    Raises:
        UserError: it failed; the message has its last line.
    """
    command = [sys.executable, "-m", __name__, *([device] if device else [])]
    asked = config.model_dump_json()
    done = subprocess.run(command, input=asked, capture_output=True, text=True, env={**os.environ}, close_fds=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise UserError(f"a few steps of this configuration could not be measured ({said}); try a smaller one")
    return Trial(**json.loads(done.stdout.strip().splitlines()[-1]))


def run_steps(config: RunConfig) -> Trial:
    """Time steps and a forward pass of `config` in this process; needs the device to be chosen."""
    config = settle(config)
    train = config.train
    dtype = runtime.compute_dtype(train.compute_dtype)
    if train.gradient_checkpointing:
        runtime.evaluate_in_depth()
    model = build_model(config.model)
    if config.lora is not None:
        adapt(model, config.lora)
    mx.eval(named_parameters(model))
    model.model.gradient_checkpointing = train.gradient_checkpointing
    objective, batch = _work(config)
    step = TrainStep(model, train, objective, compute_dtype=dtype, lanes=train.lanes)
    state = initial_state(model, train)
    mx.eval(state.arrays())
    seconds: list[float] = []
    with runtime.blas_for_lanes(train.lanes):
        while len(seconds) < 1 + _STEPS or (sum(seconds[1:]) < _AT_LEAST_SECONDS and len(seconds) < _MOST_STEPS):
            begun = time.perf_counter()
            state, metrics = step(state, batch)
            mx.eval(state.arrays(), metrics.arrays())
            seconds.append(time.perf_counter() - begun)
        peak = mx.get_peak_memory()
        install(model, state.parameters)  # tracing leaves placeholders there
        forward = _forward_seconds(model, config)
    return Trial(median(seconds[1:]), forward, peak)


def _work(config: RunConfig) -> tuple[Objective, Batch]:
    """What is minimised, and a batch of random ids at the full length."""
    train, length, vocab = config.train, config.data.max_seq_len, config.model.vocab_size
    rows = train.batch_size * train.grad_accum_steps
    random = np.random.default_rng(0)
    if config.method == "dpo":
        third = max(2, 2 * length // 3)
        ids = [random.integers(0, vocab, third).astype(np.uint32) for _ in range(3)]
        pairs = [Pair(ids[0], ids[1], ids[2])] * rows
        shapes = PairShapes(pairs, length)
        return dpo_objective(config), tuple(stacked([shapes.row(p, np.zeros(2)) for p in pairs], rows))
    drawn = mx.array(random.integers(0, vocab, (rows, length + 1)).astype(np.int32))
    batch: Batch = (drawn[:, :-1], drawn[:, 1:])
    if config.method == "sft":
        positions = mx.broadcast_to(mx.arange(length) % max(2, length // 2), (rows, length))
        batch = (*batch, mx.ones((rows, length)), positions)
    return next_token_objective(train), batch


def _forward_seconds(model: Transformer, config: RunConfig) -> float:
    """Of a token, in a batch as validation has them."""
    length = config.data.max_seq_len
    rows = max(1, min(4096 // length, config.train.batch_size))
    ids = mx.zeros((rows, length), dtype=mx.int32)
    model.eval()
    timed = []
    for _ in range(3):
        begun = time.perf_counter()
        mx.eval(token_losses(model, ids, ids))
        timed.append(time.perf_counter() - begun)
    return min(timed[1:]) / ids.size


if __name__ == "__main__":
    runtime.select_device(sys.argv[1] if len(sys.argv) > 1 else None)
    sys.stdout.write(json.dumps(asdict(run_steps(RunConfig.model_validate_json(sys.stdin.read())))) + "\n")
