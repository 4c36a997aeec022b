"""Ollama's Modelfile: the frame that a Jinja template comes to is the template, or it is told that it is not."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mlxllm.config import RunConfig
from mlxllm.conversation.own_format import OWN_TEMPLATE
from mlxllm.conversation.records import Message
from mlxllm.conversation.template import ChatTemplate
from mlxllm.export.modelfile import MODELFILE, OWN_FRAME, Frame, frame_of, write_modelfile
from mlxllm.model.loading import LoadedModel
from mlxllm.tokenizer import load_tokenizer
from tests.export.tiny import loaded_with, random_model
from tests.inference.tiny import tiny
from tests.tokenizer import foreign

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
DEFAULT_SYSTEM = "{% if messages[0].role != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}" + CHATML
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}"
    "<|eot_id|>{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% else %}{{ raise_exception('no ' + m.role) }}"
    "{% endif %}{% endfor %}"
)
NUMBERED = "{% for m in messages %}[{{ loop.index }}] {{ m.content }}\n{% endfor %}"
LAST_ONLY = "{{ messages[-1].content }}>"
DATED = "{{ strftime_now('%Y') }}" + CHATML
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("source", [CHATML, DEFAULT_SYSTEM, LLAMA3, MISTRAL, OWN_TEMPLATE])
def test_frames(source: str) -> None:
    """Of templates as they are on the Hub; longer conversations than those that it was found by."""
    template = ChatTemplate(source, variables=VARIABLES)
    frame = frame_of(template)
    assert frame is not None
    turns = [Message("assistant" if number % 2 else "user", f"text {number}") for number in range(7)]
    assert frame.render(turns) == template.render(turns, add_generation_prompt=True)
    assert (frame.system is None) is (source == MISTRAL)
    if frame.system is not None:
        spoken = [Message("system", "Be brief."), *turns]
        assert frame.render(spoken) == template.render(spoken, add_generation_prompt=True)
    if source == OWN_TEMPLATE:
        assert frame == OWN_FRAME


@pytest.mark.parametrize("source", [NUMBERED, LAST_ONLY, DATED, "{{ raise_exception('never') }}", "nothing"])
def test_templates_that_are_no_frame(source: str) -> None:
    assert frame_of(ChatTemplate(source)) is None


def evaluated(go: str, messages: list[Message]) -> str:
    """What Go makes of such a template: a loop over messages, conditions on roles and places."""
    for known, python in {
        "{{ range $i, $_ := .Messages }}": "{% for m in messages %}",
        "{{ $last := eq (len (slice $.Messages $i)) 1 }}": "",
        '{{ if eq .Role "system" }}': "{% if m.role == 'system' %}",
        '{{ if eq .Role "assistant" }}': "{% if m.role == 'assistant' %}",
        "{{ if eq $i 0 }}": "{% if loop.first %}",
        "{{ if not $last }}": "{% if not loop.last %}",
        "{{ else }}": "{% else %}",
        "{{ .Content }}": "{{ m.content }}",
    }.items():
        go = go.replace(known, python)
    # Each `end` closes what was opened last.
    opened: list[str] = []
    parts = go.split("{{ end }}")
    for number, part in enumerate(parts[:-1]):
        opened += re.findall(r"{% (for|if) ", part)
        parts[number] = f"{part}{{% end{opened.pop()} %}}"
    return ChatTemplate("".join(parts)).render(messages)


@pytest.mark.parametrize("source", [CHATML, DEFAULT_SYSTEM, LLAMA3, MISTRAL, OWN_TEMPLATE])
def test_the_go_template_writes_the_same(source: str) -> None:
    frame = frame_of(ChatTemplate(source, variables=VARIABLES))
    assert frame is not None
    conversations = [[Message("user", "a")], [Message("user", "a"), Message("assistant", "b"), Message("user", "c")]]
    if frame.system is not None:
        conversations += [[Message("system", "s"), *turns] for turns in conversations]
    for turns in conversations:
        assert evaluated(frame.as_go(), turns) == frame.render(turns)
    begun = [Message("user", "a"), Message("assistant", "b")]
    assert evaluated(frame.as_go(), begun) == frame.render(begun).removesuffix(frame.to_question), "an answer goes on"


def test_braces_are_written_as_text() -> None:
    assert '{{ "{{" }}x' in Frame("{{x", "", "", "", None).as_go()


def lines(loaded: LoadedModel, folder: Path) -> list[str]:
    text = write_modelfile(loaded, folder, "model.gguf")
    assert (folder / MODELFILE).read_text("utf-8") == text
    return text.splitlines()


def test_our_own_models(tmp_path: Path) -> None:
    """A base continues, a tuned model answers; tokens are drawn as its run says."""
    base = lines(random_model("llama"), tmp_path)
    assert base[1] == "FROM ./model.gguf"
    assert 'TEMPLATE """{{ .Prompt }}"""' in base
    assert [line for line in base if line.startswith("PARAMETER")] == [
        'PARAMETER stop "<|endoftext|>"',
        "PARAMETER num_ctx 512",
    ]
    tuned = random_model("llama", history=("base", "sft"))
    run = RunConfig.model_validate({"model": tuned.config, "sample": {"temperature": 0, "top_p": 0.9}})
    said = lines(replace(tuned, run_config=run), tmp_path)
    assert f'TEMPLATE """{OWN_FRAME.as_go()}"""' in said
    assert {'PARAMETER stop "<|end|>"', "PARAMETER temperature 0", "PARAMETER top_p 0.9"} <= set(said)
    assert {"PARAMETER top_k 0", "PARAMETER repeat_penalty 1"} <= set(said), "Ollama's own are others"


@pytest.mark.parametrize(("source", "expressed"), [(LLAMA3, True), (NUMBERED, False)])
def test_models_of_others(source: str, expressed: bool, tmp_path: Path) -> None:
    """What goes before every text is left to the file; generation_config.json says how tokens are drawn."""
    folder = foreign.write("llama3", tmp_path / "m")
    (folder / "chat_template.jinja").write_text(source)
    settings: dict[str, Any] = {"eos_token_id": 2, "temperature": 0.6, "do_sample": True, "repetition_penalty": 1.1}
    tokenizer = load_tokenizer(folder)
    settings["eos_token_id"] = [tokenizer.special_ids["</s>"], tokenizer.special_ids["<|im_end|>"]]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    tokenizer = load_tokenizer(folder)
    loaded = loaded_with(tiny(vocab_size=tokenizer.vocab_size), tokenizer, ("base",), folder)
    said = lines(loaded, tmp_path)
    template = [line for line in said if line.startswith("TEMPLATE")]
    assert bool(template) is expressed
    assert any("does more than Ollama" in line for line in said) is not expressed
    if expressed:
        assert "<s>" not in template[0]
    assert {'PARAMETER stop "</s>"', "PARAMETER temperature 0.6", "PARAMETER repeat_penalty 1.1"} <= set(said)
