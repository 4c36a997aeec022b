"""Where a model's folder keeps its template, and templates that have to be known to be trusted."""

import json

import pytest

from mlxllm.conversation import ChatTemplate, Message, load_chat_template
from mlxllm.errors import ModelError
from tests.conversation import templates

HELLO = [Message("user", "Hi")]
CONFIG = {
    "bos_token": {"content": "<s>", "lstrip": False},
    "eos_token": "</s>",
    "chat_template": "{{ bos_token }}config",
}


def write(folder, **files):
    for name, content in files.items():
        suffix = "jinja" if isinstance(content, str) and name == "chat_template" else "json"
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.{suffix}").write_text(text)


def test_places_in_their_order(tmp_path):
    assert load_chat_template(tmp_path) is None
    write(tmp_path, tokenizer_config=CONFIG)
    assert load_chat_template(tmp_path).render(HELLO) == "<s>config"
    write(tmp_path, chat_template={"chat_template": "{{ eos_token }}json"})
    assert load_chat_template(tmp_path).render(HELLO) == "</s>json"
    write(tmp_path, chat_template="{{ bos_token }}{{ x }}file")
    assert load_chat_template(tmp_path, variables={"x": "!", "bos_token": "<b>"}).render(HELLO) == "<b>!file"


def test_named_templates(tmp_path):
    named = [{"name": "tool_use", "template": "tools"}, {"name": "default", "template": "plain"}]
    write(tmp_path, tokenizer_config={"chat_template": named})
    assert load_chat_template(tmp_path).render(HELLO) == "plain"
    write(tmp_path, tokenizer_config={"chat_template": named[:1]})
    assert load_chat_template(tmp_path).render(HELLO) == "tools"
    write(tmp_path, tokenizer_config={"bos_token": "<s>"})
    assert load_chat_template(tmp_path) is None


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ({"tokenizer_config": "{"}, "cannot read"),
        ({"tokenizer_config": "[]"}, "is damaged: it holds a JSON list"),
        ({"tokenizer_config": {"chat_template": 5}}, "its chat template is a number, and should be a text"),
        ({"chat_template": "{% if %}"}, "is not a Jinja template: line 1"),
        ({"chat_template": "{{ ''.__class__.__mro__ }}"}, "is stopped: it reaches for '__class__' of a str"),
        (
            {"chat_template": "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}"},
            "is stopped",
        ),
    ],
)
def test_bad_ones_are_refused_when_they_are_loaded(tmp_path, files, sentence):
    write(tmp_path, **files)
    with pytest.raises(ModelError) as caught:
        load_chat_template(tmp_path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_texts_come_in_parts_where_a_template_wants_them():
    template = ChatTemplate(templates.PARTS)
    assert template.given(HELLO)[0]["content"] == [{"type": "text", "text": "Hi"}]
    assert template.render(HELLO, add_generation_prompt=True) == "User: Hi\nAssistant:"
    assert ChatTemplate(templates.CHATML).given(HELLO)[0]["content"] == "Hi"


@pytest.mark.parametrize("key", ["reasoning_content", "thinking", "reasoning"])
def test_what_was_thought_is_found_under_each_of_its_names(key):
    template = ChatTemplate("{{ messages[0].thinking }}|{{ messages[0].reasoning_content }}")
    assert template.render([Message("assistant", "A", {key: "hm"})]) == "hm|hm"
    assert template.render([Message("assistant", "A")]) == "|"
