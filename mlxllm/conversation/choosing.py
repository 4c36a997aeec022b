"""Which chat format belongs to a tokenizer: the one place that decides."""

from pathlib import Path

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.own_format import OWN_TEMPLATE, OwnFormat
from mlxllm.conversation.template_files import template_with
from mlxllm.conversation.template_format import TemplateFormat
from mlxllm.errors import ModelError
from mlxllm.tokenizer import SPECIAL_TOKENS, Tokenizer


def chat_format_of(tokenizer: Tokenizer, directory: Path) -> ChatFormat:
    """The format in which its models are tuned, looked at and asked: the template that came with them, if one did.

    Args:
        tokenizer: theirs.
        directory: where it lies; see `template_with`.

    Raises:
        ModelError: the template cannot be used, or there is none for somebody else's tokenizer.
    """
    template = template_with(directory)
    reserved = set(SPECIAL_TOKENS) <= set(tokenizer.special_ids)
    if reserved and (template is None or template.source == OWN_TEMPLATE):  # our own, written by an export
        return OwnFormat(tokenizer)
    if template is None:
        raise ModelError(
            f"the tokenizer in {directory} has no chat template, which says how its model is asked and answers; put the "
            f"chat_template.jinja of an instruct model with the same special tokens into that folder"
        )
    ends = dict.fromkeys([tokenizer.eot_id, *tokenizer.stop_ids])
    return TemplateFormat(template, tokenizer, stop_ids=tuple(ends), text_prefix=tokenizer.prefix_ids)
