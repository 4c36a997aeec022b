"""The stories of `data/sources/stories/` as a source: the default corpus, generated on the spot."""

from collections.abc import Iterator

from mlxllm.data.sources.base import Document, Extent, Problems, SourceKind
from mlxllm.data.sources.stories import SIMPLEST_PLOTS
from mlxllm.data.sources.stories.lessons import in_world, page
from mlxllm.errors import ConfigError

KIND = SourceKind(
    "stories",
    "little stories made here: COUNT, or count=N,seed=S,start=I,plots=P,questions=1 (20000 of seed 0; plots: the P simplest "
    "of 31; questions: a reading book)",
    "made by this program; free to use",
    "stories:20000",
    "a first model: a small world whose words a tiny model can learn in minutes",
    one_licence="MIT",
)
DEFAULT_COUNT = 20_000
_OPTIONS = ("count", "seed", "start", "plots", "questions")


class StoriesSource:
    """Stories number `start` to `start + count` of the world with this seed.

    With `plots` only so many of the simplest plots are told, with 16 names in all: a smaller world, for a model with
    little time. With `questions=1` it is a reading book: questions and their answers stand below each story.
    """

    def __init__(
        self, count: int = DEFAULT_COUNT, seed: int = 0, start: int = 0, plots: int = 0, questions: int = 0
    ) -> None:
        """Nothing is generated yet; `plots` 0 is all of them."""
        self.count, self.seed, self.start, self.plots, self.questions = count, seed, start, plots, questions
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
        if values.get("questions", 0) > 1:
            raise ConfigError(
                "source 'stories' takes questions=1 for a reading book with questions, and questions=0 without"
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
        questions = ",questions=1" if self.questions else ""
        return f"stories:count={self.count},seed={self.seed},start={self.start}{plots}{questions}"

    @property
    def single_text(self) -> bool:
        """Many short documents."""
        return False

    def extent(self) -> Extent:
        """As many documents as were asked for."""
        return Extent(documents=self.count)

    def documents(self) -> Iterator[Document]:
        """The stories in order."""
        for index in range(self.start, self.start + self.count):
            text = page(self.seed, index, self.plots) if self.questions else in_world(self.seed, index, self.plots).text
            yield Document(text, f"stories:{self.seed}:{index}", self.name)


parse = StoriesSource.parse
