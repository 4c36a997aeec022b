"""One training step: gradients of a batch, then an update, both compiled, over named state.

The weights live in `TrainState`, not in the module: a step takes a state and returns the next one, so a step that fails
or is only being timed leaves nothing behind.

Shapes: B rows of one forward pass, A forward passes, T time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import mlx.core as mx

from mlxllm.config import TrainConfig
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
        self._model, self._train, self._objective = model, train, objective
        self._dtype = compute_dtype
        device = mx.default_device()
        self._streams = [mx.default_stream(device), *(mx.new_stream(device) for _ in range(lanes - 1))]
        random = mx.random.state
        self.gradients = mx.compile(self._gradients, inputs=random, outputs=random)
        self._next = mx.compile(self._accumulate, inputs=random, outputs=random)
        self._update = mx.compile(self._apply)

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
            if sums is None:
                sums = self.gradients(state.parameters, part)
            else:
                sums = self._next(state.parameters, part, *sums)
            if passes > 1:
                mx.eval(sums)  # one pass's activations at a time
        assert sums is not None
        constants = update_constants(train, learning_rate_scale(train, state.step), state.step + 1)
        return self.update(state, sums, constants)

    def update(self, state: TrainState, sums: Sums, constants: Constants) -> tuple[TrainState, StepMetrics]:
        """The state after an update by summed gradients; see `optimizers.update_constants`."""
        parameters, optimizer, metrics = self._update(state.parameters, state.optimizer, *sums, constants)
        return TrainState(parameters, optimizer, state.step + 1), StepMetrics(*metrics)

    def _gradients(self, parameters: Arrays, batch: Batch) -> Sums:

        def loss(parameters: Arrays, part: Batch) -> tuple[mx.array, mx.array, Arrays]:
            install(self._model, {n: p.astype(self._dtype) for n, p in parameters.items()})
            total, count, *others = self._objective(self._model, *part)
            return total, count, others[0] if others else {}

        lanes = len(self._streams)
        rows = self._train.batch_size // lanes
        results = []
        for i, stream in enumerate(self._streams):
            with mx.stream(stream):
                part = tuple(a[i * rows : (i + 1) * rows] for a in batch) if lanes > 1 else batch
                results.append(mx.value_and_grad(loss)(parameters, part))
        (total, num_tokens, others), gradients = results[0]
        sums: Sums = gradients, total, num_tokens, others
        for (more, count, more_others), lane_gradients in results[1:]:
            sums = self._added(sums, (lane_gradients, more, count, more_others))
        return sums

    def _accumulate(self, parameters: Arrays, batch: Batch, *sums: Any) -> Sums:
        return self._added(cast(Sums, sums), self._gradients(parameters, batch))

    def _shares(self, arrays: Arrays) -> list[tuple[mx.Stream, list[str]]]:
        """Every stream and the weights that it cares for, where each number is only read and written, on one core."""
        return list(zip(self._streams, evenly(arrays, len(self._streams)), strict=True))

    def _added(self, a: Sums, b: Sums) -> Sums:
        gradients: Arrays = {}
        for stream, names in self._shares(a[0]):
            with mx.stream(stream):
                gradients |= {n: a[0][n] + b[0][n] for n in names}
        others = {n: o + b[3][n] for n, o in a[3].items()}
        return {n: gradients[n] for n in a[0]}, a[1] + b[1], a[2] + b[2], others

    def _apply(
        self,
        parameters: Arrays,
        optimizer: Arrays,
        gradients: Arrays,
        total: mx.array,
        num_tokens: mx.array,
        others: Arrays,
        constants: Constants,
    ) -> tuple[Arrays, Arrays, tuple[Any, ...]]:
        count = mx.maximum(num_tokens, 1)
        loss = total / count
        shares = self._shares(parameters)
        squares: Arrays = {}
        for stream, names in shares:
            with mx.stream(stream):
                squares |= squared_norms({n: gradients[n] for n in names})
        norm = mx.sqrt(mx.sum(mx.stack([squares[n] for n in parameters]))) / count
        finite = mx.isfinite(loss) & mx.isfinite(norm)
        shrink = mx.minimum(1.0, constants["max_grad_norm"] / (norm + 1e-6)) / count
        kept: Arrays = {}
        kept_optimizer: Arrays = {}
        for stream, names in shares:
            with mx.stream(stream):
                # Some gradients come transposed out of their products; one layout needs half as many kernels.
                clipped = {n: mx.contiguous(gradients[n]).astype(mx.float32) * shrink for n in names}
                mine, state = {n: parameters[n] for n in names}, state_of(optimizer, names)
                updated, moments = apply_updates(self._train, mine, clipped, state, constants)
                kept |= {n: mx.where(finite, p, parameters[n]) for n, p in updated.items()}
                kept_optimizer |= {n: mx.where(finite, s, optimizer[n]) for n, s in moments.items()}
        # The order of names is part of the contract: equal runs write equal files.
        kept, kept_optimizer = {n: kept[n] for n in parameters}, {n: kept_optimizer[n] for n in optimizer}
        means = {n: o / count for n, o in others.items()}
        return kept, kept_optimizer, (loss, norm, num_tokens, finite, means)


def evenly(arrays: Arrays, parts: int) -> list[list[str]]:
    """The names in as many lists as asked for, about equally many numbers in each; the same for the same shapes."""
    lists: list[list[str]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for name in sorted(arrays, key=lambda n: (-arrays[n].size, n)):
        least = sizes.index(min(sizes))
        lists[least].append(name)
        sizes[least] += arrays[name].size
    return lists
