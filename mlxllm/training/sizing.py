"""From a machine, a dataset and some minutes to a model that makes the most of them: what `quickstart` trains."""

import time

import mlx.core as mx

from mlxllm.config import DataConfig, ModelConfig, RunConfig, SampleConfig, TrainConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.estimate import count_parameters, estimate
from mlxllm.model.transformer import build_model
from mlxllm.runtime import compute_dtype, set_blas_threads
from mlxllm.training.loader import TokenLoader
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.start import resolve
from mlxllm.training.step import TrainStep, initial_state

LADDER = ((96, 3), (128, 4), (160, 4), (192, 5), (256, 6), (320, 6), (384, 8), (512, 8), (640, 10), (768, 12))
"""(width, layers) of the sizes to choose from."""

TOKENS_PER_PARAMETER = 0.6
"""Of the time's compute, a size is affordable if it sees at least so many tokens a weight. Compute-optimal training of
large models takes 20 (Chinchilla, arXiv:2203.15556); a simple small world read for minutes is learned best by a model
that is larger than that: see scripts/bench/quickstart_size.py."""

PARAMETERS_PER_TEXT_TOKEN = 3.0
"""A model with more weights than this for each token of text learns it by heart."""

_HEAD_DIM = 32
_PROBE_STEPS = 3


def quickstart_config(dataset: TokenDataset, seconds: float, prompt: str, seed: int | None = None) -> RunConfig:
    """A recipe whose size fits `seconds` on this machine and the dataset's number of tokens.

    The machine's speed is measured on a small model. `train.max_steps` is left for the trainer to measure.
    """
    length = _row_length(dataset)
    configs = [_config(dataset, width, layers, length, prompt, seed) for width, layers in LADDER]
    rate = measured_flops(dataset, configs[1])
    return max((c for c in configs if fits(c, dataset, rate * seconds)), key=_size, default=configs[0])


def fits(config: RunConfig, dataset: TokenDataset, flops: float) -> bool:
    """Whether `flops` operations and the dataset's text are enough for a model of this size."""
    costs = estimate(config)
    seen = flops / costs.flops_per_token
    return (
        seen >= TOKENS_PER_PARAMETER * costs.parameters
        and costs.parameters <= PARAMETERS_PER_TEXT_TOKEN * dataset.train.num_tokens
    )


def measured_flops(dataset: TokenDataset, config: RunConfig) -> float:
    """Floating-point operations a second that training reaches here, from a few steps after the compiler's."""
    config = resolve(config, dataset)
    train = config.train
    model = build_model(config.model, train.seed)
    step = TrainStep(model, train, next_token_loss, compute_dtype=compute_dtype(train.compute_dtype), lanes=train.lanes)
    loader = TokenLoader(dataset.train, config.data.max_seq_len, train.batch_size, train.seed)
    rows = loader.batch(0)
    batch = (mx.array(rows[:, :-1]), mx.array(rows[:, 1:]))
    state = initial_state(model, train)
    threads = set_blas_threads(1) if train.lanes > 1 else None
    try:
        seconds = []
        for _ in range(1 + _PROBE_STEPS):
            begun = time.perf_counter()
            after, metrics = step(state, batch)
            mx.eval(after.arrays(), metrics.arrays())
            seconds.append(time.perf_counter() - begun)
    finally:
        if threads is not None:
            set_blas_threads(threads)
    return estimate(config).flops_per_token * loader.tokens_per_step / min(seconds[1:])


def _size(config: RunConfig) -> int:
    return count_parameters(config.model)


def _row_length(dataset: TokenDataset) -> int:
    """256 tokens, less where the text is shorter than a few batches of such rows."""
    length = 256
    while length > 32 and dataset.train.num_tokens < 64 * length:
        length //= 2
    return length


def _config(dataset: TokenDataset, width: int, layers: int, length: int, prompt: str, seed: int | None) -> RunConfig:
    gpu = mx.default_device().type == mx.gpu
    train = TrainConfig(
        optimizer="muon",
        learning_rate=3e-3,
        schedule="wsd",
        decay_fraction=0.4,
        warmup_steps=20,
        weight_decay=0.1,
        batch_size=32 if gpu else 8,
        early_stop_evals=2,
        sample_prompt=prompt,
    )
    if seed is not None:
        train = train.model_copy(update={"seed": seed})
    return RunConfig(
        preset="quickstart",
        model=ModelConfig(
            vocab_size=dataset.vocab_size,
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
        data=DataConfig(dataset=str(dataset.directory), max_seq_len=length),
        train=train,
        sample=SampleConfig(temperature=0.6, max_tokens=60),
    )
