"""The formats of conversations, told by their keys: raw record to `Conversation` or `Text`."""

import json
from collections.abc import Mapping
from typing import Any

from mlxllm.conversation.records import Conversation, Message, Record, Role, Text

KNOWN = (
    "'messages', 'conversations' (ShareGPT), 'instruction' and 'output' (Alpaca), 'prompt' and 'completion', or 'text'"
)

_SPEAKERS: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bard", "bing", "model", "bot", "function_call"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation", "function_response", "tool_response", "ipython"), "tool"),
}
_READ_KEYS = frozenset("role from content value weight".split())


class MalformedRecordError(Exception):
    """A record that is not what any format says; the file has to be mended."""


class UnknownFormatError(MalformedRecordError):
    """No format has the keys of a record."""


class UnusableRecordError(Exception):
    """A well-formed record from which nothing can be learned; it is counted and left out."""

    def __init__(self, reason: str, detail: str = "") -> None:
        """Give the reason in the words of the report, and what is special about this record."""
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def parse_conversation(raw: Mapping[str, Any], where: str) -> Record:
    """The conversation or text of a raw record; a null is as if its key were not there.

    Raises:
        MalformedRecordError: no format has these keys, or a value is of the wrong kind.
    """
    raw = {key: value for key, value in raw.items() if value is not None}
    if "chosen" in raw and "rejected" in raw and not ("instruction" in raw and "output" in raw):
        raise MalformedRecordError(
            f"this is a preference ({shown_keys(raw)}), not a conversation; `mlxllm dpo` learns from those"
        )
    tools = parse_tools(raw)
    if "messages" in raw:
        return Conversation(parse_messages(raw["messages"], "messages"), tools, where=where)
    if "conversations" in raw:
        messages = (*system_message(raw), *parse_messages(raw["conversations"], "conversations"))
        return Conversation(messages, tools, where=where)
    if "instruction" in raw and "output" in raw:
        answer = Message("assistant", text_of(raw["output"], "output"))
        return Conversation((*alpaca_prompt(raw), answer), tools, where=where)
    if "prompt" in raw and "completion" in raw:
        prompt = parse_side(raw["prompt"], "prompt", "user")
        completion = parse_side(raw["completion"], "completion", "assistant")
        return Conversation((*prompt, *completion), tools, prompt_messages=len(prompt), where=where)
    if "text" in raw:
        return Text(text_of(raw["text"], "text"), where)
    if not raw:
        raise UnknownFormatError(f"the record has no keys; known formats are {KNOWN}")
    raise UnknownFormatError(f"no known format has {shown_keys(raw)}; known are {KNOWN}")


def alpaca_prompt(raw: Mapping[str, Any]) -> tuple[Message, ...]:
    """`instruction` and `input` as one user turn, after `system` and the pairs of `history` if there are any."""
    earlier: list[Message] = []
    history = raw.get("history", [])
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise MalformedRecordError("'history' is not a list of [question, answer] pairs")
    for question, answer in history:
        earlier.append(Message("user", text_of(question, "history")))
        earlier.append(Message("assistant", text_of(answer, "history")))
    parts = [text_of(raw["instruction"], "instruction"), text_of(raw.get("input", ""), "input")]
    question = "\n\n".join(part for part in parts if part.strip())
    return (*system_message(raw), *earlier, Message("user", question))


def system_message(raw: Mapping[str, Any]) -> tuple[Message, ...]:
    """The record's `system` text as a turn; none where there is none."""
    system = text_of(raw.get("system", ""), "system")
    return (Message("system", system),) if system.strip() else ()


def parse_side(value: Any, key: str, role: Role) -> tuple[Message, ...]:
    """A text, one message or a list of messages; a text is what `role` says."""
    if isinstance(value, str):
        return (Message(role, text_of(value, key)),)
    if not isinstance(value, dict | list):
        raise MalformedRecordError(f"{key!r} is {kind_of(value)}, and should be a text or a list of messages")
    return parse_messages([value] if isinstance(value, dict) else value, key)


def parse_messages(value: Any, key: str) -> tuple[Message, ...]:
    """A list of `{role, content}` or `{from, value}`.

    Raises:
        MalformedRecordError: it is not; the message says which item and why.
    """
    if isinstance(value, str):  # some exports keep the list as a JSON string
        try:
            value = json.loads(value)
        except ValueError:
            raise MalformedRecordError(f"{key!r} is a text, and should be a list of messages") from None
    if not isinstance(value, list):
        raise MalformedRecordError(f"{key!r} is {kind_of(value)}, and should be a list of messages")
    return tuple(_message(item, f"{key}[{number}]") for number, item in enumerate(value))


def parse_tools(raw: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """The record's `tools`: a list of JSON schemas, or the same as a JSON string."""
    tools = raw.get("tools") or []
    if isinstance(tools, str):
        try:
            tools = json.loads(tools) if tools.strip() else []
        except ValueError:
            raise MalformedRecordError("'tools' is a text that is not JSON") from None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise MalformedRecordError("'tools' is not a list of objects")
    return tuple(_plain(tool) for tool in tools)


def text_of(value: Any, key: str) -> str:
    """A text, or the texts of a list of text parts joined.

    Raises:
        MalformedRecordError: it is something else, or holds half a character.
        UnusableRecordError: it has parts that are no text (images, sounds).
    """
    if isinstance(value, list):
        value = "".join(_part(part, key) for part in value)
    if not isinstance(value, str):
        raise MalformedRecordError(f"{key!r} is {kind_of(value)}, and should be a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise MalformedRecordError(
                f"{key!r} holds half of a surrogate pair at character {error.start:,}, which is no text"
            ) from None
    return value


def kind_of(value: Any) -> str:
    """What a value of a record is, for a message: "a number", "a list"."""
    kinds: dict[type, str] = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return kinds.get(type(value), f"of the type {type(value).__name__}")


def shown_keys(raw: Mapping[str, Any]) -> str:
    """The keys of a record, for a message."""
    keys = ", ".join(repr(key) for key in list(raw)[:8])
    return f"the keys {keys}{' and more' if len(raw) > 8 else ''}" if keys else "no keys"


def _message(item: Any, place: str) -> Message:
    if not isinstance(item, dict):
        raise MalformedRecordError(f"{place} is {kind_of(item)}, and should be an object with role and content")
    speaker = item.get("role", item.get("from"))
    if speaker is None:
        raise MalformedRecordError(
            f"{place} has {shown_keys(item)}; wanted 'role' and 'content', or 'from' and 'value'"
        )
    role = _SPEAKERS.get(speaker.lower()) if isinstance(speaker, str) else None
    if role is None:
        raise MalformedRecordError(
            f"{place} is said by {speaker!r}; known are system, user (human), assistant (gpt) and tool"
        )
    extra = {key: _plain(value) for key, value in item.items() if key not in _READ_KEYS and value is not None}
    content = item.get("content", item.get("value"))
    if content is None:
        if not extra.get("tool_calls"):
            raise MalformedRecordError(f"{place} has {shown_keys(item)}, but no 'content'")
        content = ""
    return Message(role, text_of(content, f"{place}.content"), extra, trained=item.get("weight", 1) != 0)


def _part(part: Any, key: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, dict) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type", "unknown") if isinstance(part, dict) else type(part).__name__
    raise UnusableRecordError("content that is no text", f"{key} has a part of type {kind!r}")


def _plain(value: Any) -> Any:
    """The same in types that JSON has: parquet also holds dates and bytes."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
