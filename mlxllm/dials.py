"""Two dials of a new run: how large the model is, as a preset scaled up or down, and for how long it trains."""

import math
from dataclasses import dataclass
from typing import Any

from mlxllm.config import ModelConfig, RunConfig
from mlxllm.estimate import block_parameters

FACTORS = (1 / 4, 1 / 2, 1.0, 2.0, 4.0)
"""Steps of the size dial: how many times the preset's weights, embeddings left out."""

MINUTES = (1, 2, 5, 10, 20, 30, 60, 120, 240, 480)
"""Steps of the time dial; the last one is a night."""

_MOST_BLOCKS, _WIDEST = 96, 16384
_NEAR = 1.4
"""A position is left out if no shape comes so near to it."""
_NARROWER_COSTS = 0.3
"""How much a shape that is wider or narrower for its depth than the preset counts against one of another size."""


@dataclass(frozen=True)
class Size:
    """A position of the size dial."""

    factor: float
    """As asked for; the shape comes as near to it as whole heads and blocks allow."""
    changes: dict[str, Any]
    """"model.key" -> value, of what differs from the preset."""

    @property
    def label(self) -> str:
        """The factor in words: "x1/4", "x2"; "x1" is the preset itself."""
        return f"x{self.factor:g}" if self.factor >= 1 else f"x1/{1 / self.factor:g}"


def sizes(config: RunConfig) -> list[Size]:
    """The positions of the size dial for a preset, the smallest first; a tiny preset has fewer below itself.

    Width and depth grow together, each by the cube root of the factor. The width of a head stays, and so does how many
    heads share keys and values; the feed-forward keeps its share of the width, in multiples of 32.
    """
    found: list[Size] = []
    for factor in FACTORS:
        model = config.model if factor == 1 else scaled_model(config.model, factor)
        changed = {f"model.{key}": v for key, v in model.model_dump().items() if v != getattr(config.model, key)}
        reached = block_parameters(model) / block_parameters(config.model)
        if 1 / _NEAR < reached / factor < _NEAR and changed not in [size.changes for size in found]:
            found.append(Size(factor, changed))
    return found


def apply(config: RunConfig, size: Size) -> RunConfig:
    """The configuration at that position of the dial."""
    return config.with_values(model={key.removeprefix("model."): value for key, value in size.changes.items()})


def scaled_model(model: ModelConfig, factor: float) -> ModelConfig:
    """The shape with about `factor` times the weights in its blocks, as near as whole heads and blocks come."""
    head = model.resolved_head_dim
    shared = model.num_attention_heads // model.num_key_value_heads
    target = factor * block_parameters(model)
    shape = model.hidden_size / model.num_hidden_layers
    best, least = (model.num_attention_heads, model.num_hidden_layers), math.inf
    for heads in range(shared, _WIDEST // head + 1, shared):
        block = block_parameters(_scaled(model, heads, 1))
        if block > 3 * target:
            break
        for blocks in range(1, min(_MOST_BLOCKS, int(3 * target / block)) + 1):
            off = abs(math.log(blocks * block / target))
            off += _NARROWER_COSTS * abs(math.log(heads * head / blocks / shape))
            if off < least:
                best, least = (heads, blocks), off
    return _scaled(model, *best)


def _scaled(model: ModelConfig, heads: int, blocks: int) -> ModelConfig:
    width = heads * model.resolved_head_dim
    share = width / model.hidden_size
    return model.model_copy(
        update={
            "hidden_size": width,
            "num_hidden_layers": blocks,
            "num_attention_heads": heads,
            "num_key_value_heads": heads * model.num_key_value_heads // model.num_attention_heads,
            "intermediate_size": _rounded(model.intermediate_size * share),
            "moe_intermediate_size": _rounded(model.moe_intermediate_size * share)
            if model.num_experts
            else model.moe_intermediate_size,
        }
    )


def _rounded(size: float) -> int:
    return max(32, round(size / 32) * 32)


def time_label(minutes: int | None) -> str:
    """What the time dial shows; None is as many steps as the preset has."""
    if minutes is None:
        return "the preset's own steps"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h" + (", over night" if minutes == MINUTES[-1] else "")
