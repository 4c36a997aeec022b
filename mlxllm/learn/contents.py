"""The ten chapters in their order."""

from mlxllm.errors import ConfigError
from mlxllm.learn.blocks import ATTENTION, BLOCKS
from mlxllm.learn.chapter import Chapter
from mlxllm.learn.inputs import EMBEDDINGS, POSITIONS
from mlxllm.learn.judging import EVALUATION, PREFERENCES
from mlxllm.learn.tokens import BPE, CHARACTERS
from mlxllm.learn.training import FINE_TUNING, PRETRAINING

CHAPTERS: tuple[Chapter, ...] = (
    CHARACTERS,
    BPE,
    EMBEDDINGS,
    POSITIONS,
    ATTENTION,
    BLOCKS,
    PRETRAINING,
    FINE_TUNING,
    PREFERENCES,
    EVALUATION,
)


def chapter(number: int) -> Chapter:
    """The chapter with a number.

    Raises:
        ConfigError: there is none.
    """
    if not 1 <= number <= len(CHAPTERS):
        raise ConfigError(f"there is no chapter {number}; they are numbered 1 to {len(CHAPTERS)}")
    return CHAPTERS[number - 1]
