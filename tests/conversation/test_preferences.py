"""Preferences as ids: only what the template writes behind the prompt is a completion."""

import numpy as np
import pytest
from hypothesis import given

from mlxllm.conversation import (
    ChatTemplate,
    Message,
    OwnFormat,
    Preference,
    Report,
    TemplateFormat,
    encode_preference,
    pairs,
)
from mlxllm.errors import DataError
from mlxllm.tokenizer import train_tokenizer
from tests.conversation import templates
from tests.conversation.strategies import spelled, turns

BYTES = train_tokenizer("byte", [])
FORMAT = OwnFormat(BYTES)
PROMPT = (Message("user", "Q"),)


def preference(chosen: str = "C", rejected: str = "R", where: str = "", **options) -> Preference:
    answers = (Message("assistant", chosen),), (Message("assistant", rejected),)
    return Preference(options.pop("prompt", PROMPT), *answers, where=where, **options)


def test_ids():
    pair = encode_preference(preference(where="f:1"), FORMAT)
    assert BYTES.decode(pair.prompt_ids) == "<|user|>Q<|end|><|assistant|>"
    assert BYTES.decode(pair.chosen_ids) == "C<|end|>"
    assert BYTES.decode(pair.rejected_ids) == "R<|end|>"
    assert pair.prompt_ids.dtype == pair.chosen_ids.dtype == np.uint32
    assert pair.length == 6
    assert pair.where == "f:1"


def test_all_that_a_template_writes_is_the_completion(byte_level_tokenizer):
    template = ChatTemplate(templates.CLOSED, variables=templates.VARIABLES)
    pair = encode_preference(preference(), TemplateFormat(template, byte_level_tokenizer))
    assert byte_level_tokenizer.decode(pair.prompt_ids.tolist()) == "<|user|>\nQ<|end|>\n<|assistant|>\n"
    assert byte_level_tokenizer.decode(pair.chosen_ids.tolist()) == "C<|end|>\n</s>"


@given(turns(spelled))
def test_a_pair_is_two_conversations_with_the_same_prompt(messages):
    if not messages[-1].content.strip():
        return
    other = messages[-1].content + "!"
    pair = encode_preference(Preference(tuple(messages[:-1]), (messages[-1],), (Message("assistant", other),)), FORMAT)
    assert pair.prompt_ids.tolist() == FORMAT.generation_prompt(messages[:-1])
    assert pair.chosen_ids.tolist() == [*BYTES.encode(messages[-1].content), FORMAT.stop_ids[0]]
    assert pair.rejected_ids.tolist() == [*BYTES.encode(other), FORMAT.stop_ids[0]]


USELESS = [
    (preference("same", "same"), "identical pair"),
    (preference("", "R"), "empty completion"),
    (preference("C", " \n"), "empty completion"),
    (preference(tied=True), "tied pair"),
    (preference("C" * 50), "too long"),
    (preference(prompt=()), "empty prompt"),
    (
        Preference(PROMPT, (Message("user", "C"),), (Message("assistant", "R"),)),
        "an answer that is not the assistant's",
    ),
    (Preference(PROMPT, (), (Message("assistant", "R"),)), "an answer that is not the assistant's"),
]


def test_what_cannot_be_learned_from_is_counted():
    for useless, reason in USELESS:
        report = Report(read=2)
        found = list(pairs([useless, preference()], FORMAT, report, max_seq_len=20))
        assert len(found) == report.used == 1
        assert report.problems.dropped == {reason: 1}


def test_what_is_too_long_says_so():
    report = Report(read=2)
    list(pairs([preference("C" * 50, where="f:7"), preference("C" * 15)], FORMAT, report, max_seq_len=20))
    assert report.sentences() == ["1 record left out: too long (f:7: 55 tokens, and at most 20 fit)"]
    assert len(list(pairs([preference("C" * 50)], FORMAT, Report()))) == 1


def test_no_pair_left_is_an_error():
    report = Report(read=1)
    with pytest.raises(DataError, match=r"none of 1 record can be learned from: 1 x identical pair \(f:1: chosen and"):
        list(pairs([preference("a", "a", "f:1")], FORMAT, report))


def test_a_special_token_in_either_answer_is_noted(byte_level_tokenizer):
    template = ChatTemplate(templates.CHATML)
    report = Report(read=1)
    list(pairs([preference(rejected="</s>", where="f:1")], TemplateFormat(template, byte_level_tokenizer), report))
    assert report.problems.mended == {"a text spells a special token, and becomes one": 1}


def test_answers_of_several_turns():
    calls = {"tool_calls": [{"function": {"name": "f"}}]}
    long = (Message("assistant", "wait"), Message("user", "?"), Message("assistant", "C"))
    pair = encode_preference(Preference(PROMPT, long, (Message("assistant", "R"),)), FORMAT)
    assert BYTES.decode(pair.chosen_ids) == "wait<|end|><|user|>?<|end|><|assistant|>C<|end|>"
    report = Report()
    called = Preference(PROMPT, (Message("assistant", "", calls),), (Message("assistant", "R"),))
    with pytest.raises(DataError, match="tools, which our own models have no tokens for"):
        list(pairs([called], FORMAT, report))
