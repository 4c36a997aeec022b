"""The stories of `data/sources/stories/` as a source: the default corpus, generated on the spot."""

from collections.abc import Iterator

from mlxllm.data.sources.base import Document, Problems
from mlxllm.data.sources.stories import SIMPLEST_PLOTS, tell
from mlxllm.errors import ConfigError

DEFAULT_COUNT = 20_000
_SMALL_CAST = 4
_OPTIONS = ("count", "seed", "start", "plots")


class StoriesSource:
    """Stories number `start` to `start + count` of the world with this seed.

    With `plots` only so many of the simplest plots are told, with 16 names in all: a smaller world, for a model with
    little time.
    """

    def __init__(self, count: int = DEFAULT_COUNT, seed: int = 0, start: int = 0, plots: int = 0) -> None:
        """Nothing is generated yet; `plots` 0 is all of them."""
        self.count, self.seed, self.start, self.plots = count, seed, start, plots
        self.problems = Problems()

    @classmethod
    def parse(cls, options: str) -> "StoriesSource":
        """`COUNT`, or `count=N,seed=S,start=I` with any of them left out.

        Raises:
            ConfigError: an option is not known or not a number.
        """
        values: dict[str, int] = {}
        for part in filter(None, options.split(",")):
            key, equals, number = part.partition("=")
            if not equals:
                key, number = "count", key
            if key.strip() not in _OPTIONS or not number.strip().isdecimal():
                raise ConfigError(
                    f"source 'stories' does not know {part!r}; give a count such as stories:20000, "
                    f"or stories:count=20000,seed=7,start=0"
                )
            values[key.strip()] = int(number)
        if values.get("count") == 0:
            raise ConfigError("source 'stories' with count 0 tells nothing; give a count such as stories:20000")
        if not 0 <= values.get("plots", 0) <= len(SIMPLEST_PLOTS):
            raise ConfigError(
                f"source 'stories' has no {values['plots']} simplest plots; give plots=1 to plots={len(SIMPLEST_PLOTS)}, or "
                f"leave it out for all"
            )
        return cls(**values)

    @property
    def name(self) -> str:
        """`stories`."""
        return "stories"

    @property
    def spec(self) -> str:
        """All numbers, so that it stays the same data when defaults change."""
        plots = f",plots={self.plots}" if self.plots else ""
        return f"stories:count={self.count},seed={self.seed},start={self.start}{plots}"

    @property
    def single_text(self) -> bool:
        """Many short documents."""
        return False

    def documents(self) -> Iterator[Document]:
        """The stories in order."""
        for index in range(self.start, self.start + self.count):
            plot = SIMPLEST_PLOTS[index % self.plots] if self.plots else None
            cast = _SMALL_CAST if self.plots else None
            yield Document(tell(self.seed, index, plot=plot, cast=cast).text, f"stories:{self.seed}:{index}", self.name)
