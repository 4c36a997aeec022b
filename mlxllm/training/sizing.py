"""From a machine, a text and some minutes to a model that makes the most of them: what `quickstart` trains."""

import os
import time
from dataclasses import dataclass

import mlx.core as mx

from mlxllm.config import DataConfig, ModelConfig, RunConfig, SampleConfig, TrainConfig
from mlxllm.estimate import estimate
from mlxllm.model.transformer import build_model
from mlxllm.planning.proposals import LEAST_TOKENS
from mlxllm.runtime import blas_for_lanes
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.plan import settle
from mlxllm.training.step import TrainStep, initial_state

LADDER = ((64, 3), (96, 3), (128, 4), (192, 4), (256, 6), (320, 6), (384, 8), (512, 8), (640, 10), (768, 12))
"""(width, layers) of the sizes to choose from."""

TOKENS_PER_PARAMETER = LEAST_TOKENS
"""A size is affordable if the time lets it see at least so many tokens a weight. Compute-optimal training of large
models takes 20 (Chinchilla, arXiv:2203.15556); a small world that is read for minutes is learned best by a model that
is larger than that, but not by much."""

PARAMETERS_PER_TEXT_TOKEN = 3.0
"""A model with more weights than this for each token of the text learns it by heart."""

_HEAD_DIM = 32
_PROBE_STEPS = 2


@dataclass(frozen=True)
class TextSize:
    """What sizing needs to know of a dataset."""

    vocab_size: int
    """Token ids."""
    tokens: int
    """Tokens to train on."""


def choose(text: TextSize, flops: float, dataset: str, prompt: str, seed: int | None = None) -> RunConfig:
    """The recipe of the largest model for which `flops` operations and the text are enough.

    `train.max_steps` is left for the trainer to measure.
    """
    configs = [_config(text, width, layers, dataset, prompt, seed) for width, layers in LADDER]
    return [configs[0], *(c for c in configs if _fits(c, text, flops))][-1]


def _fits(config: RunConfig, text: TextSize, flops: float) -> bool:
    costs = estimate(config)
    seen = flops / costs.flops_per_token
    return (
        seen >= TOKENS_PER_PARAMETER * costs.parameters and costs.parameters <= PARAMETERS_PER_TEXT_TOKEN * text.tokens
    )


def measured_flops(text: TextSize) -> float:
    """Floating-point operations a second that training reaches on this machine: a few steps of a small model.

    Nothing is compiled for them, so they take a second; compiled steps are faster by about the same factor everywhere.
    """
    config = _config(text, *LADDER[2], "", "", None)
    train = config.train
    step = TrainStep(model := build_model(config.model), train, next_token_loss, lanes=train.lanes)
    ids = mx.random.randint(0, text.vocab_size, (train.batch_size, config.data.max_seq_len))
    state = initial_state(model, train)
    mx.disable_compile()
    try:
        seconds = []
        with blas_for_lanes(train.lanes):
            for _ in range(1 + _PROBE_STEPS):
                begun = time.perf_counter()
                after, metrics = step(state, (ids, ids))
                mx.eval(after.arrays(), metrics.arrays())
                seconds.append(time.perf_counter() - begun)
    finally:
        if "MLX_DISABLE_COMPILE" not in os.environ:
            mx.enable_compile()
    return estimate(config).flops_per_token * ids.size / min(seconds[1:])


def _row_length(tokens: int) -> int:
    """256 tokens, less where the text is shorter than a few batches of such rows."""
    length = 256
    while length > 32 and tokens < 64 * length:
        length //= 2
    return length


def _config(text: TextSize, width: int, layers: int, dataset: str, prompt: str, seed: int | None) -> RunConfig:
    train = TrainConfig(
        optimizer="muon",
        learning_rate=1e-2,
        schedule="wsd",
        decay_fraction=0.8,
        warmup_steps=20,
        weight_decay=0.1,
        batch_size=32 if mx.default_device().type == mx.gpu else 4,
        early_stop_evals=2,
        sample_prompt=prompt,
    )
    if seed is not None:
        train = train.model_copy(update={"seed": seed})
    config = RunConfig(
        preset="quickstart",
        model=ModelConfig(
            vocab_size=text.vocab_size,
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=width // _HEAD_DIM,
            num_key_value_heads=width // _HEAD_DIM,
            head_dim=_HEAD_DIM,
            intermediate_size=-(-width * 8 // 3 // 32) * 32,
            max_position_embeddings=1024,
            qk_norm=True,
            zero_init_outputs=True,
        ),
        data=DataConfig(dataset=dataset, max_seq_len=_row_length(text.tokens)),
        train=train,
        sample=SampleConfig(temperature=0.5, max_tokens=60),
    )
    return settle(config)
