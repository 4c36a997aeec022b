"""Adapters on a whole model: put them on, switch them off for a while, merge them.

An adapted model is frozen but for its adapters: `trainable_parameters` names what a step trains and a checkpoint holds.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import mlx.core as mx
import mlx.nn as nn

from mlxllm.config import LORA_TARGETS, LoraConfig, ModelConfig
from mlxllm.errors import ConfigError, ModelError
from mlxllm.model.feed_forward import Experts
from mlxllm.model.lora import Adapter, DoraLinear, LoraExperts, LoraLinear, shape_of
from mlxllm.model.module import named_modules, named_parameters
from mlxllm.model.quantization import QuantizedLinear
from mlxllm.model.quantized_models import dense_weights, quantize_blocks
from mlxllm.model.transformer import Transformer

_METHODS = {"lora": LoraLinear, "dora": DoraLinear}


@dataclass(frozen=True)
class AdapterSpec:
    """What the adapters of one model have in common."""

    method: Literal["lora", "dora"]
    rank: int
    scale: float
    """What the low-rank product is multiplied with."""
    dropout: float = 0.0


def adapt(model: Transformer, lora: LoraConfig, seed: int = 0) -> None:
    """Freeze the model, quantise its blocks if that is asked for, and put adapters on; it computes what it did before.

    Args:
        model: with its weights; in the dtype that the frozen base is to compute in.
        lora: which adapters where.
        seed: draws the adapters' first weights; the same for the same seed, whatever the quantisation.

    Raises:
        ConfigError: targets or blocks that this model does not have, or a format that does not fit its matrices.
        ModelError: it has adapters already.
    """
    paths = target_paths(model.config, lora)
    if lora.method == "dora" and model.config.num_experts and any(".experts." in path for path in paths):
        raise ConfigError(
            "lora.method is dora, which mlxllm has for single matrices only, not for the experts of this model; "
            "use lora, or set lora.targets=q_proj,k_proj,v_proj,o_proj"
        )
    if lora.quantize is not None:
        quantize_blocks(model, lora.quantize)
    attach(model, paths, AdapterSpec(lora.method, lora.rank, lora.scale, lora.dropout), seed)


def target_paths(config: ModelConfig, lora: LoraConfig) -> list[str]:
    """Which matrices get an adapter, e.g. "model.layers.3.self_attn.q_proj", in the order of the blocks.

    Raises:
        ConfigError: the model has fewer blocks, or no matrix of that name.
    """
    there = [name for name in LORA_TARGETS if config.mlp_gated or name != "gate_proj"]
    chosen = there if "all" in lora.targets else list(dict.fromkeys(lora.targets))
    if missing := [name for name in chosen if name not in there]:
        raise ConfigError(f"lora.targets has {missing[0]!r}, which this model does not have; it has {', '.join(there)}")
    blocks = config.num_hidden_layers
    if lora.layers > blocks:
        raise ConfigError(f"lora.layers is {lora.layers}, but the model has {blocks} blocks; -1 takes all")
    feed_forward = "mlp.experts" if config.num_experts else "mlp"
    first = 0 if lora.layers == -1 else blocks - lora.layers
    return [
        f"model.layers.{i}.{'self_attn' if name in LORA_TARGETS[:4] else feed_forward}.{name}"
        for i in range(first, blocks)
        for name in chosen
    ]


def attach(model: Transformer, paths: Iterable[str], spec: AdapterSpec, seed: int = 0) -> None:
    """Freeze the model and put an adapter on each of `paths`, which are keys of `adaptable`.

    Raises:
        ModelError: it has adapters already, or no such matrix, or DoRA is asked for on experts.
    """
    paths, there = list(paths), adaptable(model)
    if has_adapters(model):
        raise ModelError("the model has adapters already; merge them first (`mlxllm fuse`), or start from its base")
    for path in paths:
        if path not in there:
            raise ModelError(f"this model has no {path} that an adapter could go on")
        if spec.method == "dora" and len(there[path]) > 2:
            raise ModelError(f"{path} of this model are experts, for which mlxllm has lora, not dora")
    model.freeze()
    modules = named_modules(model)
    key = mx.random.key(seed)
    for path in paths:
        key, sub = mx.random.split(key)
        parent, _, name = path.rpartition(".")
        if len(there[path]) == 2:
            adapted = _METHODS[spec.method](modules[path], spec.rank, spec.scale, spec.dropout, sub)
            setattr(modules[parent], name, adapted)
            continue
        if not isinstance(modules[parent], LoraExperts):
            modules[parent] = LoraExperts(modules[parent])
            modules[parent.rpartition(".")[0]].experts = modules[parent]
        modules[parent].add(name, spec.rank, spec.scale, spec.dropout, sub)
    model.train(model.training)  # new layers are born training
    # What is lazy when a step is compiled is computed again in each step.
    mx.eval(named_parameters(model))


def adaptable(model: Transformer) -> dict[str, tuple[int, ...]]:
    """Name -> shape, (out, in) or (E, out, in), of each matrix in the blocks that can have an adapter."""
    found: dict[str, tuple[int, ...]] = {}
    for path, module in named_modules(model).items():
        if not path.startswith("model.layers."):
            continue
        if isinstance(module, nn.Linear | QuantizedLinear):
            found[path] = shape_of(module)
        elif isinstance(module, Experts):
            found |= {f"{path}.{name}": shape for name, shape in module.shapes().items()}
    return found


def adapters(model: nn.Module) -> dict[str, Adapter]:
    """The adapters of a model by the name of the matrix that they are on."""
    return {path: module for path, module in named_modules(model).items() if isinstance(module, Adapter)}


def has_adapters(model: nn.Module) -> bool:
    """Whether the model has adapters, switched on or off."""
    return bool(adapters(model))


def spec_of(model: nn.Module) -> AdapterSpec:
    """What the adapters of a model have in common; it must have some."""
    one = next(iter(adapters(model).values()))
    method: Literal["lora", "dora"] = "dora" if isinstance(one, DoraLinear) else "lora"
    return AdapterSpec(method, one.rank, one.scale, one.dropout_share)


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within this the model is its base, the reference of DPO. A compiled function goes by the moment it is traced."""
    switched = [adapter for adapter in adapters(model).values() if adapter.on]
    for adapter in switched:
        adapter.on = False
    try:
        yield
    finally:
        for adapter in switched:
            adapter.on = True


def fused(model: Transformer) -> Transformer:
    """A plain model that computes what the adapted one does: adapters merged, packed matrices unpacked.

    The arrays of layers without adapters are shared. Merging is done in float32, and the result has the dtype of the
    base (of its norms, where it is packed). It is in evaluation mode.
    """
    weights = dense_weights(model)
    for path, adapter in adapters(model).items():
        if isinstance(adapter, LoraLinear):
            merged, name = adapter.merged(), f"{path}.weight"
        else:
            parent, _, matrix = path.rpartition(".")
            experts = named_modules(model)[parent]
            merged, name = experts.merged(matrix), path
        weights[name] = merged.astype(weights[name].dtype)
    plain = Transformer(model.config)
    plain.load_weights(list(weights.items()))
    plain.eval()
    mx.eval(named_parameters(plain))
    return plain
