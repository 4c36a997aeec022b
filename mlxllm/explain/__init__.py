"""Looking into a model: what it does with one prompt, and what changes when a part of it is switched off."""

import mlxllm.runtime  # noqa: F401  (before mlx.core: it prepares BLAS)
