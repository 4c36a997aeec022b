"""From weights to text: sampling, generation, conversations."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
