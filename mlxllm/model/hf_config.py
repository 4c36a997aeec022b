"""A Hugging Face config.json to our `ModelConfig` and back, by the tables of `families`."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mlxllm.config import ModelConfig, RopeScaling
from mlxllm.errors import ModelError
from mlxllm.model.families import FAMILIES, Family
from mlxllm.visible import brief

_ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_new",
    "gelu_pytorch_tanh": "gelu_new",
    "relu": "relu",
    "relu2": "relu2",
}

_ONLY: dict[str, Any] = {"partial_rotary_factor": 1.0}
"""Switches of any family that our model has in one position only."""

_NOT_ARCHITECTURE = frozenset({"dropout", "initializer_range", "zero_init_outputs", "router_aux_loss_coef"})
"""Fields that only training looks at."""

_WEIGHTS = {"num_experts": 10, "positions": 5, "qk_norm": 3}
"""How much more than others a field makes a model what it is; decides which architecture is the nearest."""


def config_from_hf(raw: Mapping[str, Any]) -> ModelConfig:
    """The `ModelConfig` of a config.json as transformers 4 or 5 writes it; dropout is training's, so it is 0.

    Raises:
        ModelError: an unknown architecture, a missing key, or a switch that our model does not have.
    """
    family = family_of(raw)
    if (quantized := raw.get("quantization_config")) is not None:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        how = f"quantised by {method}" if isinstance(method, str) and method.isprintable() else "quantised"
        raise ModelError(
            f"config.json of this {family.architecture} says that its weights are {how[:60]} (quantization_config), in a "
            f"form that mlxllm does not read; take the model as it was before, or one that mlx-lm has quantised"
        )
    raw = {family.aliases.get(key, key): value for key, value in raw.items()}
    for key, value in (_ONLY | dict(family.only)).items():
        if raw.get(key) not in (None, value):
            raise _unsupported(family, key, raw[key], f"only {value!r} is supported")
    values: dict[str, Any] = dict(family.fixed)
    for name, key in family.keys.items():
        if key not in raw and key not in family.defaults:
            raise ModelError(f"config.json of this {family.architecture} lacks the key {key!r}")
        values[name] = raw.get(key, family.defaults.get(key))
    if not isinstance(values["hidden_act"], str) or values["hidden_act"] not in _ACTIVATIONS:
        key = family.keys["hidden_act"]
        raise _unsupported(family, key, values["hidden_act"], f"known are {', '.join(_ACTIVATIONS)}")
    values["hidden_act"] = _ACTIVATIONS[values["hidden_act"]]
    if values["num_key_value_heads"] is None:
        values["num_key_value_heads"] = values["num_attention_heads"]
    if values["intermediate_size"] is None and isinstance(values["hidden_size"], int):
        values["intermediate_size"] = 4 * values["hidden_size"]  # what GPT-2's n_inner: null means
    if family.window:
        values["sliding_window"] = _window_from_hf(family, raw)
    if "no_rope_layers" in family.keys:
        values["no_rope_layers"] = _rotating_layers(family, raw)
    if values["positions"] == "rope":
        values.update(_rope_from_hf(family, raw))
    try:
        return ModelConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        wrong = first["msg"].removeprefix("Value error, ")
        if name:
            place = ".".join([family.keys.get(name, name), *(str(part) for part in first["loc"][1:])])
            wrong = f"{place} is {brief(first['input'])}; {wrong.replace('Input should', 'it should')}"
        raise ModelError(f"config.json of this {family.architecture} does not fit: {wrong}") from None


def family_of(raw: Mapping[str, Any]) -> Family:
    """The family that a config.json names.

    Raises:
        ModelError: it names none of ours; the message lists them.
    """
    named = raw.get("architectures") or [raw.get("model_type")]
    name = named[0] if isinstance(named, list) else named
    name = name if isinstance(name, str) else None
    for family in FAMILIES:
        if name in (family.architecture, family.model_type):
            return family
    known = ", ".join(family.architecture for family in FAMILIES)
    what = f"the architecture {brief(name)}, which mlxllm does not know" if name else "no architecture"
    code = next((key for key in ("auto_map", "model_file") if raw.get(key)), None)
    never = f"; the code that {code} points to is never run" if code else ""
    raise ModelError(f"config.json names {what}{never}; known are {known}")


def _unsupported(family: Family, key: str, value: Any, remedy: str) -> ModelError:
    return ModelError(
        f"config.json of this {family.architecture} has {key} = {brief(value)}, which mlxllm cannot compute; {remedy}"
    )


def _window_from_hf(family: Family, raw: Mapping[str, Any]) -> int | None:
    """The window that all layers have, or None; a family may give it to some layers only, which we do not."""
    window: int | None = raw.get("sliding_window", family.defaults["sliding_window"])
    if window is None or ("use_sliding_window" in family.window and not raw.get("use_sliding_window", False)):
        return None
    layers = raw.get("num_hidden_layers")
    if types := raw.get("layer_types"):
        if not isinstance(types, list) or not all(isinstance(kind, str) for kind in types):
            raise _unsupported(family, "layer_types", types, "it should name the kind of each layer")
        windowed = sum(kind == "sliding_attention" for kind in types)
        if len(set(types)) > 1 or windowed not in (0, len(types)):
            raise _unsupported(family, "layer_types", sorted(set(types)), "all layers must be of one kind")
        return window if windowed else None
    if "max_window_layers" in family.window:
        first = raw.get("max_window_layers", family.defaults["max_window_layers"])
        if not isinstance(first, int):
            raise _unsupported(family, "max_window_layers", first, "it should be a number of layers")
        if first == 0:
            return window
        if isinstance(layers, int) and first < layers:
            raise _unsupported(family, "max_window_layers", first, "all layers must have the window, or none")
        return None
    return window


def _rotating_layers(family: Family, raw: Mapping[str, Any]) -> list[Any]:
    """For each layer 1 where it rotates, else 0: as listed, or else 0 for every fourth (`no_rope_layer_interval`)."""
    layers, listed, every = raw["num_hidden_layers"], raw.get("no_rope_layers"), raw.get("no_rope_layer_interval", 4)
    if isinstance(listed, list):
        return listed[:layers] if isinstance(layers, int) and layers > 0 else listed
    if listed is not None:
        raise _unsupported(family, "no_rope_layers", listed, "it should list 1 or 0 for each layer")
    if not isinstance(every, int) or every < 1:
        raise _unsupported(family, "no_rope_layer_interval", every, "it should be a number of layers")
    if not isinstance(layers, int) or layers > 10_000:
        return []  # it is refused for that
    return [int((i + 1) % every != 0) for i in range(layers)]


def _rope_from_hf(family: Family, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Our rope_theta and rope_scaling: transformers 5 has both in `rope_parameters`, 4 side by side."""
    key = "rope_parameters" if raw.get("rope_parameters") else "rope_scaling"
    found = raw.get(key) or {}
    if not isinstance(found, dict) or any(isinstance(value, dict) for value in found.values()):
        raise _unsupported(family, key, found, "all layers must rotate in the same way")
    if found.get("partial_rotary_factor") not in (None, 1.0):
        raise _unsupported(family, "partial_rotary_factor", found["partial_rotary_factor"], "only 1.0 is supported")
    theta = found.get("rope_theta", raw.get("rope_theta", family.defaults["rope_theta"]))
    kind = found.get("rope_type") or found.get("type") or "default"
    needed = {
        "default": (),
        "linear": ("factor",),
        "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    }
    if not isinstance(kind, str) or kind not in needed:
        raise _unsupported(family, f"{key}.rope_type", kind, f"known are {', '.join(needed)}")
    if missing := [name for name in needed[kind] if name not in found]:
        raise ModelError(f"config.json of this {family.architecture} lacks the key {key}.{missing[0]}")
    scaling = {"rope_type": kind} | {name: found[name] for name in needed[kind]}
    return {"rope_theta": theta, "rope_scaling": None if kind == "default" else scaling}


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The config.json of the architecture that `config` is a point of; transformers 4 and 5 both read it.

    Raises:
        ModelError: there is no such architecture; the message names the fields.
    """
    family = _family_with(config)
    if family is None:
        raise ModelError(why_no_architecture(config))
    raw: dict[str, Any] = {"architectures": [family.architecture], "model_type": family.model_type}
    raw.update({key: getattr(config, name) for name, key in family.keys.items()})
    raw.update({**family.only, **family.written})
    if "head_dim" in family.keys:
        raw["head_dim"] = config.resolved_head_dim
    if "no_rope_layers" in family.keys:
        raw["no_rope_layers"] = list(config.no_rope_layers)
    if config.positions == "rope":
        raw |= {"rope_theta": config.rope_theta, "rope_scaling": _rope_scaling_to_hf(config.rope_scaling)}
    window = {
        "sliding_window": config.sliding_window,
        "use_sliding_window": config.sliding_window is not None,
    }
    # Layers from this one on have the window: all of them, or none.
    window["max_window_layers"] = 0 if config.sliding_window is not None else config.num_hidden_layers
    raw.update({key: window[key] for key in family.window})
    return raw


def _rope_scaling_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    if scaling is None:
        return None
    if scaling.rope_type == "linear":
        return {"rope_type": "linear", "factor": scaling.factor}
    return scaling.model_dump()


def architecture_of(config: ModelConfig) -> str | None:
    """The Hugging Face class that `config` is a point of; None where `why_no_architecture` has the reason."""
    family = _family_with(config)
    return None if family is None else family.architecture


def why_no_architecture(config: ModelConfig) -> str:
    """What keeps `config` from being the architecture nearest to it, in a sentence that names the fields."""
    ours = _meaningful(config)

    def distance(family: Family) -> int:
        return sum(_WEIGHTS.get(name, 1) for name in _differences(config, family))

    family = min(FAMILIES, key=distance)
    needed = [f"model.{n} = {v!r} (it is {ours[n]!r})" for n, v in _differences(config, family).items()]
    return (
        f"no Hugging Face architecture that mlxllm knows has this combination of settings; the nearest is "
        f"{family.architecture}, which needs {', '.join(needed)}"
    )


def _family_with(config: ModelConfig) -> Family | None:
    return next((family for family in FAMILIES if not _differences(config, family)), None)


def _differences(config: ModelConfig, family: Family) -> dict[str, Any]:
    """Field -> what it would have to be for `config` to be in `family`."""
    ours = _meaningful(config)
    wanted = {name: value for name, value in family.fixed.items() if name in ours and ours[name] != value}
    first_with: dict[str, str] = {}
    for name, key in family.keys.items():
        if name in ours and ours[name] != ours[first_with.setdefault(key, name)]:
            wanted[name] = ours[first_with[key]]
    if family.fixed.get("num_experts", 1) and not config.num_experts:
        wanted["num_experts"] = 8  # or any other number
    return wanted


def _meaningful(config: ModelConfig) -> dict[str, Any]:
    """The fields that decide what the model computes, without those that another field makes idle."""
    fields = {name: getattr(config, name) for name in type(config).model_fields if name not in _NOT_ARCHITECTURE}
    idle = ["num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob"]
    if config.num_experts:
        idle = ["intermediate_size", "mlp_bias"]
    if config.positions != "rope":
        idle += ["rope_theta", "rope_scaling", "no_rope_layers"]
    if config.head_dim == config.hidden_size // config.num_attention_heads:
        fields["head_dim"] = None  # said or left out, it is the same
    if all(config.no_rope_layers):
        fields["no_rope_layers"] = ()
    return {name: value for name, value in fields.items() if name not in idle}
