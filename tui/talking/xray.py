"""The X-ray without a screen: what is changed in a model, where one looks, and what of an explanation is shown how."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from mlxllm.config import HOTTEST
from mlxllm.errors import ConfigError
from mlxllm.visible import visible
from tui import commands
from tui.talking.shown import percent

SHADES = "·░▒▓█"
ASCII_SHADES = ".:+%#"
"""Signs of a share from nothing to all; see `shade`."""
_FROM = (0.6, 0.3, 0.1, 0.02)
"""From so much on a share has the last sign, the one before, ..."""
_TEMPERATURE_STEP = 0.1


@dataclass(frozen=True)
class Changes:
    """What is different from how the model is."""

    off: frozenset[str] = frozenset()
    """`head:L.H`, `attention:L`, `mlp:L`, `layer:L`."""
    positions: bool = True
    causal: bool = True
    temperature: float = 1.0
    patch: str = ""
    """`LAYER@other prompt`; "" is none."""
    shuffle: int | None = None
    """A seed."""

    @property
    def any(self) -> bool:
        """Whether something is."""
        return self != Changes()

    @property
    def specs(self) -> list[str]:
        """As the engine takes them; the shuffle is told apart."""
        told = sorted(self.off, key=_in_order)
        told += [] if self.positions else ["positions"]
        told += [] if self.causal else ["mask"]
        told += [] if self.temperature == 1.0 else [f"temperature:{self.temperature:g}"]
        return told + ([f"patch:{self.patch}"] if self.patch else [])

    def toggled(self, spec: str) -> "Changes":
        """With a part switched off, or on again."""
        return replace(self, off=self.off ^ {spec})

    def warmer(self, by: int) -> "Changes":
        """With the temperature so many steps higher, within what can be."""
        temperature = round(self.temperature + by * _TEMPERATURE_STEP, 6)
        return replace(self, temperature=min(max(temperature, _TEMPERATURE_STEP), float(HOTTEST)))

    def shuffled(self) -> "Changes":
        """In another order; after each one the next."""
        return replace(self, shuffle=1 if self.shuffle is None else self.shuffle + 1)

    def told(self) -> str:
        """In a line, for people."""
        said = [
            _NAMES[kind].format(place) for kind, _, place in (s.partition(":") for s in sorted(self.off, key=_in_order))
        ]
        said = [f"{each} off" for each in said]
        said += [] if self.positions else ["no positions"]
        said += [] if self.causal else ["no causal mask"]
        said += [] if self.temperature == 1.0 else [f"temperature {self.temperature:g}"]
        layer, _, prompt = self.patch.partition("@")
        said += [f"layer {layer} from {prompt!r}"] if self.patch else []
        said += [f"shuffled ({self.shuffle})"] if self.shuffle is not None else []
        return ", ".join(said)


_NAMES = {"head": "head {}", "attention": "attention {}", "mlp": "feed-forward {}", "layer": "layer {}"}


def _in_order(spec: str) -> tuple[str, list[int]]:
    kind, _, place = spec.partition(":")
    return kind, [int(number) for number in place.split(".")]


def twin(model: str, text: str, changes: Changes, *, layer: int, head: int, at: int, chat: bool) -> commands.Args:
    """The command that shows the same."""
    off = sorted(changes.off, key=_in_order) + ([] if changes.causal else ["mask"])
    return commands.explain(
        model,
        text,
        layer=layer,
        head=head,
        at=at if at >= 0 else None,
        off=off,
        no_positions=not changes.positions,
        shuffle=changes.shuffle,
        temp=changes.temperature if changes.temperature != 1.0 else None,
        patch=[changes.patch] if changes.patch else [],
        chat=chat,
    )


def check_patch(text: str) -> None:
    """Refuse what is no other prompt.

    Raises:
        ConfigError: it is empty.
    """
    if not text.strip():
        raise ConfigError("give the other prompt, such as: Once there was a dog")


def shade(share: float, marks: str = SHADES) -> str:
    """The sign of a share between 0 and 1."""
    return marks[-1 - next((n for n, least in enumerate(_FROM) if share >= least), len(_FROM))]


class View:
    """An explanation (`mlxllm.explain.xray`) as it is shown."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Of what the engine told."""
        self.told = told
        about = told["about"]
        self.layers: int = about["layers"]
        self.heads: int = about["heads"]
        self.at: int = told["at"]
        self.pieces: list[str] = [visible(str(token["piece"])) for token in told["tokens"]]

    def map_of(self, layer: int, head: int) -> Sequence[Sequence[float]] | None:
        """The attention of a head, (T, T); None where it was not told."""
        maps = self.told["maps"].get(str(layer))
        return maps[head] if maps is not None else None

    def decided(self, layer: int, head: int) -> float:
        """How decided a head is: 1 looks at one piece, 0 at all alike."""
        T = len(self.pieces)
        most = sum(math.log(n) for n in range(2, T + 1)) / (T - 1) if T > 1 else 0.0
        entropy = self.told["layers"][layer]["heads"][head]["entropy"]
        return 1 - min(entropy / most, 1.0) if most else 1.0

    def head_line(self, layer: int, head: int) -> str:
        """What a head does, in a line."""
        told = self.told["layers"][layer]["heads"][head]
        target = told["target"]
        return (
            f"itself {percent(told['itself'])}, the one before {percent(told['previous'])}, the first "
            f"{percent(told['first'])}; {self.pieces[self.at]} looks most at {self.pieces[target]} "
            f"({percent(told['target_weight'])})"
        )

    def sizes(self, layer: int | None) -> tuple[str, str, str]:
        """At the position that is looked at: the stream, and what attention and feed-forward added; None is the embedding."""
        if layer is None:
            return f"{self.told['stream']['sizes'][self.at]:.3g}", "", ""
        told = self.told["layers"][layer]
        stream, attention, mlp = (f"{told[name][self.at]:.3g}" for name in ("stream", "attention", "mlp"))
        return stream, attention, mlp

    def would_say(self, layer: int | None, most: int = 3) -> str:
        """What the model would say if it stopped there."""
        row = self.told["lens"]["rows"][0 if layer is None else layer + 1]
        return "  ".join(f"{visible(each['piece'])} {percent(each['prob'])}" for each in row["top"][:most])

    def lens_positions(self, most: int) -> range:
        """So many positions that the lens looked at, up to the one that is looked at and as far behind it as there are."""
        start = self.told["lens"]["start"]
        stop = start + len(self.told["lens"]["rows"][0]["ids"])
        last = min(stop, max(self.at + 1, start + most))
        return range(max(start, last - most), last)

    def lens_row(self, layer: int | None, positions: Sequence[int]) -> list[tuple[str, float]]:
        """What a layer would say behind each of some positions, and how likely it holds that; None is the embedding."""
        lens = self.told["lens"]
        row = lens["rows"][0 if layer is None else layer + 1]
        places = [position - lens["start"] for position in positions]
        return [(visible(str(row["pieces"][n])), row["probs"][n]) for n in places]

    def next_lines(self, most: int = 8) -> list[tuple[str, float | None, float]]:
        """Piece, probability before (None where nothing is changed) and now, of the likeliest; the largest one first."""
        if "effect" not in self.told:
            return [(visible(each["piece"]), None, each["prob"]) for each in self.told["next"]["top"][:most]]
        both = self.told["effect"]["top"]
        both = sorted(both, key=lambda each: -max(each["before"], each["after"]))
        return [(visible(each["piece"]), each["before"], each["after"]) for each in both[:most]]

    def entropies(self) -> str:
        """Of the next piece, and how far it is from before."""
        now = self.told["next"]["entropy"]
        if "effect" not in self.told:
            return f"entropy {now:.2f} nats"
        before, effect = self.told["before"]["entropy"], self.told["effect"]
        return f"entropy {before:.2f} -> {now:.2f} nats; KL {effect['kl']:.3g}; largest change {effect['largest']:.2g}"

    def order_lines(self) -> list[tuple[str, float, float]]:
        """Where pieces were shuffled: which model, and the largest change behind its first layer and of its answer."""
        names = {
            (True, True): "as it is",
            (True, False): "no mask",
            (False, True): "no positions",
            (False, False): "neither",
        }
        return [
            (names[order["positions"], order["causal"]], order["by_layer"][1], order["change"])
            for order in self.told.get("order", ())
        ]

    def neighbours(self, position: int) -> str:
        """The pieces whose embeddings are near a piece's."""
        near = self.told["tokens"][position]["neighbours"]
        return "  ".join(f"{visible(str(piece))} {cosine:.2f}" for piece, _, cosine in near)
