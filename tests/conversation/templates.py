"""Small chat templates, each with a trait that templates of known models have."""

CHATML = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

HEADERS = """{{- bos_token }}
{%- if tools is not none %}
    {{- "<|header|>tools<|/header|>\\n\\n" }}
    {%- for tool in tools %}{{- tool | tojson(indent=4) + "\\n" }}{%- endfor %}
    {{- "<|turn_end|>" }}
{%- endif %}
{%- for message in messages %}
    {{- "<|header|>" + message.role + "<|/header|>\\n\\n" }}
    {%- if message.tool_calls is defined %}
        {%- for call in message.tool_calls %}{{- call.function | tojson }}{%- endfor %}
    {%- endif %}
    {{- message.content + "<|turn_end|>" }}
{%- endfor %}
{%- if add_generation_prompt %}{{- "<|header|>assistant<|/header|>\\n\\n" }}{% endif %}
"""

INSTRUCTIONS = """{{ bos_token }}{% if messages[0]['role'] == 'system' %}
{% set system, turns = messages[0]['content'] + '\\n\\n', messages[1:] %}
{% else %}{% set system, turns = '', messages %}{% endif %}
{% for message in turns %}
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
{{ raise_exception('user and assistant must take turns') }}{% endif %}
{% if message['role'] == 'user' %}{{ '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}
{% else %}{{ ' ' + message['content'].strip() + eos_token }}{% endif %}
{% endfor %}
"""

FORGETTING = """{%- set ns = namespace(last=-1) %}
{%- for message in messages %}{% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}
{%- for message in messages %}
    {%- set content = message.content %}
    {%- if message.role == 'assistant' and loop.index0 < ns.last and '</think>' in content %}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
    {%- endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}
"""
"""What the assistant thought is dropped once the user has gone on."""

CLOSED = (
    "{% for m in messages %}{{ '<|' ~ m.role ~ '|>\n' ~ m.content ~ '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
"""The whole text is closed by a token of its own."""

AHEAD = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
"""An answer is asked for with more than finished ones begin with."""

PARTS = (
    "{% for m in messages %}{{ m.role | capitalize }}:"
    "{% for part in m.content %}{% if part.type == 'text' %}{{ ' ' ~ part.text }}{% endif %}{% endfor %}"
    "{{ '<|end|>' if m.role == 'assistant' else '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
"""Content is a list of parts, as for models that see pictures."""

MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m.role ~ '\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content ~ '<|im_end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content ~ '<|im_end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

ALL = {
    "chatml": CHATML,
    "headers": HEADERS,
    "instructions": INSTRUCTIONS,
    "forgetting": FORGETTING,
    "closed": CLOSED,
    "ahead": AHEAD,
    "parts": PARTS,
    "marked": MARKED,
}
ANSWERING = {name: source for name, source in ALL.items() if name != "ahead"}
"""Those that keep the law of formats."""

VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}
SPECIALS = (
    "<s> </s> <|im_start|> <|im_end|> <|header|> <|/header|> <|turn_end|> [INST] [/INST] <|end|> <|user|> "
    "<|assistant|> <|system|> <|tool|>"
).split()
