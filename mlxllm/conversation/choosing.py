"""Which chat format belongs to a tokenizer: the one place that decides."""

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.own_format import OwnFormat
from mlxllm.tokenizer import Tokenizer


def chat_format_of(tokenizer: Tokenizer) -> ChatFormat:
    """The format in which its models are tuned, looked at and asked."""
    return OwnFormat(tokenizer)
