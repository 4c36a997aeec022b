"""Short words for what a change can be: `attention=mqa` stands for the settings that make it so."""

from collections.abc import Callable

from mlxllm.config import ModelConfig
from mlxllm.errors import ConfigError

Settings = dict[str, object]
"""section.key -> value."""

_GATED = {"swiglu": "silu"}
_PLAIN = {"gelu": "gelu_new", "relu": "relu", "relu2": "relu2"}
_NORMS: dict[str, Settings] = {
    "pre": {"model.norm_position": "pre"},
    "post": {"model.norm_position": "post"},
    "rms": {"model.norm": "rmsnorm"},
    "layer": {"model.norm": "layernorm"},
}
_SWITCH = {"on": True, "off": False}
_GROUPS = (4, 2, 3, 5, 7)
"""Queries that share a key, as is common; the first that leaves more than one key is taken."""


def _attention(value: str, model: ModelConfig) -> Settings:
    heads = model.num_attention_heads
    if value == "gqa":
        group = next((size for size in _GROUPS if heads % size == 0 and heads > size), None)
        if group is None:
            raise ConfigError(
                f"--change attention=gqa finds no groups in the model's {heads} heads; choose attention=mqa, or set "
                f"model.num_attention_heads to a number such as {2 * heads}"
            )
        return {"model.num_key_value_heads": heads // group}
    return {"model.num_key_value_heads": heads if value == "mha" else 1}


def _feed_forward(value: str, model: ModelConfig) -> Settings:
    """A gate is a third matrix: without it the others are made half as wide again, so that the weights are as many
    (Shazeer 2020, arXiv:2002.05202).
    """
    gated = value in _GATED
    found: Settings = {"model.hidden_act": {**_GATED, **_PLAIN}[value], "model.mlp_gated": gated}
    if gated != model.mlp_gated:
        name = "moe_intermediate_size" if model.num_experts else "intermediate_size"
        width = getattr(model, name)
        found[f"model.{name}"] = round(width * (2 / 3 if gated else 3 / 2))
    return found


def _plain(key: str) -> Callable[[str, ModelConfig], Settings]:
    return lambda value, _: {key: value}


_MAKE: dict[str, tuple[tuple[str, ...], Callable[[str, ModelConfig], Settings]]] = {
    "attention": (("mha", "gqa", "mqa"), _attention),
    "positions": (("rope", "learned", "sinusoidal", "none"), _plain("model.positions")),
    "norm": (tuple(_NORMS), lambda value, _: _NORMS[value]),
    "qk_norm": (tuple(_SWITCH), lambda value, _: {"model.qk_norm": _SWITCH[value]}),
    "ffn": ((*_GATED, *_PLAIN), _feed_forward),
    "optimizer": (("adamw", "muon", "lion"), _plain("train.optimizer")),
    "schedule": (("constant", "cosine", "linear", "wsd"), _plain("train.schedule")),
}

WORDS: dict[str, tuple[str, ...]] = {word: values for word, (values, _) in _MAKE.items()}
"""Word -> what it can be."""


def meaning(word: str, value: str, model: ModelConfig) -> Settings:
    """The settings that `word=value` stands for.

    Args:
        word: one of `WORDS`.
        value: what stands behind the =.
        model: the unchanged one, whose heads and widths some words refer to.

    Raises:
        ConfigError: the word has no such value, or none for this model; the message lists those that it has.
    """
    values, make = _MAKE[word]
    if value not in values:
        *others, last = values
        raise ConfigError(f"--change {word}={value} does not exist; {word} is {', '.join(others)} or {last}")
    return make(value, model)
