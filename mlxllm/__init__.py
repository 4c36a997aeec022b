"""mlxllm: from raw text to an aligned language model, on MLX."""

__version__ = "0.1.0"
