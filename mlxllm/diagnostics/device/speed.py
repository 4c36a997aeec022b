"""How fast the device trains: gradients and updates of small models of a few widths, timed."""

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import mlx.core as mx

from mlxllm import runtime
from mlxllm.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from mlxllm.estimate import block_parameters, count_parameters, estimate, muon_flops
from mlxllm.model.transformer import build_model
from mlxllm.speed import Point, Speed
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.optimizers import update_constants
from mlxllm.training.plan import settle
from mlxllm.training.step import TrainState, TrainStep, initial_state

_WIDTHS = {"cpu": (64, 192, 512), "gpu": (64, 256, 768)}
_TOKENS = {"cpu": (256, 1024), "gpu": (1024, 16384)}
"""Of a small pass, which shows what each block costs in any case, and of a usual one."""

_BUDGET_SECONDS = 6.0
"""No wider model is begun after this."""
_VOCABULARY, _LENGTH, _HEAD, _BLOCKS = 1024, 128, 32, 2
_REPEATS, _AT_LEAST_SECONDS = 3, 0.4

_UNSTEADY = 1.12
"""A usual step takes so many times as long as the quickest one."""


def measure_speed() -> Speed:
    """Time the device, one width after the other, the narrowest first; within some ten seconds on two cores."""
    begun = time.perf_counter()
    device = "gpu" if mx.default_device().type == mx.gpu else "cpu"
    few, many = _TOKENS[device]
    points: list[Point] = []
    block_seconds = 0.0
    with _compile(device == "gpu"):
        for width in _WIDTHS[device]:
            if points and time.perf_counter() - begun > _BUDGET_SECONDS:
                break
            usual = _usual(width)
            seconds = usual[0] * _gradient_seconds(width, many)
            if not points:
                short = usual[0] * _gradient_seconds(width, few)
                fixed = max(0.0, (short * many - seconds * few) / (many - few))
                block_seconds = fixed / _BLOCKS
            points.append(_point(width, many, seconds - min(block_seconds * _BLOCKS, seconds / 2), usual))
    info = runtime.device_info()
    now = round(time.time(), 3)
    return Speed(info.device, info.chip, platform.machine(), os.cpu_count() or 1, now, block_seconds, tuple(points))


def _usual(width: int) -> tuple[float, float, float]:
    """How long gradient, Muon's and AdamW's update usually take, by the quickest of those that are timed here.

    On a CPU nothing is compiled for the measurement, since that costs half a minute the first time. What compiling saves
    is measured here once and for all: it fuses the operations on single numbers, of which there are fewer for each product
    of matrices the wider a model is.
    """
    if mx.default_device().type == mx.gpu or "MLX_DISABLE_COMPILE" in os.environ or not runtime.compiler_available():
        return (_UNSTEADY, _UNSTEADY, _UNSTEADY)
    return (0.95 * (1 - 8 / width), 0.97 * (1 - 12 / width), 0.77)


def _point(width: int, tokens: int, gradient: float, usual: tuple[float, float, float]) -> Point:
    """The rates of one width from the seconds of a gradient; the updates are timed here."""
    muon, adamw = (_config(width, tokens, optimizer) for optimizer in ("muon", "adamw"))
    weights = count_parameters(muon.model)
    others = weights - block_parameters(muon.model)  # Muon leaves them to AdamW
    of_adamw = usual[2] * _update_seconds(adamw)
    of_muon = usual[1] * _update_seconds(muon) - of_adamw * others / weights
    return Point(
        width=width,
        flops=estimate(muon).flops_per_token * tokens / gradient,
        muon_flops=muon_flops(muon.model) / max(of_muon, of_adamw / 2),
        adamw_weights=weights / of_adamw,
    )


def _gradient_seconds(width: int, tokens: int) -> float:
    config = _config(width, tokens, "muon")
    step, state, ids = _prepared(config)
    with runtime.blas_for_lanes(config.train.lanes):
        return _seconds(lambda: step.gradients(state.parameters, (ids, ids)))


def _update_seconds(config: RunConfig) -> float:
    step, state, ids = _prepared(config)
    sums = step.gradients(state.parameters, (ids, ids))
    mx.eval(sums)
    constants = update_constants(config.train, 1.0, 1)

    def update() -> list[mx.array]:
        after, metrics = step.update(state, sums, constants)
        return [*after.arrays(), *metrics.arrays()]

    with runtime.blas_for_lanes(config.train.lanes):
        return _seconds(update)


def _prepared(config: RunConfig) -> tuple[TrainStep, TrainState, mx.array]:
    train = config.train
    model = build_model(config.model)
    dtype = runtime.compute_dtype(train.compute_dtype)
    step = TrainStep(model, train, next_token_loss, compute_dtype=dtype, lanes=train.lanes)
    ids = mx.random.randint(0, _VOCABULARY, (train.batch_size, _LENGTH), key=mx.random.key(0))
    return step, initial_state(model, train), ids


def _config(width: int, tokens: int, optimizer: str) -> RunConfig:
    config = RunConfig(
        model=ModelConfig(
            vocab_size=_VOCABULARY,
            hidden_size=width,
            num_hidden_layers=_BLOCKS,
            num_attention_heads=width // _HEAD,
            num_key_value_heads=width // _HEAD,
            head_dim=_HEAD,
            intermediate_size=-(-width * 8 // 3 // 32) * 32,
            max_position_embeddings=_LENGTH,
            qk_norm=True,
        ),
        data=DataConfig(max_seq_len=_LENGTH),
        train=TrainConfig.model_validate({"optimizer": optimizer, "batch_size": tokens // _LENGTH}),
    )
    return settle(config)


def _seconds(compute: Callable[[], object]) -> float:
    """The least of a few times: other work on the machine only ever adds to them. The first only warms up."""
    timed: list[float] = []
    if (first := _once(compute)) > 2.0:  # a slow machine: everybody has waited enough
        return first
    while len(timed) < _REPEATS or sum(timed) < _AT_LEAST_SECONDS:
        timed.append(_once(compute))
    return min(timed)


def _once(compute: Callable[[], object]) -> float:
    begun = time.perf_counter()
    mx.eval(compute())
    return time.perf_counter() - begun


@contextmanager
def _compile(wanted: bool) -> Iterator[None]:
    """Compiling switched off inside the block, unless it is wanted."""
    if wanted:
        yield
        return
    mx.disable_compile()
    try:
        yield
    finally:
        if "MLX_DISABLE_COMPILE" not in os.environ:
            mx.enable_compile()
