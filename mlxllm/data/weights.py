"""How much of each source a dataset holds.

A weight is a share of the training tokens, or says itself how often a source is read. With shares, the whole is as large
as it can be without reading any source more often than `max_epochs`, and no larger than it takes to read every source
once: four epochs over the same text teach nearly as much as fresh text, and more soon teach nothing (Muennighoff et al.
2023, "Scaling Data-Constrained Language Models", arXiv:2305.16264).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlxllm.data.sources import Source, kinds, open_source
from mlxllm.errors import ConfigError

MAX_EPOCHS = 4.0
_MOST_WEIGHT = 1000.0


@dataclass(frozen=True, slots=True)
class Weight:
    """What stands behind the @ of a source."""

    value: float
    times: bool = False
    """It is how often the source is read (`2x`), and not its share of the tokens (`0.3`)."""

    @classmethod
    def parse(cls, text: str) -> "Weight":
        """`0.3` or `2x`.

        Raises:
            ValueError: it is neither, or not a number above 0 and up to 1000.
        """
        number = text.removesuffix("x")
        value = float(number)
        if not 0.0 < value <= _MOST_WEIGHT:
            raise ValueError(text)
        return cls(value, times=number != text)

    def __str__(self) -> str:
        number = repr(self.value).removesuffix(".0")
        return f"{number}x" if self.times else number


def parse_source(argument: str) -> tuple[Source, Weight | None]:
    """`KIND:SPEC[@WEIGHT]` as a source and its weight, None where none is given.

    Raises:
        ConfigError: the weight is none, or see `open_source`.
        DataError: see `open_source`.
    """
    spec, at, weight = argument.rpartition("@")
    # A path may hold an @ of its own.
    kind, _, rest = argument.partition(":")
    path = rest if kind in kinds() and rest else argument
    if not at or not spec or "/" in weight or Path(path).expanduser().exists():
        return open_source(argument), None
    try:
        return open_source(spec), Weight.parse(weight)
    except ValueError:
        raise ConfigError(
            f"source {argument!r}: weight {weight!r} is not a number above 0 and up to {_MOST_WEIGHT:g}; give its share of "
            f"the tokens, such as 0.3 beside another's 0.7, or how often it is read, such as 2x or 0.5x"
        ) from None


def check_weights(weights: Sequence[Weight | None]) -> None:
    """Refuse shares beside numbers of times, or beside nothing.

    Raises:
        ConfigError: there are both.
    """
    kinds = {weight.times: weight for weight in weights if weight is not None}
    if False in kinds and None in weights:
        raise ConfigError(
            f"one source has the share @{kinds[False]} and another one has none; give a share to each of them"
        )
    if len(kinds) == 2:
        raise ConfigError(
            f"the weights @{kinds[False]} and @{kinds[True]} do not go together: one is a share of the tokens, the other "
            f"says how often a source is read; give all of them in one way"
        )


def epochs(tokens: Sequence[int], weights: Sequence[Weight | None], max_epochs: float = MAX_EPOCHS) -> list[float]:
    """How often each source is to be read.

    Args:
        tokens: of the train side of each source, read once.
        weights: as `check_weights` passes them; None reads a source once.
        max_epochs: no source is read more often to reach its share.
    """
    if not any(weight is not None and not weight.times for weight in weights):
        return [1.0 if weight is None else weight.value for weight in weights]
    wanted = [1.0 if weight is None else weight.value for weight in weights]
    wholes = [have / share for have, share in zip(tokens, wanted, strict=True) if have]
    if not wholes:
        return [1.0] * len(tokens)
    unit = min(max(wholes), max_epochs * min(wholes))
    return [share * unit / have if have else 1.0 for have, share in zip(tokens, wanted, strict=True)]
