"""Which chat format belongs to a tokenizer: the one place that decides."""

from pathlib import Path

from mlxllm.conversation.chat_format import ChatFormat
from mlxllm.conversation.own_format import OWN_TEMPLATE, OwnFormat
from mlxllm.conversation.plain_turns import plain_template
from mlxllm.conversation.template_files import template_with
from mlxllm.conversation.template_format import TemplateFormat
from mlxllm.tokenizer import SPECIAL_TOKENS, Tokenizer


def chat_format_of(tokenizer: Tokenizer, directory: Path) -> ChatFormat:
    """The format in which its models are tuned, looked at and asked: the template that came with them, if one did.

    Our own tokenizers have tokens reserved for turns; for others without a template `plain_turns` has one.

    Args:
        tokenizer: theirs.
        directory: where it lies; see `template_with`.

    Raises:
        ModelError: the template cannot be used.
    """
    template = template_with(directory)
    if _reserved(tokenizer) and (template is None or template.source == OWN_TEMPLATE):  # our own, written by an export
        return OwnFormat(tokenizer)
    template = template or plain_template(tokenizer)
    ends = dict.fromkeys([tokenizer.eot_id, *tokenizer.stop_ids])
    return TemplateFormat(template, tokenizer, stop_ids=tuple(ends), text_prefix=tokenizer.prefix_ids)


def lacks_template(tokenizer: Tokenizer, directory: Path) -> bool:
    """Whether turns are written plainly, since nothing says how this model of others is asked."""
    return not _reserved(tokenizer) and template_with(directory) is None


def _reserved(tokenizer: Tokenizer) -> bool:
    return set(SPECIAL_TOKENS) <= set(tokenizer.special_ids)
