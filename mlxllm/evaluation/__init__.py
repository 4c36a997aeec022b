"""How good a model is."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
