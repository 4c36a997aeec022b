"""Time our training step on one batch, as the trainer runs it, on the weights of a model folder."""

import argparse
import time
from pathlib import Path

import measure  # before MLX: it prepares BLAS
import mlx.core as mx
import numpy as np

from mlxllm import runtime
from mlxllm.config import ModelConfig, TrainConfig
from mlxllm.model.loading import load_hf_folder
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.plan import default_lanes
from mlxllm.training.step import TrainStep, initial_state

WARMUP = 2
"""Steps that do not count, as many as the peers have: mlx-lm compiles twice."""


def main() -> None:
    """One process: two steps that do not count, then the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=Path, required=True, help=".npy of (B, T + 1) ids")
    parser.add_argument("--steps", type=int, required=True, help="after the first two")
    parser.add_argument("--learning-rate", type=float, required=True)
    args = parser.parse_args()
    runtime.select_device(None)
    model, config, _ = load_hf_folder(args.model, dtype=mx.float32)
    ids = np.load(args.batch)
    B, T = ids.shape[0], ids.shape[1] - 1
    lanes = default_lanes(B)
    train = TrainConfig(
        optimizer="adamw",
        learning_rate=args.learning_rate,
        schedule="constant",
        warmup_steps=0,
        weight_decay=0.01,
        betas=(0.9, 0.999),
        max_grad_norm=0,  # the peers do not clip
        batch_size=B,
        max_steps=args.steps + WARMUP,
    )

    def objective(model: Transformer, inputs: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        return next_token_loss(model, inputs, targets, chunk_tokens=train.loss_chunk_tokens)

    step = TrainStep(model, train, objective, compute_dtype=mx.float32, lanes=lanes)
    state = initial_state(model, train)
    mx.eval(state.arrays())
    mx.reset_peak_memory()
    seconds, losses = [], []
    with runtime.blas_for_lanes(lanes):
        for _ in range(args.steps + WARMUP):
            begun = time.perf_counter()
            state, metrics = step(state, (mx.array(ids[:, :-1]), mx.array(ids[:, 1:])))
            mx.eval(state.arrays(), metrics.arrays())
            seconds.append(time.perf_counter() - begun)
            losses.append(float(metrics.loss.item()))
    peak_memory, footprint = mx.get_peak_memory(), measure.peak_footprint()
    peak = measure.peak_gflops()
    rates = [B * T / s for s in seconds[WARMUP:]]
    gflop_per_token = training_flops_per_token(model, config, T) / 1e9
    measure.report(
        tok_per_sec=rates,
        first_step_seconds=seconds[0],
        losses=losses,
        tokens_per_step=int(metrics.num_tokens.item()),
        parameters=sum(p.size for p in state.parameters.values()),
        peak_memory=peak_memory,
        footprint=footprint,
        lanes=lanes,
        peak_gflops=peak,
        share_of_peak=float(np.median(rates)) * gflop_per_token / peak,
        **measure.device_facts(),
    )


def training_flops_per_token(model: Transformer, config: ModelConfig, T: int) -> float:
    """6 for each number of a matrix (forward 2, backward 4), the head included; and for attention 6 T D_heads a layer:

    QK^T and AV are 2 T D_heads each, three times over with the backward pass, half of it masked.
    """
    matrices = sum(p.size for p in named_parameters(model).values() if p.ndim == 2)
    if not config.tie_word_embeddings:
        matrices -= config.vocab_size * config.hidden_size  # the embedding is only looked up
    heads = config.num_attention_heads * config.resolved_head_dim
    return 6 * matrices + 6 * config.num_hidden_layers * T * heads


if __name__ == "__main__":
    main()
