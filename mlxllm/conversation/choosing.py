"""Which chat format belongs to a tokenizer: the one place that decides."""

from pathlib import Path

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.own_format import OWN_TEMPLATE, OwnFormat
from mlxllm.conversation.template_files import template_with
from mlxllm.conversation.template_format import TemplateFormat
from mlxllm.tokenizer import Tokenizer


def chat_format_of(tokenizer: Tokenizer, directory: Path) -> ChatFormat:
    """The format in which its models are tuned, looked at and asked: the template that came with them, if one did.

    Args:
        tokenizer: theirs.
        directory: where it lies; see `template_with`.

    Raises:
        ModelError: the template cannot be used.
    """
    template = template_with(directory)
    if template is None or template.source == OWN_TEMPLATE:  # our own, written by an export
        return OwnFormat(tokenizer)
    return TemplateFormat(template, tokenizer, stop_ids=(tokenizer.eot_id,))
