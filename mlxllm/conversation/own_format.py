"""The format of our own models: reserved tokens around each turn, put in as ids.

    <|system|>text<|end|><|user|>text<|end|><|assistant|>text<|end|>

A tool's answer is written as a user's turn. Texts are encoded apart from the reserved tokens, so what looks
like one in a text never becomes one.
"""

import hashlib
from collections.abc import Sequence

from mlxllm.conversation.chat_format import ChatFormat, Piece, Pieces, Tools
from mlxllm.conversation.formats import UnusableRecordError
from mlxllm.conversation.records import Conversation, Message, Role
from mlxllm.tokenizer.base import Tokenizer

OWN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'tool' %}{{ '<|user|>' }}{% else %}{{ '<|' + message.role + '|>' }}{% endif %}"
    "{{ message.content + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""The same as a chat template, which exports carry along."""

_HEADERS: dict[Role, str] = {
    "system": "<|system|>",
    "user": "<|user|>",
    "assistant": "<|assistant|>",
    "tool": "<|user|>",
}


class OwnFormat(ChatFormat):
    """Reserved tokens of any of our own tokenizers."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Use the reserved ids of `tokenizer`."""
        self._tokenizer = tokenizer
        self._end = tokenizer.special_ids["<|end|>"]
        self._headers = {role: tokenizer.special_ids[token] for role, token in _HEADERS.items()}

    @property
    def fingerprint(self) -> str:
        """See `ChatFormat`."""
        return hashlib.sha256(f"mlxllm own format\n{OWN_TEMPLATE}\n{self._tokenizer.fingerprint}".encode()).hexdigest()

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """`<|end|>`, and `<|endoftext|>`, which a half-trained model may still write."""
        return (self._end, self._tokenizer.eot_id)

    def generation_prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """See `ChatFormat`."""
        return [*_ids(self._pieces(messages, tools)), self._headers["assistant"]]

    def generation_text(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        """See `ChatFormat`."""
        self._pieces(messages, tools)  # refuses what it has no tokens for
        return "".join(f"{_HEADERS[one.role]}{one.content}<|end|>" for one in messages) + _HEADERS["assistant"]

    def sequences(self, conversation: Conversation) -> list[Pieces]:
        """See `ChatFormat`: always one sequence."""
        return [self._pieces(conversation.messages, conversation.tools)]

    def text_ids(self, text: str) -> list[int]:
        """See `ChatFormat`."""
        return [*self._tokenizer.encode(text), self._tokenizer.eot_id]

    def completion(self, prompt: Sequence[Message], answer: Sequence[Message], tools: Tools = ()) -> list[int]:
        """See `ChatFormat`."""
        return _ids(self._pieces(answer, tools))[1:]

    def _pieces(self, messages: Sequence[Message], tools: Tools) -> Pieces:
        pieces = []
        for number, message in enumerate(messages):
            if tools or message.extra.get("tool_calls"):
                what = "the record offers tools" if tools else f"messages[{number}] calls a tool"
                raise UnusableRecordError("tools, which our own models have no tokens for", what)
            ids = [*self._tokenizer.encode(message.content), self._end]
            pieces.append(Piece([self._headers[message.role]], message.role, message=number))
            pieces.append(Piece(ids, message.role, message.role == "assistant", number))
        return pieces


def _ids(pieces: Pieces) -> list[int]:
    return [i for piece in pieces for i in piece.token_ids]
