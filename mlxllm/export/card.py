"""The model card: what the model is, what it was made from, how good it is and how it is opened."""

from collections.abc import Mapping
from typing import Any

from mlxllm.model.loading import LoadedModel


def model_card(loaded: LoadedModel, raw: Mapping[str, Any], size: int) -> str:
    """README.md of an export.

    Args:
        loaded: the model.
        raw: its config.json.
        size: bytes of its weights.
    """
    return f"---\nlibrary_name: transformers\n---\n\n# A {raw['architectures'][0]}\n"


def bytes_text(size: float) -> str:
    """`1.2 GB`."""
    power = min(3, max(1, (len(str(int(size))) - 1) // 3))
    return f"{size / 1000**power:,.1f} {'kMGT'[power - 1]}B"
