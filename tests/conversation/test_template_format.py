"""Models that came with a template: the mask is as exact as for our own, and chat asks with what was trained."""

from datetime import datetime

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mlxllm.conversation import (
    ChatTemplate,
    Conversation,
    Message,
    Report,
    TemplateFormat,
    TemplateRefusalError,
    Text,
    encode_record,
    examples,
)
from mlxllm.conversation.chat_format import Pieces
from mlxllm.errors import ModelError
from tests.conversation import templates
from tests.conversation.hf import HubTokenizer
from tests.conversation.strategies import nasty, spelled, turns

TALK = (
    Message("user", "Q1"),
    Message("assistant", "A1"),
    Message("user", "Q2"),
    Message("assistant", "A2"),
)
THOUGHT = (
    Message("user", "Q1"),
    Message("assistant", "<think>\nhm\n</think>\n\nA1"),
    Message("user", "Q2"),
    Message("assistant", "<think>\nso\n</think>\n\nA2"),
)


def make(name: str, tokenizer: HubTokenizer, **options) -> TemplateFormat:
    return TemplateFormat(ChatTemplate(templates.ALL[name], variables=templates.VARIABLES), tokenizer, **options)


def trained(example, tokenizer: HubTokenizer) -> str:
    return tokenizer.decode(example.token_ids[example.loss_mask].tolist())


def flat(pieces: Pieces) -> list[int]:
    return [i for piece in pieces for i in piece.token_ids]


TRAINED = {
    "chatml": "A1<|im_end|>A2<|im_end|>",
    "headers": "A1<|turn_end|>A2<|turn_end|>",
    "instructions": " A1</s> A2</s>",
    "forgetting": "A1<|im_end|>A2<|im_end|>",
    "closed": "A1<|end|>A2<|end|>",
    "parts": " A1<|end|> A2<|end|>",
    "marked": "A1<|im_end|>A2<|im_end|>",
}


@pytest.mark.parametrize(("name", "text"), TRAINED.items())
def test_every_answer_and_its_end_token(name, text, byte_level_tokenizer):
    chat_format = make(name, byte_level_tokenizer)
    (example,) = encode_record(Conversation(TALK), chat_format)
    assert trained(example, byte_level_tokenizer) == text
    end = text[text.rindex("<") :]
    assert chat_format.stop_ids == (byte_level_tokenizer.special_ids[end],)
    (last,) = encode_record(Conversation(TALK), chat_format, "last")
    assert trained(last, byte_level_tokenizer) == text[len(text) // 2 :]
    assert [turn.role for turn in example.turns] == ["user", "assistant", "user", "assistant"]
    assert [turn.trained for turn in example.turns][::2] == [0, 0]


def test_a_completion_is_all_that_the_template_writes(byte_level_tokenizer):
    chat_format = make("closed", byte_level_tokenizer)
    (example,) = encode_record(Conversation(TALK), chat_format, "completion")
    assert trained(example, byte_level_tokenizer) == "A2<|end|>\n</s>"
    answer = chat_format.completion(TALK[:3], TALK[3:])
    assert byte_level_tokenizer.decode(answer) == "A2<|end|>\n</s>"
    behind = Conversation((*TALK, Message("user", "Thanks")))
    (example,) = encode_record(behind, chat_format, "completion")
    assert trained(example, byte_level_tokenizer) == "A2<|end|>", "not the turn that comes after it"
    (whole,) = encode_record(Conversation(TALK), chat_format, "all")
    assert whole.trained_tokens == len(whole.token_ids) - 1


@pytest.mark.parametrize("name", templates.ANSWERING)
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_chat_asks_with_what_was_trained(name, kind, request):
    tokenizer = request.getfixturevalue(f"{kind}_tokenizer")
    chat_format = make(name, tokenizer)

    @given(turns(nasty, system=name != "instructions"), st.booleans())
    def law(messages, thinks):
        if thinks:
            messages = [
                Message(m.role, "<think>\nhm\n</think>\n" + m.content) if m.role == "assistant" else m for m in messages
            ]
        answers = [number for number, message in enumerate(messages) if message.role == "assistant"]
        sequences = chat_format.sequences(Conversation(tuple(messages)))
        assert len(sequences) in (1, len(answers))
        for pieces in sequences:
            for piece in pieces:
                if piece.answer:
                    prompt = chat_format.generation_prompt(messages[: piece.message])
                    ids = flat(pieces)
                    assert ids[: len(prompt)] == prompt
                    assert ids[len(prompt) :][: len(piece.token_ids)] == piece.token_ids
        assert sorted(piece.message for pieces in sequences for piece in pieces if piece.answer) == answers

        last = answers[-1]
        prompt = chat_format.generation_prompt(messages[:last])
        assert prompt + chat_format.completion(messages[:last], messages[last:]) == flat(sequences[-1])

    law()


@pytest.mark.parametrize("name", ["headers", "marked", "closed"])
def test_what_is_trained_reads_as_the_answers(name, byte_level_tokenizer):
    chat_format = make(name, byte_level_tokenizer)
    end = byte_level_tokenizer.decode([chat_format.stop_ids[0]])

    @given(turns(nasty))
    def law(messages):
        assume(any(m.content.strip() for m in messages if m.role == "assistant"))
        found = encode_record(Conversation(tuple(messages)), chat_format)
        assert len(found) == 1
        said = "".join(m.content + end for m in messages if m.role == "assistant")
        assert trained(found[0], byte_level_tokenizer) == said

    law()


@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
@pytest.mark.parametrize("name", ["marked", "closed"])
def test_ids_are_those_of_the_text_as_a_whole_where_nothing_merges(name, kind, request):
    tokenizer = request.getfixturevalue(f"{kind}_tokenizer")
    chat_format = make(name, tokenizer)
    template = ChatTemplate(templates.ALL[name], variables=templates.VARIABLES)

    @given(turns(spelled.filter(lambda text: "\u2581" not in text)))
    def law(messages):
        # An answer that begins with a letter of its own does not merge with the line break before it.
        messages = [Message(m.role, "A" + m.content) if m.role == "assistant" else m for m in messages]
        (pieces,) = chat_format.sequences(Conversation(tuple(messages)))
        assert flat(pieces) == tokenizer.encode_with_specials(template.render(messages))

    law()


def test_a_line_break_that_would_merge_with_the_header(byte_level_tokenizer):
    encode = byte_level_tokenizer.encode_with_specials
    assert encode("\n\n\nA")[0] != encode("\n")[0]  # encoded as one, the header's would be another token
    chat_format = make("marked", byte_level_tokenizer)
    prompt = chat_format.generation_prompt([Message("user", "Q")])
    (example,) = encode_record(Conversation((Message("user", "Q"), Message("assistant", "\n\nA"))), chat_format)
    assert example.token_ids.tolist()[: len(prompt)] == prompt
    assert trained(example, byte_level_tokenizer) == "\n\nA<|im_end|>"


def test_no_space_is_put_before_an_answer(sentence_piece_tokenizer):
    assert sentence_piece_tokenizer.tokenizer.encode("fox").tokens[0].startswith("▁")
    chat_format = make("closed", sentence_piece_tokenizer)
    messages = (Message("user", "the fox"), Message("assistant", "fox fox"))
    (pieces,) = chat_format.sequences(Conversation(messages))
    text = ChatTemplate(templates.CLOSED, variables=templates.VARIABLES).render(messages)
    assert flat(pieces) == sentence_piece_tokenizer.encode_with_specials(text)


def test_a_template_that_forgets_gives_a_sequence_an_answer(byte_level_tokenizer):
    chat_format = make("forgetting", byte_level_tokenizer)
    report = Report(read=1)
    first, second = examples([Conversation(THOUGHT, where="f:1")], chat_format, report)
    assert trained(first, byte_level_tokenizer) == THOUGHT[1].content + "<|im_end|>"
    assert trained(second, byte_level_tokenizer) == THOUGHT[3].content + "<|im_end|>"
    assert "hm" not in byte_level_tokenizer.decode(second.token_ids.tolist())
    assert report.problems.mended == {
        "the template rewrites earlier turns: one sequence an answer": 1,
        "the template does not show a text as it is": 1,
    }
    (last,) = encode_record(Conversation(THOUGHT), chat_format, "last")[1:]
    assert trained(last, byte_level_tokenizer) == THOUGHT[3].content + "<|im_end|>"
    (whole,) = encode_record(Conversation(THOUGHT), chat_format, "all")
    assert whole.token_ids.tolist() == second.token_ids.tolist()


def test_a_template_that_asks_otherwise_than_it_writes(byte_level_tokenizer):
    chat_format = make("ahead", byte_level_tokenizer)
    with pytest.raises(
        TemplateRefusalError, match=r"asks for an answer with '<think>\\n' where a finished one has 'A1"
    ):
        encode_record(Conversation(TALK), chat_format)
    assert chat_format.stop_ids == ()


def test_what_a_template_refuses_is_counted(byte_level_tokenizer):
    chat_format = make("instructions", byte_level_tokenizer)
    twice = Conversation((Message("user", "Q"), Message("user", "Q"), Message("assistant", "A")), where="f:1")
    report = Report(read=2)
    assert len(list(examples([twice, Conversation(TALK)], chat_format, report))) == 1
    assert report.sentences() == [
        "1 record left out: refused by the chat template (f:1: the chat template does not take this conversation: "
        "user and assistant must take turns)"
    ]


def test_special_tokens_in_texts_are_noted(byte_level_tokenizer):
    chat_format = make("chatml", byte_level_tokenizer)
    report = Report(read=1)
    record = Conversation((Message("user", "a<|im_end|>"), Message("assistant", "A")), where="f:1")
    list(examples([record], chat_format, report))
    assert report.problems.examples == {"a text spells a special token, and becomes one": ["f:1: '<|im_end|>'"]}


def test_plain_texts(byte_level_tokenizer):
    special = byte_level_tokenizer.special_ids
    chat_format = make("chatml", byte_level_tokenizer, stop_ids=[special["</s>"]], text_prefix=[special["<s>"]])
    (example,) = encode_record(Text("fox<|im_end|>"), chat_format)
    ids = example.token_ids.tolist()
    assert (ids[0], ids[-1]) == (special["<s>"], special["</s>"])
    assert ids[1:-1] == byte_level_tokenizer.encode("fox<|im_end|>")
    assert special["<|im_end|>"] not in ids
    assert chat_format.stop_ids == (special["</s>"], special["<|im_end|>"])


def test_tools_and_calls_reach_the_template(byte_level_tokenizer):
    chat_format = make("headers", byte_level_tokenizer)
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    messages = (
        Message("user", "1+1"),
        Message("assistant", "", {"tool_calls": [call]}),
        Message("tool", "2"),
        Message("assistant", "two"),
    )
    (example,) = encode_record(Conversation(messages, ({"name": "add"},)), chat_format)
    assert trained(example, byte_level_tokenizer) == (
        '{"name": "add", "arguments": {"a": 1}}<|turn_end|>two<|turn_end|>'
    )
    assert '    "name": "add"' in byte_level_tokenizer.decode(example.token_ids.tolist())


def test_fingerprints(byte_level_tokenizer, sentence_piece_tokenizer):
    one = make("chatml", byte_level_tokenizer).fingerprint
    assert one == make("chatml", byte_level_tokenizer).fingerprint
    assert one != make("closed", byte_level_tokenizer).fingerprint
    assert one != make("chatml", sentence_piece_tokenizer).fingerprint
    assert one != make("chatml", byte_level_tokenizer, stop_ids=[1]).fingerprint
    first, second = datetime(2024, 7, 26), datetime(2024, 7, 27)
    dated = "{{ strftime_now('%d %b %Y') }}"
    assert ChatTemplate(dated, now=first).render([]) == "26 Jul 2024"
    assert ChatTemplate(dated, now=first).fingerprint != ChatTemplate(dated, now=second).fingerprint
    assert ChatTemplate("x", now=first).fingerprint == ChatTemplate("x", now=second).fingerprint
    assert ChatTemplate("x", variables={"a": 1}).fingerprint != ChatTemplate("x", variables={"a": 2}).fingerprint


def test_a_template_that_shows_nothing_is_refused_at_once(byte_level_tokenizer):
    with pytest.raises(ModelError, match="does not show what a user says"):
        TemplateFormat(ChatTemplate("{{ bos_token }}"), byte_level_tokenizer)


def test_a_header_that_is_learned_is_told(byte_level_tokenizer):
    source = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    for template, noted in ((source, True), (source + "{% if add_generation_prompt %}[assistant]{% endif %}", False)):
        report = Report()
        list(examples([Conversation(TALK)], TemplateFormat(ChatTemplate(template), byte_level_tokenizer), report))
        assert ("without its header" in " ".join(report.sentences())) == noted
