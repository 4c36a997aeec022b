"""The formats of preferences, told by their keys: raw record to `Preference`."""

import re
from collections.abc import Mapping
from typing import Any

from mlxllm.conversation.formats import (
    MalformedRecordError,
    UnknownFormatError,
    UnusableRecordError,
    alpaca_prompt,
    parse_conversation,
    parse_messages,
    parse_side,
    parse_tools,
    shown_keys,
    system_message,
    text_of,
)
from mlxllm.conversation.records import Message, Preference

KNOWN = (
    "'prompt', 'chosen' and 'rejected' (TRL; 'prompt' may be absent where both begin with it), 'instruction', "
    "'chosen' and 'rejected' (Alpaca), 'conversations', 'chosen' and 'rejected' (ShareGPT), or 'chosen' and "
    "'rejected' as transcripts with 'Human:' and 'Assistant:' (hh-rlhf)"
)

_TURN = re.compile(r"\n\n(Human|Assistant):")
_SCORES = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
    ("chosen-rating", "rejected-rating"),
)

_PROMPTS = frozenset(("question", "input", "query", "messages", "context", "system"))
"""Keys under which other sets have what was asked."""

Messages = tuple[Message, ...]


def parse_preference(raw: Mapping[str, Any], where: str) -> Preference:
    """The preference of a raw record; a null is as if its key were not there, but for `prompt`.

    Raises:
        MalformedRecordError: no format has these keys, or a value is of the wrong kind.
        UnusableRecordError: the two sides do not answer the same prompt, or there is none.
    """
    no_prompt = raw.get("prompt", "") is None
    raw = {key: value for key, value in raw.items() if value is not None}
    if "chosen" not in raw or "rejected" not in raw:
        if _is_conversation(raw, where):
            raise MalformedRecordError(
                f"this is a conversation or a text ({shown_keys(raw)}), not a preference; `mlxllm sft` learns from those"
            )
        if not raw:
            raise UnknownFormatError(f"the record has no keys; known preference formats are {KNOWN}")
        raise UnknownFormatError(f"no known preference format has {shown_keys(raw)}; known are {KNOWN}")
    chosen, rejected = raw["chosen"], raw["rejected"]
    if "conversations" in raw:
        prompt = (*system_message(raw), *parse_messages(raw["conversations"], "conversations"))
        sides = _answers(chosen, rejected)
    elif "instruction" in raw:
        prompt = alpaca_prompt(raw)
        sides = _answers(chosen, rejected)
    elif "prompt" in raw and not _begins_with_prompt(chosen):
        prompt = (*system_message(raw), *_prompt(raw["prompt"]))
        sides = _answers(chosen, rejected)
    elif isinstance(chosen, str) and isinstance(rejected, str):
        both = text_of(chosen, "chosen"), text_of(rejected, "rejected")
        if all(map(_is_transcript, both)):
            prompt, *sides = _transcripts(*both)
        elif no_prompt:
            raise UnusableRecordError("null where something should be", "'prompt'")
        elif _PROMPTS & raw.keys():  # the words that both sides begin with are not what was asked
            raise UnknownFormatError(f"no known preference format has {shown_keys(raw)}; known are {KNOWN}")
        else:
            prompt, *sides = _common_text(*both)
    else:
        prompt, *sides = _common_turns(parse_messages(chosen, "chosen"), parse_messages(rejected, "rejected"))
    return Preference(prompt, sides[0], sides[1], parse_tools(raw), _is_tied(raw), where)


def _is_conversation(raw: Mapping[str, Any], where: str) -> bool:
    try:
        parse_conversation(raw, where)
    except MalformedRecordError:
        return False
    except UnusableRecordError:
        pass
    return True


def _prompt(value: Any) -> Messages:
    """What was asked; nothing where it is an empty text."""
    if isinstance(value, str):
        if not value.strip():
            return ()
        if _is_transcript(value) and value.rstrip().endswith("Assistant:"):
            return _split_transcript(value)[0]
    return parse_side(value, "prompt", "user")


def _answers(chosen: Any, rejected: Any) -> list[Messages]:
    return [parse_side(chosen, "chosen", "assistant"), parse_side(rejected, "rejected", "assistant")]


def _begins_with_prompt(side: Any) -> bool:
    """Some sets (ultrafeedback_binarized) give the prompt apart and again at the beginning of both sides."""
    if not isinstance(side, list) or len(side) < 2:
        return False
    return parse_messages(side[:1], "chosen")[0].role != "assistant"


def _is_transcript(text: str) -> bool:
    return bool(_TURN.search("\n\n" + text.lstrip("\n"))) and "\n\nAssistant:" in text


def _transcripts(chosen: str, rejected: str) -> tuple[Messages, Messages, Messages]:
    """hh-rlhf: whole dialogues, of which all but the last answer should be the same."""
    (prompt, good), (other, bad) = _split_transcript(chosen), _split_transcript(rejected)
    if prompt != other:
        raise UnusableRecordError("the two sides answer different prompts")
    return prompt, good, bad


def _split_transcript(text: str) -> tuple[Messages, Messages]:
    before, *parts = _TURN.split("\n\n" + text.lstrip("\n"))
    if before.strip() or parts[-2] != "Assistant":
        what = "begins with neither 'Human:' nor 'Assistant:'" if before.strip() else "does not end with an answer"
        raise UnusableRecordError("a transcript that is not question and answer", f"it {what}")
    turns = tuple(
        Message("user" if speaker == "Human" else "assistant", said.strip())
        for speaker, said in zip(parts[::2], parts[1::2], strict=True)
    )
    return turns[:-1], turns[-1:]


def _common_turns(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """TRL's implicit prompt: the turns that both sides begin with, up to where an assistant speaks."""
    shared = 0
    while shared < min(len(chosen), len(rejected)) and chosen[shared] == rejected[shared]:
        shared += 1
    shared = min(shared, len(chosen) - 1, len(rejected) - 1)
    while shared > 0 and not chosen[shared].role == rejected[shared].role == "assistant":
        shared -= 1
    if shared <= 0:
        raise UnusableRecordError("the two sides answer different prompts", "they have no first turn in common")
    return chosen[:shared], chosen[shared:], rejected[shared:]


def _common_text(chosen: str, rejected: str) -> tuple[Messages, Messages, Messages]:
    """TRL's implicit prompt as text: the words that both sides begin with."""
    shared = next((i for i, (a, b) in enumerate(zip(chosen, rejected, strict=False)) if a != b), None)
    shared = min(len(chosen), len(rejected)) if shared is None else shared
    if shared < max(len(chosen), len(rejected)):
        # A prompt ends with a word, not within one.
        while shared > 0 and not chosen[shared - 1].isspace():
            shared -= 1
    prompt = chosen[:shared].rstrip()
    if not prompt or chosen == rejected:
        reason = "identical pair" if chosen == rejected else "the two sides answer different prompts"
        why = "they have no first word in common, and there is no 'prompt'"
        raise UnusableRecordError(reason, "" if chosen == rejected else why)
    sides = [(Message("assistant", side[shared:].strip()),) for side in (chosen, rejected)]
    return (Message("user", prompt),), sides[0], sides[1]


def _is_tied(raw: Mapping[str, Any]) -> bool:
    if raw.get("tie") is True or raw.get("tied") is True:
        return True
    return any(isinstance(raw.get(a), int | float) and raw.get(a) == raw.get(b) for a, b in _SCORES)
