"""Models leave here as ordinary weights, with the proof that they are what was trained."""

from mlxllm import runtime as runtime  # first of all: it prepares MLX
