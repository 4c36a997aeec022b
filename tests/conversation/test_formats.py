"""Every format of a conversation and of a preference, and what is said about records of none."""

import pytest

from mlxllm.conversation import Conversation, Message, Preference, Text
from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_conversation
from mlxllm.conversation.preference_formats import parse_preference


def user(text, **extra):
    return Message("user", text, extra)


def assistant(text, **extra):
    return Message("assistant", text, extra)


def system(text):
    return Message("system", text)


CALL = {"id": "1", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = {"type": "function", "function": {"name": "add"}}

CONVERSATIONS = {
    "messages": (
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "A"},
            ]
        },
        Conversation((system("S"), user("Q"), assistant("A"))),
    ),
    "text parts": (
        {
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Q"}, "R"]},
                {"role": "assistant", "content": "A"},
            ]
        },
        Conversation((user("QR"), assistant("A"))),
    ),
    "tools": (
        {
            "messages": [
                {"role": "user", "content": "Q", "name": "Ann"},
                {"role": "assistant", "tool_calls": [CALL]},
                {"role": "tool", "content": "2", "tool_call_id": "1"},
                {"role": "assistant", "content": "A", "reasoning_content": "hm"},
            ],
            "tools": [TOOL],
        },
        Conversation(
            (
                user("Q", name="Ann"),
                assistant("", tool_calls=[CALL]),
                Message("tool", "2", {"tool_call_id": "1"}),
                assistant("A", reasoning_content="hm"),
            ),
            (TOOL,),
        ),
    ),
    "weights": (
        {"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A", "weight": 0}]},
        Conversation((user("Q"), Message("assistant", "A", trained=False))),
    ),
    "ShareGPT": (
        {"id": "x", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]},
        Conversation((user("Q"), assistant("A"))),
    ),
    "ShareGPT with a system text and tools": (
        {
            "system": "S",
            "tools": '[{"type": "function", "function": {"name": "add"}}]',
            "conversations": [
                {"from": "human", "value": "Q"},
                {"from": "function_call", "value": "{}"},
                {"from": "observation", "value": "2"},
                {"from": "gpt", "value": "A"},
            ],
        },
        Conversation((system("S"), user("Q"), assistant("{}"), Message("tool", "2"), assistant("A")), (TOOL,)),
    ),
    "ShareGPT's key with roles": (
        {"conversations": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]},
        Conversation((user("Q"), assistant("A"))),
    ),
    "Alpaca": (
        {"instruction": "I", "input": "X", "output": "A"},
        Conversation((user("I\n\nX"), assistant("A"))),
    ),
    "Alpaca without input": (
        {"instruction": "I", "input": "", "output": "A"},
        Conversation((user("I"), assistant("A"))),
    ),
    "Alpaca with history": (
        {"instruction": "I", "output": "A", "system": "S", "history": [["q", "a"]]},
        Conversation((system("S"), user("q"), assistant("a"), user("I"), assistant("A"))),
    ),
    "a preference that is Alpaca as well": (
        {"instruction": "I", "output": "A", "chosen": "C", "rejected": "R"},
        Conversation((user("I"), assistant("A"))),
    ),
    "prompt and completion": (
        {"prompt": "P", "completion": " C"},
        Conversation((user("P"), assistant(" C")), prompt_messages=1),
    ),
    "prompt and completion as messages": (
        {
            "prompt": [{"role": "system", "content": "S"}, {"role": "user", "content": "P"}],
            "completion": [{"role": "assistant", "content": "C"}],
        },
        Conversation((system("S"), user("P"), assistant("C")), prompt_messages=2),
    ),
    "text": ({"text": "T", "meta": {}}, Text("T")),
}

PREFERENCES = {
    "explicit": (
        {"prompt": "P", "chosen": "C", "rejected": "R"},
        Preference((user("P"),), (assistant("C"),), (assistant("R"),)),
    ),
    "explicit messages": (
        {
            "prompt": [{"role": "user", "content": "P"}],
            "chosen": [{"role": "assistant", "content": "C"}],
            "rejected": [{"role": "assistant", "content": "R"}],
        },
        Preference((user("P"),), (assistant("C"),), (assistant("R"),)),
    ),
    "implicit messages": (
        {
            "chosen": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "C"}],
            "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "R"}],
        },
        Preference((user("P"),), (assistant("C"),), (assistant("R"),)),
    ),
    "implicit messages of several turns": (
        {
            "chosen": [
                {"role": "user", "content": "P"},
                {"role": "assistant", "content": "same"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "C"},
            ],
            "rejected": [
                {"role": "user", "content": "P"},
                {"role": "assistant", "content": "same"},
                {"role": "user", "content": "Q"},
                {"role": "assistant", "content": "R"},
            ],
        },
        Preference((user("P"), assistant("same"), user("Q")), (assistant("C"),), (assistant("R"),)),
    ),
    "the same messages on both sides": (
        {
            "chosen": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "C"}],
            "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "C"}],
        },
        Preference((user("P"),), (assistant("C"),), (assistant("C"),)),
    ),
    "prompt given twice": (
        {
            "prompt": "P",
            "chosen": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "C"}],
            "rejected": [{"role": "user", "content": "P"}, {"role": "assistant", "content": "R"}],
            "score_chosen": 8.0,
            "score_rejected": 8.0,
        },
        Preference((user("P"),), (assistant("C"),), (assistant("R"),), tied=True),
    ),
    "implicit texts": (
        {"chosen": "The sky is blue.", "rejected": "The sky is black."},
        Preference((user("The sky is"),), (assistant("blue."),), (assistant("black."),)),
    ),
    "Alpaca": (
        {"instruction": "I", "input": "X", "output": "A", "chosen": "C", "rejected": "R"},
        Preference((user("I\n\nX"),), (assistant("C"),), (assistant("R"),)),
    ),
    "ShareGPT": (
        {
            "conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "P"}],
            "chosen": {"from": "gpt", "value": "C"},
            "rejected": {"from": "gpt", "value": "R"},
        },
        Preference((system("S"), user("P")), (assistant("C"),), (assistant("R"),)),
    ),
    "transcripts": (
        {
            "chosen": "\n\nHuman: P\n\nAssistant: a\n\nHuman: Q?\n\nAssistant: C\nmore",
            "rejected": "\n\nHuman: P\n\nAssistant: a\n\nHuman: Q?\n\nAssistant: R",
        },
        Preference((user("P"), assistant("a"), user("Q?")), (assistant("C\nmore"),), (assistant("R"),)),
    ),
    "transcripts with the prompt split off": (
        {"prompt": "\n\nHuman: P\n\nAssistant: a\n\nHuman: Q?\n\nAssistant:", "chosen": " C", "rejected": " R"},
        Preference((user("P"), assistant("a"), user("Q?")), (assistant(" C"),), (assistant(" R"),)),
    ),
    "an empty prompt": (
        {"prompt": " ", "chosen": "C", "rejected": "R"},
        Preference((), (assistant("C"),), (assistant("R"),)),
    ),
}


@pytest.mark.parametrize(("raw", "record"), CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_conversations(raw, record):
    assert parse_conversation(raw, "file:1") == record
    assert parse_conversation(raw, "file:1").where == "file:1"


@pytest.mark.parametrize(("raw", "preference"), PREFERENCES.values(), ids=PREFERENCES.keys())
def test_preferences(raw, preference):
    assert parse_preference(raw, "file:1") == preference


MESSAGE = {"role": "user", "content": "x"}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        ({}, "the record has no keys; known formats are 'messages', 'conversations' (ShareGPT)"),
        ({"question": "x", "answer": "y"}, "no known format has the keys 'question', 'answer'; known are 'messages'"),
        ({f"key{i}": 1 for i in range(20)}, "'key7' and more; known are"),
        ({"instruction": "x"}, "no known format has the keys 'instruction'"),
        ({"chosen": "x", "rejected": "y"}, "this is a preference (the keys 'chosen', 'rejected'), not a conversation"),
        ({"messages": "hello"}, "'messages' is a text, and should be a list of messages"),
        ({"messages": {"role": "user"}}, "'messages' is an object, and should be a list of messages"),
        ({"messages": [MESSAGE, "hello"]}, "messages[1] is a text, and should be an object with role and content"),
        ({"messages": [{"text": "hello"}]}, "messages[0] has the keys 'text'; wanted 'role' and 'content'"),
        ({"messages": [{"role": "pirate", "content": "x"}]}, "messages[0] is said by 'pirate'; known are system, user"),
        ({"messages": [{"role": 7, "content": "x"}]}, "messages[0] is said by 7"),
        ({"messages": [{"role": "user"}]}, "messages[0] has the keys 'role', but no 'content'"),
        ({"messages": [{"role": "user", "content": 5}]}, "'messages[0].content' is a number, and should be a text"),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "half of a surrogate pair at character 0"),
        ({"text": ["a", 5], "x": 1}, "'int'"),
        ({"text": 5}, "'text' is a number, and should be a text"),
        ({"prompt": 5, "completion": "x"}, "'prompt' is a number, and should be a text or a list of messages"),
        ({"instruction": "x", "output": "y", "history": ["a"]}, "'history' is not a list of [question, answer] pairs"),
        ({"messages": [MESSAGE], "tools": "{"}, "'tools' is a text that is not JSON"),
        ({"messages": [MESSAGE], "tools": [1]}, "'tools' is not a list of objects"),
    ],
)
def test_bad_conversations(raw, sentence):
    with pytest.raises((MalformedRecordError, UnusableRecordError)) as caught:
        parse_conversation(raw, "file:1")
    assert sentence in f"{caught.value} {getattr(caught.value, 'detail', '')}"


def test_pictures_cannot_be_learned_from():
    raw = {"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]}
    with pytest.raises(UnusableRecordError) as caught:
        parse_conversation(raw, "file:1")
    assert caught.value.detail == "messages[0].content has a part of type 'image'"


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (
            {"prompt": "P", "completion": "C"},
            "this is a conversation or a text (the keys 'prompt', 'completion'), not a preference; `mlxllm sft`",
        ),
        ({"prompt": "P", "chosen": 5, "rejected": "R"}, "'chosen' is a number"),
        ({"chosen": "Yes.", "rejected": "No."}, "they have no first word in common"),
        ({"chosen": "Same.", "rejected": "Same."}, "identical pair"),
        *(
            (
                {key: "Who?", "chosen": "The C.", "rejected": "The R."},
                f"no known preference format has the keys '{key}'",
            )
            for key in ("question", "input", "query", "context", "system")
        ),
        ({"prompt": None, "chosen": "The C.", "rejected": "The R."}, "null where something should be 'prompt'"),
        ({"chosen": "\n\nHuman: P\n\nAssistant: C", "rejected": "\n\nHuman: Q\n\nAssistant: R"}, "different prompts"),
        (
            {"chosen": "\n\nHuman: P\n\nAssistant: C\n\nHuman: Q", "rejected": "\n\nHuman: P\n\nAssistant: C"},
            "does not end",
        ),
        ({"chosen": [MESSAGE], "rejected": [MESSAGE]}, "they have no first turn in common"),
        ({"chosen": [], "rejected": []}, "they have no first turn in common"),
    ],
)
def test_bad_preferences(raw, sentence):
    with pytest.raises((MalformedRecordError, UnusableRecordError)) as caught:
        parse_preference(raw, "file:1")
    assert sentence in f"{caught.value} {getattr(caught.value, 'detail', '')}"
