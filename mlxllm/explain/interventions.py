"""What is changed in a model while it reads one prompt, in words such as `head:3.2` that a person can type."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from mlxllm.config import HOTTEST, ModelConfig
from mlxllm.errors import ConfigError
from mlxllm.visible import in_a_line

SPELLINGS = (
    "head:LAYER.HEAD, attention:LAYER, mlp:LAYER, layer:LAYER, positions, mask, temperature:X or "
    'patch:LAYER@"other prompt"'
)
"""All that there is, for messages."""

_PLACE = re.compile(r"(\d{1,5})(?:\.(-?\d{1,7}|all))?", re.ASCII)


@dataclass(frozen=True)
class Patch:
    """The residual stream behind a layer, taken from where the untouched model reads another prompt."""

    layer: int
    text: str
    """The other prompt."""
    at: int | None = None
    """The position in both prompts, negative from their ends; None puts the other's last one where this one is looked at."""
    everywhere: bool = False
    """All positions, of two prompts of one length."""

    @property
    def spec(self) -> str:
        """As it is typed."""
        place = ".all" if self.everywhere else "" if self.at is None else f".{self.at}"
        return f"patch:{self.layer}{place}@{self.text}"


@dataclass(frozen=True)
class Interventions:
    """All changes of one walk; layers and heads count from 0, as in the names of weights."""

    heads: frozenset[tuple[int, int]] = frozenset()
    """(layer, head): what the head hands on is zero."""
    attentions: frozenset[int] = frozenset()
    """Layers whose attention adds nothing."""
    mlps: frozenset[int] = frozenset()
    """Layers whose feed-forward adds nothing."""
    layers: frozenset[int] = frozenset()
    """Layers that leave the stream as it is."""
    positions: bool = True
    """Tokens know where they stand: by rotation, or by what is added to their embeddings."""
    causal: bool = True
    """No token sees those behind it."""
    temperature: float = 1.0
    """What logits are divided by."""
    patches: tuple[Patch, ...] = ()

    @property
    def specs(self) -> list[str]:
        """As they are typed; `parse` of them is this again."""
        told = [f"head:{layer}.{head}" for layer, head in sorted(self.heads)]
        for name, layers in (("attention", self.attentions), ("mlp", self.mlps), ("layer", self.layers)):
            told += [f"{name}:{layer}" for layer in sorted(layers)]
        told += [] if self.positions else ["positions"]
        told += [] if self.causal else ["mask"]
        told += [] if self.temperature == 1.0 else [f"temperature:{self.temperature!r}"]
        return told + [patch.spec for patch in self.patches]

    def check(self, config: ModelConfig) -> None:
        """Refuse what a model does not have.

        Raises:
            ConfigError: it has no such layer or head.
        """
        count, heads = config.num_hidden_layers, config.num_attention_heads
        patched = {patch.layer for patch in self.patches}
        named = {layer for layer, _ in self.heads} | self.attentions | self.mlps | self.layers | patched
        if wrong := sorted(layer for layer in named if layer >= count):
            raise ConfigError(f"there is no layer {wrong[0]}; the model's layers are 0 to {count - 1}")
        if beyond := sorted(place for place in self.heads if place[1] >= heads):
            layer, head = beyond[0]
            raise ConfigError(f"layer {layer} has no head {head}; its heads are 0 to {heads - 1}")


UNCHANGED = Interventions()


def parse(specs: Iterable[str]) -> Interventions:
    """The interventions of some words; see `SPELLINGS`.

    Raises:
        ConfigError: one of them is none.
    """
    found = UNCHANGED
    for spec in specs:
        name, colon, rest = spec.partition(":")
        if name == "positions" and not colon:
            found = replace(found, positions=False)
        elif name == "mask" and not colon:
            found = replace(found, causal=False)
        elif name == "temperature":
            found = replace(found, temperature=_temperature(spec, rest))
        elif name == "patch":
            found = replace(found, patches=(*found.patches, parse_patch(rest)))
        elif name == "head" and re.fullmatch(r"\d{1,5}\.\d{1,5}", rest, re.ASCII):
            layer, _, head = rest.partition(".")
            found = replace(found, heads=found.heads | {(int(layer), int(head))})
        elif name in ("attention", "mlp", "layer") and re.fullmatch(r"\d{1,5}", rest, re.ASCII):
            field = f"{name}s"
            found = replace(found, **{field: getattr(found, field) | {int(rest)}})
        else:
            raise ConfigError(
                f"{in_a_line(spec, 60)!r} is no intervention; give {SPELLINGS}, such as head:0.2 or mlp:1"
            )
    return found


def parse_patch(text: str) -> Patch:
    """`LAYER@other prompt`, with a position behind the layer where another than the last is meant: `3.5@`, `3.all@`.

    Raises:
        ConfigError: it has another form, or no prompt.
    """
    place, at, prompt = text.partition("@")
    match = _PLACE.fullmatch(place)
    if match is None or not at or not prompt:
        raise ConfigError(
            f"{in_a_line(text, 60)!r} is no patch; give the layer and the other prompt, such as 3@Once there was a dog, or "
            f"3.5@... for position 5, or 3.all@... for all of them"
        )
    where = match[2]
    if where == "all":
        return Patch(int(match[1]), prompt, everywhere=True)
    return Patch(int(match[1]), prompt, int(where) if where is not None else None)


def _temperature(spec: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= HOTTEST:  # False for what is no number as well
        raise ConfigError(
            f"{in_a_line(spec, 60)!r} is no temperature; give a number above 0 and up to {HOTTEST}, such as 0.7"
        )
    return value
