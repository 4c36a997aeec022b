"""Time our training step on one batch, as the trainer runs it, on the weights of a model folder."""

import argparse
import time
from pathlib import Path

import measure  # before MLX: it prepares BLAS
import mlx.core as mx
import numpy as np

from mlxllm import runtime
from mlxllm.config import DataConfig, RunConfig, TrainConfig
from mlxllm.estimate import flops_by_part, flops_per_token, here, memory
from mlxllm.model.loading import load_hf_folder
from mlxllm.model.transformer import Transformer
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.plan import settle
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
    parser.add_argument("--compute-dtype", default="float32", choices=["auto", "float32", "bfloat16"])
    args = parser.parse_args()
    runtime.select_device(None)
    model, model_config, _ = load_hf_folder(args.model, dtype=mx.float32)
    ids = np.load(args.batch)
    B, T = ids.shape[0], ids.shape[1] - 1
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
        compute_dtype=args.compute_dtype,
    )
    config = settle(RunConfig(model=model_config, data=DataConfig(max_seq_len=T), train=train))
    train, dtype = config.train, runtime.compute_dtype(config.train.compute_dtype)

    def objective(model: Transformer, inputs: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        return next_token_loss(model, inputs, targets, chunk_tokens=train.loss_chunk_tokens)

    step = TrainStep(model, train, objective, compute_dtype=dtype, lanes=train.lanes)
    state = initial_state(model, train)
    mx.eval(state.arrays())
    mx.reset_peak_memory()
    seconds, losses = [], []
    with runtime.blas_for_lanes(train.lanes):
        for _ in range(args.steps + WARMUP):
            begun = time.perf_counter()
            state, metrics = step(state, (mx.array(ids[:, :-1]), mx.array(ids[:, 1:])))
            mx.eval(state.arrays(), metrics.arrays())
            seconds.append(time.perf_counter() - begun)
            losses.append(float(metrics.loss.item()))
    peak_memory, footprint = mx.get_peak_memory(), measure.peak_footprint()
    peak = measure.peak_gflops(dtype)
    rates = [B * T / s for s in seconds[WARMUP:]]
    measure.report(
        tok_per_sec=rates,
        step_seconds=seconds[WARMUP:],
        first_step_seconds=seconds[0],
        losses=losses,
        tokens_per_step=int(metrics.num_tokens.item()),
        parameters=sum(p.size for p in state.parameters.values()),
        peak_memory=peak_memory,
        footprint=footprint,
        lanes=train.lanes,
        compute_dtype=train.compute_dtype,
        flops=B * T * flops_per_token(config),
        flops_by_part={part: B * T * flops.both for part, flops in flops_by_part(config).items()},
        told_memory=memory(config, here(config), val_tokens=2).peak,  # nothing is validated here
        peak_gflops=peak,
        share_of_peak=float(np.median(rates)) * flops_per_token(config) / 1e9 / peak,
        **measure.device_facts(),
    )


if __name__ == "__main__":
    main()
