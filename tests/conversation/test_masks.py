"""What is trained of a record of our own models: every answer and its end token, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxllm.conversation import (
    OWN_TEMPLATE,
    ChatTemplate,
    Conversation,
    Message,
    OwnFormat,
    Report,
    TemplateFormat,
    Text,
    check_train_on,
    encode_record,
    examples,
    fingerprint_of,
)
from mlxllm.errors import ConfigError, DataError
from mlxllm.tokenizer import Tokenizer, train_tokenizer
from tests.conversation.strategies import any_messages, plain, spelled, turns

BYTES = train_tokenizer("byte", [])
FORMAT = OwnFormat(BYTES)
EOT, SYSTEM, USER, ASSISTANT, END = range(5)

TALK = Conversation(
    (
        Message("system", "S"),
        Message("user", "Q1"),
        Message("assistant", "A1"),
        Message("user", "Q2"),
        Message("assistant", "A2"),
    ),
    where="file:1",
)


def trained(example, tokenizer: Tokenizer = BYTES) -> str:
    return tokenizer.decode(example.token_ids[example.loss_mask])


def whole(example, tokenizer: Tokenizer = BYTES) -> str:
    return tokenizer.decode(example.token_ids)


def has_text(messages) -> bool:
    return any(m.content.strip() for m in messages if m.role == "assistant")


def test_by_default_every_answer_and_its_end_token():
    (example,) = encode_record(TALK, FORMAT)
    assert whole(example) == (
        "<|system|>S<|end|><|user|>Q1<|end|><|assistant|>A1<|end|><|user|>Q2<|end|><|assistant|>A2<|end|>"
    )
    assert trained(example) == "A1<|end|>A2<|end|>"
    assert example.token_ids.dtype == np.uint32
    assert example.loss_mask.dtype == np.bool_
    assert [(turn.role, turn.end - turn.start, turn.trained) for turn in example.turns] == [
        ("system", 3, 0),
        ("user", 4, 0),
        ("assistant", 4, 3),
        ("user", 4, 0),
        ("assistant", 4, 3),
    ]
    assert example.trained_tokens == 6
    assert example.where == "file:1"


@pytest.mark.parametrize(
    ("train_on", "text"),
    [
        ("assistant", "A1<|end|>A2<|end|>"),
        ("last", "A2<|end|>"),
        ("completion", "A2<|end|>"),
        ("all", "S<|end|><|user|>Q1<|end|><|assistant|>A1<|end|><|user|>Q2<|end|><|assistant|>A2<|end|>"),
    ],
)
def test_train_on(train_on, text):
    (example,) = encode_record(TALK, FORMAT, train_on)
    assert trained(example) == text


def test_a_completion_begins_where_the_record_says():
    record = Conversation(TALK.messages, prompt_messages=2)
    (example,) = encode_record(record, FORMAT, "completion")
    assert trained(example) == "A1<|end|>A2<|end|>", "neither the user's turn nor a header"
    (example,) = encode_record(record, FORMAT, "last")
    assert trained(example) == "A2<|end|>"


def test_a_turn_behind_the_last_answer_is_not_part_of_the_completion():
    trailing = (*TALK.messages, Message("user", "Thanks"))
    for prompt_messages in (None, 2):
        (example,) = encode_record(Conversation(trailing, prompt_messages=prompt_messages), FORMAT, "completion")
        assert trained(example) == ("A2<|end|>" if prompt_messages is None else "A1<|end|>A2<|end|>")


def test_turns_of_weight_zero_are_read_and_not_learned():
    messages = list(TALK.messages)
    messages[2] = Message("assistant", "A1", trained=False)
    (example,) = encode_record(Conversation(tuple(messages)), FORMAT)
    assert trained(example) == "A2<|end|>"
    messages[4] = Message("assistant", "A2", trained=False)
    weightless = Conversation(tuple(messages))
    for train_on in ("assistant", "last", "completion"):
        (example,) = encode_record(weightless, FORMAT, train_on)
        assert not example.trained_tokens


def test_a_text_is_learned_from_its_second_token_to_its_end():
    for train_on in ("assistant", "last", "completion", "all"):
        (example,) = encode_record(Text("abc<|end|>"), FORMAT, train_on)
        assert whole(example) == "abc<|end|><|endoftext|>"
        assert trained(example) == "bc<|end|><|endoftext|>"
        assert example.token_ids.tolist().count(END) == 0


def test_unknown_train_on():
    assert check_train_on("last") == "last"
    with pytest.raises(ConfigError, match="train-on 'first' is not known; choose assistant, last, all, completion"):
        check_train_on("first")


@given(any_messages)
def test_the_mask_is_exact(messages):
    found = encode_record(Conversation(tuple(messages)), FORMAT)
    if not has_text(messages):
        assert found == []
        return
    (example,) = found
    ids, mask = example.token_ids.tolist(), example.loss_mask.tolist()
    # The reserved ids are those of the turns, whatever the texts spell.
    headers = {"system": SYSTEM, "user": USER, "assistant": ASSISTANT, "tool": USER}
    assert [i for i in ids if i < 5] == [i for m in messages for i in (headers[m.role], END)]
    # Each answer and its end, exactly.
    answers = [[*BYTES.encode(m.content), END] for m in messages if m.role == "assistant"]
    assert [i for i, learned in zip(ids, mask, strict=True) if learned] == [i for a in answers for i in a]
    assert not any(learned for i, learned in zip(ids, mask, strict=True) if i in (SYSTEM, USER, ASSISTANT))
    assert not mask[0]


@given(any_messages)
def test_turns_cover_the_whole_and_count_what_is_trained(messages):
    for train_on in ("assistant", "last", "all", "completion"):
        for example in encode_record(Conversation(tuple(messages)), FORMAT, train_on):
            edges = [(turn.start, turn.end) for turn in example.turns]
            assert [start for start, _ in edges] == [0, *(end for _, end in edges)][: len(edges)]
            assert edges[-1][1] == len(example.token_ids)
            assert sum(turn.trained for turn in example.turns) == example.trained_tokens


@given(any_messages)
def test_chat_asks_with_what_was_trained(messages):
    ids = [i for pieces in FORMAT.sequences(Conversation(tuple(messages))) for p in pieces for i in p.token_ids]
    for number, message in enumerate(messages):
        if message.role == "assistant":
            prompt = FORMAT.generation_prompt(messages[:number])
            answer = FORMAT.completion(messages[:number], [message])
            assert ids[: len(prompt)] == prompt
            assert ids[len(prompt) :][: len(answer)] == answer == [*BYTES.encode(message.content), END]


@given(turns(spelled))
def test_last_and_completion_of_a_dialogue(messages):
    (last,) = encode_record(Conversation(tuple(messages)), FORMAT, "last") or (None,)
    if last is not None:
        assert trained(last) == messages[-1].content + "<|end|>"
        (completion,) = encode_record(Conversation(tuple(messages)), FORMAT, "completion")
        assert (completion.loss_mask == last.loss_mask).all()


@given(turns(plain.filter(lambda text: "<|" not in text)))
def test_our_template_as_exports_carry_it_gives_the_same(own_tokenizer, messages):
    own = OwnFormat(own_tokenizer)
    exported = TemplateFormat(ChatTemplate(OWN_TEMPLATE), own_tokenizer, stop_ids=own.stop_ids)
    assert exported.stop_ids == own.stop_ids
    assert exported.generation_prompt(messages) == own.generation_prompt(messages)
    ours = encode_record(Conversation(tuple(messages)), own)
    theirs = encode_record(Conversation(tuple(messages)), exported)
    assert [(e.token_ids.tolist(), e.loss_mask.tolist()) for e in theirs] == [
        (e.token_ids.tolist(), e.loss_mask.tolist()) for e in ours
    ]


def test_what_cannot_be_trained_on_is_counted():
    blank = Conversation((Message("user", "Q"), Message("assistant", " \n")), where="f:2")
    asked = Conversation((Message("user", "Q"),), where="f:3")
    tools = Conversation((Message("user", "Q"), Message("assistant", "A")), ({"name": "f"},), where="f:4")
    report = Report(read=6)
    found = list(examples([TALK, blank, asked, tools, Text(" ", "f:5"), Text("x", "f:6")], FORMAT, report))
    assert [e.where for e in found] == ["file:1", "f:6"]
    assert report.used == 2
    assert report.dropped == 4
    assert report.sentences() == [
        "3 records left out: nothing to train on (f:2: the answer is empty; f:3: nobody answers: it has user; "
        "f:5: the text is empty)",
        "1 record left out: tools, which our own models have no tokens for (f:4: the record offers tools)",
    ]


def test_answers_of_no_weight_are_told():
    told = Report()
    weightless = Conversation((Message("user", "Q"), Message("assistant", "A", trained=False)), where="f:1")
    with pytest.raises(DataError, match=r"nothing to train on \(f:1: its answers have weight 0\)"):
        list(examples([weightless], FORMAT, told))


def test_no_record_left_is_an_error():
    report = Report(read=1)
    records = [Conversation((Message("user", "Q"),), where="f:3")]
    with pytest.raises(DataError, match=r"^none of 1 record can be learned from: 1 x nothing to train on \(f:3: "):
        list(examples(records, FORMAT, report))
    with pytest.raises(DataError, match=r"^there are no records; give files of conversations"):
        list(examples([], FORMAT, Report()))


def test_fingerprints():
    other = OwnFormat(train_tokenizer("char", ["abc"]))
    assert FORMAT.fingerprint == OwnFormat(train_tokenizer("byte", [])).fingerprint != other.fingerprint
    assert fingerprint_of(FORMAT, {"train_on": "last"}) == fingerprint_of(FORMAT, {"train_on": "last"})
    assert fingerprint_of(FORMAT, {"train_on": "last"}) != fingerprint_of(FORMAT, {"train_on": "all"})
    assert fingerprint_of(FORMAT, {}) != fingerprint_of(other, {})


@given(st.lists(plain, max_size=3))
def test_stop_ids_end_an_answer(texts):
    assert FORMAT.stop_ids == (END, EOT)
    for text in texts:
        assert not set(FORMAT.stop_ids) & set(BYTES.encode(text))
