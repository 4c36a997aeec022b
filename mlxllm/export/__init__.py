"""Models as others read them, and the proof that nothing changed on the way."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
