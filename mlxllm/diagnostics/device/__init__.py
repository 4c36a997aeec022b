"""What is asked of MLX on the device itself."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
