"""MLX's module, with the types that it leaves out."""

from typing import Any, cast

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten


class Module(nn.Module):
    """A module with a typed constructor."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


def named_parameters(module: nn.Module) -> dict[str, mx.array]:
    """All weights by their full name, e.g. "model.layers.0.mlp.up_proj.weight"."""
    return cast(dict[str, mx.array], tree_flatten(module.parameters(), destination={}))


def trainable_parameters(module: nn.Module) -> dict[str, mx.array]:
    """The weights that training moves, by their full name: all of them, or the adapters where the rest is frozen."""
    return cast(dict[str, mx.array], tree_flatten(module.trainable_parameters(), destination={}))


def named_modules(module: nn.Module) -> dict[str, Any]:
    """The module itself, as "", and all below it by their full name, e.g. "model.layers.0.mlp"."""
    return dict(module.named_modules())


def set_parameters(module: nn.Module, parameters: dict[str, mx.array]) -> None:
    """Put weights in by name."""
    module.update(nested(parameters))


def nested(arrays: dict[str, mx.array]) -> dict[str, Any]:
    """Turn "a.b.c" -> array into nested dictionaries and lists, as `nn.Module.update` wants them."""
    return cast(dict[str, Any], tree_unflatten(list(arrays.items())))
