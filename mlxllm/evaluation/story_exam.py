"""What a model of the story world can do: right answers, asked-for words, kind endings, on stories it has never seen."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from mlxllm.config import SampleConfig
from mlxllm.conversation import ChatFormat, Message
from mlxllm.data.sources.stories.lessons import Exam, unseen_questions, unseen_wishes
from mlxllm.data.sources.stories.scoring import answer_is_right, asked_words_used, is_kind_ending, story_in
from mlxllm.inference.batch import generate_batch
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer

_ANSWER_TOKENS = 24
_STORY_TOKENS = 230


@dataclass(frozen=True)
class StoryScores:
    """Shares between 0 and 1."""

    answers: float
    """Questions about an unseen story that were answered right."""
    words: float
    """Stories that use every word that was asked for."""
    kind: float
    """Stories that end kindly; one whose ending does not tell is not."""
    questions: int
    """How many were asked."""
    stories: int
    """How many were asked for."""

    def as_dict(self) -> dict[str, float | int]:
        """For JSON."""
        return asdict(self)


class StoryExam:
    """The same questions and requests for every model.

    Args:
        questions: how many.
        stories: how many.
        plots: of the world; see `lessons.in_world`.
        seed: of the world.
        temperature: of the stories; answers are always the likeliest.
    """

    def __init__(
        self, questions: int, stories: int, *, plots: int = 0, seed: int = 0, temperature: float = 0.5
    ) -> None:
        self._questions = list(unseen_questions(questions, seed, plots))
        self._wishes = list(unseen_wishes(stories, seed, plots))
        self._temperature = temperature

    def __call__(self, model: Transformer, tokenizer: Tokenizer, chat_format: ChatFormat | None) -> StoryScores:
        """Examine a model.

        Args:
            model: with its weights.
            tokenizer: its tokenizer.
            chat_format: how it was taught to be asked; None for a base model, which is given the plain text to continue.
        """
        answers = _write(model, tokenizer, chat_format, self._questions, SampleConfig(temperature=0), _ANSWER_TOKENS)
        sample = SampleConfig(temperature=self._temperature)
        stories = [story_in(s) for s in _write(model, tokenizer, chat_format, self._wishes, sample, _STORY_TOKENS)]
        right = [answer_is_right(e.question, a) for e, a in zip(self._questions, answers, strict=True) if e.question]
        used = [asked_words_used(e.wish.words, s) for e, s in zip(self._wishes, stories, strict=True) if e.wish]
        kind = [is_kind_ending(story) is True for story in stories]
        return StoryScores(_share(right), _share(used), _share(kind), len(right), len(used))


def _write(
    model: Transformer,
    tokenizer: Tokenizer,
    chat_format: ChatFormat | None,
    exams: Sequence[Exam],
    sample: SampleConfig,
    max_tokens: int,
) -> list[str]:
    if chat_format is None:
        prompts = [tokenizer.encode_begun("".join(m["content"] + "\n" for m in exam.messages)) for exam in exams]
        stops: set[int] = set(tokenizer.stop_ids)
    else:
        prompts = [chat_format.generation_prompt([Message("user", m["content"]) for m in e.messages]) for e in exams]
        stops = {*chat_format.stop_ids, *tokenizer.stop_ids}
    sample = sample.model_copy(update={"max_tokens": max_tokens})
    written = generate_batch(model, tokenizer, prompts, sample, stop_ids=stops)
    return [tokenizer.decode_continued(ids) for ids in written]


def _share(results: Sequence[bool]) -> float:
    return sum(results) / len(results) if results else 0.0
