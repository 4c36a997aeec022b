"""Compile the kernels of a training step ahead, in processes beside this one.

On the Linux CPU `mx.compile` calls g++ for each fused kernel, one after another: half a minute the first time. Two
processes do it on two cores while the trainer's own process still prepares the data. What they compile lands where MLX
looks for it (`cpu_kernels`), each library whole or not at all. Their parts have no kernel in common.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import mlx.core as mx
import numpy as np

from mlxllm.config import RunConfig, TrainConfig
from mlxllm.conversation.preferences import Pair
from mlxllm.cpu_kernels import native_compiler, use_native_compiler
from mlxllm.evaluation.pair_rows import PairShapes, stacked
from mlxllm.evaluation.pair_scoring import reference_logprobs
from mlxllm.evaluation.perplexity import Evaluator, SourceSpan
from mlxllm.model.kv_cache import make_cache
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.training.dpo import dpo_objective
from mlxllm.training.objectives import next_token_loss, next_token_objective
from mlxllm.training.optimizers import update_constants
from mlxllm.training.step import TrainStep, initial_state

PARTS = ("gradients", "update")
"""Of pre-training; further parts are the names of methods."""
_LONGEST = 512
"""Tokens of a row: attention goes block by block, and how many blocks there are to be summed decides kernels, too."""
_BACKGROUND = 19
"""Niceness of what is compiled while something else is trained: it takes the time that training leaves."""


class KernelsAhead:
    """Compiles for `config` in the background from the moment it is made, where that is worth it.

    Args:
        config: resolved; the shape of the model and the recipe decide the kernels, sizes of batches do not.
        parts: of the step, one process each; `sft` and `dpo` are the whole step of that method.
        background: whether training goes on meanwhile.
    """

    def __init__(self, config: RunConfig, parts: Sequence[str] = PARTS, background: bool = False) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        folder = native_compiler()
        if folder is None:
            return
        for part in parts:
            if _note(folder, config, part).exists():
                continue
            process = subprocess.Popen(
                [*(("nice", "-n", str(_BACKGROUND)) if background else ()), sys.executable, "-m", __name__, part],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ},
            )
            assert process.stdin is not None
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(config.model_dump(mode="json")).encode())
                process.stdin.close()
            self._processes.append(process)

    def wait(self) -> None:
        """Return when all is compiled; a process that failed only costs the time that it should have saved."""
        for process in self._processes:
            process.wait()

    def stop(self) -> None:
        """Leave what is not finished."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()


def _note(folder: Path, config: RunConfig, part: str) -> Path:
    """A file that says that the kernels of a part are there."""
    train = config.train
    recipe = (train.optimizer, train.lanes, train.z_loss > 0, train.label_smoothing > 0)
    shape = (part, config.model.model_dump(), min(config.data.max_seq_len, _LONGEST), recipe)
    return folder / f"{part}-{hashlib.sha256(repr(shape).encode()).hexdigest()[:16]}.compiled"


def compile_part(config: RunConfig, part: str) -> None:
    """Run one part of a training step once, on a small batch."""
    train, lanes = config.train, max(1, config.train.lanes)
    train = train.model_copy(update={"batch_size": 2 * lanes, "grad_accum_steps": 1})
    length = min(config.data.max_seq_len, _LONGEST)
    model = build_model(config.model)
    if part == "sft":
        _compile_sft(model, train, length)
        return
    if part == "dpo":
        _compile_dpo(model, config.with_values(train=train.model_dump()), length)
        return
    step = TrainStep(model, train, next_token_loss, lanes=lanes)
    state = initial_state(model, train)
    if part == "gradients":
        ids = mx.zeros((train.batch_size, length), dtype=mx.int32)
        mx.eval(step.gradients(state.parameters, (ids, ids)))
        return
    gradients = {name: mx.zeros(p.shape) for name, p in state.parameters.items()}
    after, metrics = step.update(state, (gradients, mx.zeros(()), mx.ones(()), {}), update_constants(train, 1.0, 1))
    mx.eval(after.arrays(), metrics.arrays())
    ids, cache = mx.zeros((1, length), dtype=mx.int32), make_cache(model.config)
    for inputs in (ids, ids[:, :1]):  # a sample: its prompt, then token by token
        mx.eval(model.logits(model.model(inputs, cache)[:, -1]))
    split = _Zeros(lanes * 2 * length + 1)
    Evaluator(split, np.ones(config.model.vocab_size), length, batch_size=2, lanes=lanes)(model)


def _compile_sft(model: Transformer, train: TrainConfig, length: int) -> None:
    step = TrainStep(model, train, next_token_objective(train), lanes=max(1, train.lanes))
    ids, mask = (mx.zeros((train.batch_size, length), dtype=kind) for kind in (mx.int32, mx.float32))
    mx.eval(step.gradients(initial_state(model, train).parameters, (ids, ids, mask, ids)))


def _compile_dpo(model: Transformer, config: RunConfig, length: int) -> None:
    train, few = config.train, np.zeros(length // 4, dtype=np.uint32)
    pairs = [Pair(few, few, few)] * train.batch_size
    shapes = PairShapes(pairs, length)
    reference = reference_logprobs(model, pairs, shapes, config.train)
    rows = [shapes.row(pair, known) for pair, known in zip(pairs, reference, strict=True)]
    step = TrainStep(model, train, dpo_objective(config), lanes=max(1, train.lanes))
    mx.eval(step.gradients(initial_state(model, train).parameters, tuple(stacked(rows, len(rows)))))


class _Zeros:
    """A split of nothing but token 0."""

    def __init__(self, num_tokens: int) -> None:
        self.num_tokens = num_tokens
        self.sources: Mapping[str, SourceSpan] = {}

    def read(self, start: int, count: int) -> np.ndarray:
        return np.zeros(count, dtype=np.int32)


def _main(part: str) -> None:
    config = RunConfig.model_validate_json(sys.stdin.read())
    mx.set_default_device(mx.Device(mx.cpu, 0))
    folder = use_native_compiler()
    if folder is not None:
        compile_part(config, part)
        _note(folder, config, part).touch()


if __name__ == "__main__":
    _main(sys.argv[1])
