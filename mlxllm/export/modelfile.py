"""An Ollama Modelfile beside a GGUF file: the chat template in Ollama's words, where an answer ends, how tokens are drawn.

Ollama takes templates of Go's `text/template` and does not run the Jinja template in the file. Most Jinja templates write
fixed texts between the turns: rendering conversations of made-up words shows which, and the frame that comes out is held
against the Jinja template on other conversations. Where that fails, a comment says so.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message, Role
from mlxllm.conversation.template import ChatTemplate
from mlxllm.conversation.template_files import template_with
from mlxllm.errors import DataError
from mlxllm.export.card import title
from mlxllm.export.gguf import chat_template
from mlxllm.export.gguf_weights import context_of
from mlxllm.model.loading import LoadedModel
from mlxllm.tokenizer.generation_config import generation_defaults

MODELFILE = "Modelfile"
MOST_CONTEXT = 8192
"""Of `num_ctx`: Ollama sets aside memory for all of it."""

_WORDS = ("Qzaa", "Qzbb", "Qzcc", "Qzdd", "Qzee")
_DRAWN = {name: name for name in ("temperature", "top_k", "top_p", "min_p")} | {"repetition_penalty": "repeat_penalty"}
"""Of generation_config.json -> of Ollama, which has defaults of its own: what is off is said as well."""


@dataclass(frozen=True)
class Frame:
    """What a template writes around the texts of a conversation."""

    opening: str
    """Before the first turn, where nothing is said by the system."""
    to_answer: str
    """Behind what the user says: there the model is asked."""
    lead: str
    """Before an earlier answer, beyond that; a model that is asked writes it by itself."""
    to_question: str
    """Between an answer and what the user says next."""
    system: tuple[str, str] | None
    """Before and behind what the system says; None where the template does not take that."""

    def render(self, messages: Sequence[Message]) -> str:
        """The text that an answer continues, for turns of user and assistant in turn."""
        text = ""
        for number, message in enumerate(messages):
            if message.role == "system" and self.system is not None:
                text += self.system[0] + message.content + self.system[1]
                continue
            text += self.opening if number == 0 else ""
            answered = message.role == "assistant"
            text += f"{self.lead}{message.content}{self.to_question}" if answered else message.content + self.to_answer
        return text

    def as_go(self) -> str:
        """The same as a template of Go's `text/template`, in Ollama's variables."""
        before, behind = (_quoted(text) for text in (self.system or (self.opening, "")))
        said = f"{before}{{{{ .Content }}}}{behind}" if self.system else before
        return (
            "{{ range $i, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $i)) 1 }}"
            f'{{{{ if eq .Role "system" }}}}{{{{ if eq $i 0 }}}}{said}{{{{ end }}}}'
            f"{{{{ else }}}}{{{{ if eq $i 0 }}}}{_quoted(self.opening)}{{{{ end }}}}"
            f'{{{{ if eq .Role "assistant" }}}}{_quoted(self.lead)}{{{{ .Content }}}}'
            f"{{{{ if not $last }}}}{_quoted(self.to_question)}{{{{ end }}}}"
            f"{{{{ else }}}}{{{{ .Content }}}}{_quoted(self.to_answer)}{{{{ end }}}}{{{{ end }}}}{{{{ end }}}}"
        )


def frame_of(template: ChatTemplate) -> Frame | None:
    """The frame that a Jinja template comes to; None where it does more than write fixed texts around turns."""
    if "strftime_now" in template.source:
        return None
    try:
        whole = _between(template, ("user", "assistant", "user", "assistant", "user"))
        if whole is None or whole[1] != whole[3] or whole[2] != whole[4] or not whole[1].startswith(whole[5]):
            return None
        lead = whole[1].removeprefix(whole[5])
        frame = Frame(whole[0], whole[5], lead, whole[2], _system(template, whole))
        asked: list[tuple[Role, ...]] = [("user",), ("user", "assistant", "user")]
        asked += [("system", *roles) for roles in asked] if frame.system is not None else []
        for roles in asked:
            messages = [Message(role, f"{role} {number}?\n") for number, role in enumerate(roles)]
            written = template.render(messages, add_generation_prompt=True)
            # Many take white space off the ends of a text, which Go's templates have no word for.
            bare = [Message(message.role, message.content.strip()) for message in messages]
            if written not in (frame.render(messages), frame.render(bare)):
                return None
    except DataError:
        return None
    return frame


def write_modelfile(loaded: LoadedModel, folder: Path, gguf_name: str) -> str:
    """Write an Ollama Modelfile.

    Args:
        loaded: the model.
        folder: that the GGUF file is in.
        gguf_name: its name there.

    Returns:
        What it says.

    Raises:
        OSError: it cannot be written.
        ModelError: the model's chat template cannot be used.
    """
    lines = [f"# ollama create {ollama_name(loaded)} -f {MODELFILE}", f"FROM ./{gguf_name}", *_template_lines(loaded)]
    lines += [f"PARAMETER stop {_quote(text)}" for text in stops(loaded)]
    lines += [f"PARAMETER {name} {value:g}" for name, value in drawing(loaded).items()]
    lines.append(f"PARAMETER num_ctx {min(context_of(loaded.config)[0], MOST_CONTEXT)}")
    text = "\n".join(lines) + "\n"
    (folder / MODELFILE).write_text(text, encoding="utf-8", newline="")
    return text


def ollama_name(loaded: LoadedModel) -> str:
    """What Ollama may call the model: the name of its run or folder, in the letters that are allowed there."""
    name = loaded.path.parent.parent.name if loaded.step is not None else title(loaded).partition("@")[0]
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).strip("-._") or "my-model"


def stops(loaded: LoadedModel) -> list[str]:
    """The spellings of the tokens that end an answer."""
    tokenizer = loaded.tokenizer
    speaks = chat_template(loaded) is not None
    ids = chat_format_of(tokenizer, loaded.tokenizer_directory).stop_ids if speaks else (tokenizer.eot_id,)
    spelled = {number: text for text, number in tokenizer.special_ids.items()}
    return [spelled[i] for i in dict.fromkeys(ids) if i in spelled]


def drawing(loaded: LoadedModel) -> dict[str, float]:
    """How tokens are drawn, in Ollama's words: as the generation_config.json that came with the model asks, else its run."""
    found: dict[str, Any] = loaded.run_config.sample.model_dump() if loaded.run_config is not None else {}
    found |= generation_defaults(loaded.path, loaded.tokenizer_directory)
    return {theirs: float(found[name]) for name, theirs in _DRAWN.items() if isinstance(found.get(name), int | float)}


def go_template(loaded: LoadedModel) -> str | None:
    """Its chat template in Go's words, or that of a base model; None where it does more than those can say."""
    if chat_template(loaded) is None:
        return "{{ .Prompt }}"
    template = template_with(loaded.tokenizer_directory)
    frame = frame_of(template) if template is not None else OWN_FRAME
    go = without_prefix(frame, loaded).as_go() if frame is not None else '"""'
    return None if '"""' in go else go


def _template_lines(loaded: LoadedModel) -> list[str]:
    go = go_template(loaded)
    if chat_template(loaded) is None:
        return ["# A base model: it continues a text.", f'TEMPLATE """{go}"""']
    if go is None:
        return [
            "# Its chat template does more than Ollama's templates can: it is in the GGUF file, for llama.cpp and its kin",
            "# (llama-server --jinja). Without a TEMPLATE, Ollama looks for a known one like it.",
        ]
    return [f'TEMPLATE """{go}"""']


OWN_FRAME = Frame("<|user|>", "<|end|><|assistant|>", "", "<|end|><|user|>", ("<|system|>", "<|end|><|user|>"))
"""Of our own format."""


def without_prefix(frame: Frame, loaded: LoadedModel) -> Frame:
    """The frame without what goes before every text: Ollama puts that there, as the file asks for it."""
    spelled = {number: text for text, number in loaded.tokenizer.special_ids.items()}
    prefix = "".join(spelled.get(i, "") for i in loaded.tokenizer.prefix_ids)
    system = None if frame.system is None else (frame.system[0].removeprefix(prefix), frame.system[1])
    return replace(frame, opening=frame.opening.removeprefix(prefix), system=system)


def _system(template: ChatTemplate, whole: Sequence[str]) -> tuple[str, str] | None:
    """What is written around the system's text, where that changes nothing else."""
    try:
        parts = _between(template, ("system", "user", "assistant", "user"))
    except DataError:
        return None
    if parts is None or parts[2:] != [whole[1], whole[2], whole[5]]:
        return None
    return parts[0], parts[1]


def _between(template: ChatTemplate, roles: Sequence[Role]) -> list[str] | None:
    """What is written before, between and behind texts of these roles; None where one of them does not come once."""
    words = _WORDS[: len(roles)]
    messages = [Message(role, word) for role, word in zip(roles, words, strict=True)]
    rest = template.render(messages, add_generation_prompt=True)
    parts = []
    for word in words:
        if rest.count(word) != 1:
            return None
        before, _, rest = rest.partition(word)
        parts.append(before)
    return [*parts, rest]


def _quoted(text: str) -> str:
    """A fixed text in a Go template."""
    return text.replace("{{", '{{ "{{" }}')


def _quote(text: str) -> str:
    return f'"{text}"' if '"' not in text else f'"""{text}"""'
