"""A model that sits an examination: how questions become token ids, plainly or through its chat template."""

from collections.abc import Sequence
from dataclasses import dataclass

from mlxllm.conversation import ChatFormat, Message
from mlxllm.evaluation.scoring import Request
from mlxllm.model.transformer import Transformer
from mlxllm.tokenizer import Tokenizer


@dataclass(frozen=True)
class Examinee:
    """What is needed of a model to ask it."""

    model: Transformer
    tokenizer: Tokenizer
    max_length: int
    """Positions that one request may take."""
    chat_format: ChatFormat | None = None
    """Through which it is asked; None gives it the plain text to go on with."""

    def request(self, context: str, choice: str) -> Request:
        """The ids of an answer after its context, with a space between them."""
        if self.chat_format is not None:
            asked = self.chat_format.generation_prompt([Message("user", context)])
            return Request(tuple(asked), tuple(self.tokenizer.encode_continued(choice)) or (self.tokenizer.eot_id,))
        return encode_pair(self.tokenizer, context, " " + choice)

    def prompt(self, context: str) -> list[int]:
        """The ids that the model goes on with."""
        if self.chat_format is not None:
            return self.chat_format.generation_prompt([Message("user", context)])
        return self.tokenizer.encode_begun(context) or list(self.tokenizer.start_ids)

    @property
    def stops(self) -> tuple[str, ...]:
        """Strings that end an answer: how the end of a turn is spelled."""
        if self.chat_format is None:
            return ()
        return tuple(self.tokenizer.decode([token_id]) for token_id in self.chat_format.stop_ids)


def encode_pair(tokenizer: Tokenizer, context: str, target: str) -> Request:
    """The ids of a target after its context, cut where lm-eval cuts (`TemplateLM._encode_pair`).

    Both are encoded as one text, so that a token is what the model would meet; blanks at the end of the context belong
    to the target. Without a context the target follows what begins a text.
    """
    stripped = context.rstrip()
    stripped, target = stripped, context[len(stripped) :] + target
    if not stripped:
        begun, ids = tokenizer.start_ids[-1:], tokenizer.encode(target)
        return _request((*begun, *ids), 1)
    whole = tokenizer.encode_begun(stripped + target)
    return _request(whole, len(tokenizer.encode_begun(stripped)))


def _request(ids: Sequence[int], context: int) -> Request:
    # A tokenizer may join the end of a context and the target to fewer tokens than the context has alone.
    context = max(1, min(context, len(ids) - 1))
    return Request(tuple(ids[:context]), tuple(ids[context:]))
