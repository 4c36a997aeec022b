"""The stories of `data/sources/stories/` as a source: the default corpus, generated on the spot."""

from collections.abc import Iterator

from mlxllm.data.sources.base import Document, Problems
from mlxllm.errors import ConfigError

DEFAULT_COUNT = 20_000
_OPTIONS = ("count", "seed", "start")


class StoriesSource:
    """Stories number `start` to `start + count` of the world with this seed."""

    def __init__(self, count: int = DEFAULT_COUNT, seed: int = 0, start: int = 0) -> None:
        """Nothing is generated yet."""
        self.count, self.seed, self.start = count, seed, start
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
        return cls(**values)

    @property
    def name(self) -> str:
        """`stories`."""
        return "stories"

    @property
    def spec(self) -> str:
        """All three numbers, so that it stays the same data when defaults change."""
        return f"stories:count={self.count},seed={self.seed},start={self.start}"

    @property
    def single_text(self) -> bool:
        """Many short documents."""
        return False

    def documents(self) -> Iterator[Document]:
        """The stories in order."""
        from mlxllm.data.sources.stories import story  # its word lists are loaded only when they are used

        for index in range(self.start, self.start + self.count):
            yield Document(story(self.seed, index).text, f"stories:{self.seed}:{index}", self.name)
