"""How a loaded model is talked to: the one place that decides which chat format belongs to it."""

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.model.loading import LoadedModel


def chat_format_of(loaded: LoadedModel) -> ChatFormat:
    """The format in which the model was tuned, and in which it is asked."""
    return OwnFormat(loaded.tokenizer)
