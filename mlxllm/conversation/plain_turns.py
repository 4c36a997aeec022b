"""Turns for a base model of others that came without a chat template: its own end token, and words for who speaks.

    User:
    text

    Assistant:
    text<end>

Words that every tokenizer spells are used, since the vocabulary has no tokens for roles.
"""

import json

from mlxllm.conversation.template import ChatTemplate
from mlxllm.tokenizer import Tokenizer


def plain_template(tokenizer: Tokenizer) -> ChatTemplate:
    """The template; what the tokenizer puts before a text and what ends one stand in its source."""
    spelled = {token_id: token for token, token_id in tokenizer.special_ids.items()}
    begin, end = "".join(spelled.get(i, "") for i in tokenizer.prefix_ids), spelled.get(tokenizer.eot_id, "")
    source = (
        f"{{{{ {json.dumps(begin)} }}}}"
        "{% for message in messages %}"
        "{% if not loop.first %}{{ '\\n\\n' }}{% endif %}"
        "{% if message.role == 'assistant' %}"
        f"{{{{ 'Assistant:\\n' + message.content + {json.dumps(end)} }}}}"
        "{% elif message.role == 'system' %}{{ message.content }}"
        "{% else %}{{ 'User:\\n' + message.content }}{% endif %}"
        "{% endfor %}"
        "{% if add_generation_prompt %}{{ '\\n\\nAssistant:\\n' }}{% endif %}"
    )
    return ChatTemplate(source, name="the template of plain turns")
