"""From batches to weights: loader, objective, optimizers, step, trainer, checkpoints."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
