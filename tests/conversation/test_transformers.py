"""The same text as transformers writes, with templates of our own and those that the peers bring along."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlxllm.conversation import ChatTemplate, Message
from mlxllm.errors import UserError
from tests.conversation import templates

pytestmark = pytest.mark.peers

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Adds <two> numbers & more: é",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "number", "description": "first"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    }
]
CALL = {"id": "abcdefghi", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 1.5}}}
CONVERSATIONS = {
    "question": [Message("user", "Hi <b>there</b> & you")],
    "blanks": [Message("user", "  Hi "), Message("assistant", " Hello\n")],
    "system": [
        Message("system", "Be kind."),
        Message("user", "A"),
        Message("assistant", "B"),
        Message("user", "C"),
        Message("assistant", "D"),
    ],
    "thoughts": [
        Message("user", "A"),
        Message("assistant", "<think>\nhm\n</think>\n\nB"),
        Message("user", "C"),
        Message("assistant", "D", {"reasoning_content": "so"}),
    ],
    "tools": [
        Message("user", "1+1?"),
        Message("assistant", "", {"tool_calls": [CALL]}),
        Message("tool", "2", {"name": "add", "tool_call_id": "abcdefghi"}),
        Message("assistant", "It is 2."),
    ],
}


def brought_along() -> Iterator[tuple[str, str]]:
    """Templates inside of transformers' sources, and those that trl trains with."""
    if trl := importlib.util.find_spec("trl"):
        for path in sorted((Path(trl.origin).parent / "chat_templates").glob("*.jinja")):
            yield path.name, path.read_text("utf-8")
    root = Path(importlib.util.find_spec("transformers").origin).parent / "models"
    for path in sorted(root.glob("*/processing_*.py")):
        source = path.read_text("utf-8")
        if "{%" in source:
            for node in ast.walk(ast.parse(source)):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and "endfor" in node.value:
                    yield path.name, node.value


def test_same_text():
    chat_template_utils = pytest.importorskip("transformers.utils.chat_template_utils")
    found = [*templates.ALL.items(), *brought_along()]
    assert len(found) > len(templates.ALL)
    variables = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    rendered = 0
    for name, source in found:
        ours = ChatTemplate(source, variables=variables)
        for kind, messages in CONVERSATIONS.items():
            for tools in ((), TOOLS):
                for ask in (False, True):
                    try:
                        (theirs,), _ = chat_template_utils.render_jinja_template(
                            [ours.given(messages)],
                            tools=list(tools) or None,
                            chat_template=source,
                            add_generation_prompt=ask,
                            **variables,
                        )
                    except Exception:  # whatever a template raises
                        with pytest.raises(UserError):
                            ours.render(messages, tools, add_generation_prompt=ask)
                        continue
                    assert ours.render(messages, tools, add_generation_prompt=ask) == theirs, (name, kind)
                    rendered += 1
    assert rendered > 100
