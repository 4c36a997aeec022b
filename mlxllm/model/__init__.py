"""The transformer, its cache, its families, and loading it."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
