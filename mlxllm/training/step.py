"""One training step: gradients of a batch, then an update, both compiled, over named state.

The weights live in `TrainState`, not in the module: a step takes a state and returns the next one, so a step that fails
or is only being timed leaves nothing behind.

Shapes: B rows of one forward pass, A forward passes, T time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from mlxllm.config import TrainConfig
from mlxllm.cpu_kernels import use_native_compiler
from mlxllm.model.module import set_parameters, trainable_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.training.optimizers import (
    Arrays,
    Constants,
    apply_updates,
    init_state,
    squared_norms,
    state_of,
    update_constants,
)
from mlxllm.training.schedules import learning_rate_scale

Objective = Callable[..., tuple[mx.array, mx.array] | tuple[mx.array, mx.array, Arrays]]
"""(model, *batch arrays) -> (summed loss, what it was summed over, sums of other numbers by name), float32 scalars.

What it was summed over is a number of tokens or of pairs; the third may be left out.
"""

Batch = tuple[mx.array, ...]
"""Arrays whose first axis is the row."""

TOKENS = "tokens"
"""Under this name an objective that is not summed over tokens says how many it has read."""

Sums = tuple[Arrays, mx.array, mx.array, Arrays]
"""(gradients of the summed loss by name, the summed loss, what it was summed over, sums of other numbers by name)."""


@dataclass
class TrainState:
    """Everything that a step changes."""

    parameters: Arrays
    """Float32 master weights by name."""
    optimizer: Arrays
    """Moments by name."""
    step: int
    """Updates made."""

    def arrays(self) -> list[mx.array]:
        """All arrays, for `mx.eval`."""
        return [*self.parameters.values(), *self.optimizer.values()]


@dataclass(frozen=True)
class StepMetrics:
    """What a step reports, still on the device."""

    loss: mx.array
    """Mean over the step's tokens (nats) or pairs."""
    grad_norm: mx.array
    """Before clipping."""
    num_tokens: mx.array
    """Tokens or pairs that the loss was averaged over."""
    finite: mx.array
    """False where loss or gradients were not finite and the update was skipped."""
    means: Arrays
    """The objective's other numbers, averaged over the same."""

    def arrays(self) -> list[mx.array]:
        """All arrays, for `mx.eval`."""
        return [self.loss, self.grad_norm, self.num_tokens, self.finite, *self.means.values()]


def by_name(arrays: Arrays) -> Arrays:
    """The same arrays in the order of their names: sums over all of them depend on the order in the last bit."""
    return dict(sorted(arrays.items()))


def initial_state(model: Transformer, train: TrainConfig) -> TrainState:
    """The state before step 0, from the model's present weights."""
    parameters = by_name({name: p.astype(mx.float32) for name, p in trainable_parameters(model).items()})
    return TrainState(parameters, by_name(init_state(train, parameters)), 0)


def install(model: Transformer, parameters: Arrays) -> None:
    """Put weights into the module, to validate, sample or save; tracing a step leaves placeholders there."""
    set_parameters(model, parameters)


class TrainStep:
    """The compiled step of one run.

    Args:
        model: the module that gives the computation its shape.
        train: the recipe.
        objective: what to minimise.
        compute_dtype: of the forward and backward passes.
        lanes: parts of each batch computed side by side, each on a CPU stream of its own. MLX's CPU backend runs one
            operation at a time on one thread, and only the matrix products use more; two streams keep two cores busy
            all the time. Gradients are the sum over the parts, so the result differs by rounding only
            (but for the balance loss of a mixture of experts, which is about the tokens of one part).
    """

    def __init__(
        self,
        model: Transformer,
        train: TrainConfig,
        objective: Objective,
        *,
        compute_dtype: mx.Dtype = mx.float32,
        lanes: int = 1,
    ) -> None:
        if train.batch_size % lanes:
            raise ValueError(f"a batch of {train.batch_size} rows does not divide into {lanes} lanes")
        use_native_compiler()
        self._model, self._train, self._objective = model, train, objective
        self._dtype = compute_dtype
        device = mx.default_device()
        self._streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]
        # Every stream cares for some weights, whose numbers are then only read and written on one core.
        self._shares = list(zip(self._streams, evenly(trainable_parameters(model), lanes), strict=True))
        # A compiled function for each lane: within one, MLX takes the constants of one stream for the other's, too, and
        # its kernels then read them number by number from the broadcast array, unvectorised.
        random = mx.random.state
        self._lanes = [mx.compile(self._lane_gradients, inputs=random, outputs=random) for _ in self._streams]
        self._add = [mx.compile(_sum) for _ in self._streams]
        self._square = [mx.compile(squared_norms) for _ in self._streams]
        self._judge = mx.compile(_judge)
        self._apply = [mx.compile(self._updated) for _ in self._streams]

    def use(self, train: TrainConfig) -> None:
        """Go on under another recipe that differs in the number of steps only: what is compiled stays."""
        self._train = train

    def __call__(self, state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        """The state after one update, and its metrics; nothing is evaluated yet where A = 1.

        Args:
            state: before the update.
            batch: arrays of A * B rows.
        """
        train = self._train
        rows, passes = train.batch_size, train.grad_accum_steps
        self._model.train()
        sums: Sums | None = None
        for i in range(passes):
            part = tuple(a[i * rows : (i + 1) * rows] for a in batch)
            # Dropout depends on seed, step and pass alone: there is no generator state to save.
            mx.random.seed(((train.seed + 1) * 1_000_003 + state.step * passes + i) % 2**63)
            computed = self.gradients(state.parameters, part)
            sums = computed if sums is None else self._added(sums, computed)
            if passes > 1:
                mx.eval(sums)  # one pass's activations at a time
        assert sums is not None
        constants = update_constants(train, learning_rate_scale(train, state.step), state.step + 1)
        return self.update(state, sums, constants)

    def gradients(self, parameters: Arrays, batch: Batch) -> Sums:
        """Of the objective's sum over B rows, each lane's share of them on its own stream."""
        rows = self._train.batch_size // len(self._streams)
        results: list[Sums] = []
        for i, (stream, lane) in enumerate(zip(self._streams, self._lanes, strict=True)):
            with mx.stream(stream):
                results.append(lane(parameters, tuple(a[i * rows : (i + 1) * rows] for a in batch)))
        sums = results[0]
        for more in results[1:]:
            sums = self._added(sums, more)
        return sums

    def update(self, state: TrainState, sums: Sums, constants: Constants) -> tuple[TrainState, StepMetrics]:
        """The state after an update by summed gradients; see `optimizers.update_constants`."""
        gradients, total, num_tokens, others = sums
        squares: Arrays = {}
        for i, (stream, names) in enumerate(self._shares):
            with mx.stream(stream):
                squares |= self._square[i]({n: gradients[n] for n in names})
        # The order of names is part of the contract: equal runs write equal files.
        squares = {n: squares[n] for n in state.parameters}
        metrics, shrink = self._judge(squares, total, num_tokens, others, constants["max_grad_norm"])
        parameters: Arrays = {}
        optimizer: Arrays = {}
        for i, (stream, names) in enumerate(self._shares):
            mine = ({n: state.parameters[n] for n in names}, state_of(state.optimizer, names))
            with mx.stream(stream):
                updated, moments = self._apply[i](
                    *mine, {n: gradients[n] for n in names}, metrics["finite"], shrink, constants
                )
            parameters |= updated
            optimizer |= moments
        parameters = {n: parameters[n] for n in state.parameters}
        optimizer = {n: optimizer[n] for n in state.optimizer}
        return TrainState(parameters, optimizer, state.step + 1), StepMetrics(**metrics)

    def _lane_gradients(self, parameters: Arrays, batch: Batch) -> Sums:

        def loss(parameters: Arrays) -> tuple[mx.array, mx.array, Arrays]:
            install(self._model, {n: p.astype(self._dtype) for n, p in parameters.items()})
            total, count, *others = self._objective(self._model, *batch)
            return total, count, others[0] if others else {}

        (total, num_tokens, others), gradients = mx.value_and_grad(loss)(parameters)
        return gradients, total, num_tokens, others

    def _added(self, a: Sums, b: Sums) -> Sums:
        gradients: Arrays = {}
        for i, (stream, names) in enumerate(self._shares):
            with mx.stream(stream):
                gradients |= self._add[i]({n: a[0][n] for n in names}, {n: b[0][n] for n in names})
        return {n: gradients[n] for n in a[0]}, a[1] + b[1], a[2] + b[2], _sum(a[3], b[3])

    def _updated(
        self,
        parameters: Arrays,
        optimizer: Arrays,
        gradients: Arrays,
        finite: mx.array,
        shrink: mx.array,
        constants: Constants,
    ) -> tuple[Arrays, Arrays]:
        # Some gradients come transposed out of their products; one layout needs half as many kernels.
        clipped = {n: mx.contiguous(g).astype(mx.float32) * shrink for n, g in gradients.items()}
        updated, moments = apply_updates(self._train, parameters, clipped, optimizer, constants)
        return (
            {n: mx.where(finite, p, parameters[n]) for n, p in updated.items()},
            {n: mx.where(finite, m, optimizer[n]) for n, m in moments.items()},
        )


def _sum(a: Arrays, b: Arrays) -> Arrays:
    return {n: a[n] + b[n] for n in a}


def _judge(
    squares: Arrays, total: mx.array, num_tokens: mx.array, others: Arrays, max_grad_norm: mx.array
) -> tuple[dict[str, Any], mx.array]:
    """The fields of `StepMetrics`, and what the summed gradients are multiplied by: clipped, and averaged."""
    count = mx.maximum(num_tokens, 1)
    loss = total / count
    norm = mx.sqrt(mx.sum(mx.stack(list(squares.values())))) / count
    finite = mx.isfinite(loss) & mx.isfinite(norm)
    shrink = mx.minimum(1.0, max_grad_norm / (norm + 1e-6)) / count
    means = {n: o / count for n, o in others.items()}
    metrics = {"loss": loss, "grad_norm": norm, "num_tokens": num_tokens, "finite": finite, "means": means}
    return metrics, shrink


def evenly(arrays: Arrays, parts: int) -> list[list[str]]:
    """The names in as many lists as asked for, about equally many numbers in each; the same for the same shapes."""
    lists: list[list[str]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for name in sorted(arrays, key=lambda n: (-arrays[n].size, n)):
        least = sizes.index(min(sizes))
        lists[least].append(name)
        sizes[least] += arrays[name].size
    return lists
