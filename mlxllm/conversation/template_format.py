"""The format of a model that came with a chat template: rendered as text, then encoded with its special tokens.

Where an answer stands in the text is found by rendering: with P the conversation before it and a generation
prompt, and U the conversation up to and with it, U begins with P and what follows is the answer. If the whole
text begins with every U, one sequence holds all answers; otherwise the template rewrites what came before, and
each answer gets a sequence of its own.
"""

import hashlib
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from mlxllm.conversation.chat_format import ChatFormat, Piece, Pieces, Tools
from mlxllm.conversation.records import Conversation, Message
from mlxllm.conversation.template import ChatTemplate, TemplateRefusalError
from mlxllm.errors import DataError, ModelError


class ChatTokenizer(Protocol):
    """What a tokenizer has to offer to be used with a template: a loaded tokenizer.json does."""

    @property
    def fingerprint(self) -> str:
        """Tells two tokenizers with different ids apart."""

    @property
    def special_ids(self) -> Mapping[str, int]:
        """Spelling -> id of every special token."""

    def encode(self, text: str) -> list[int]:
        """The ids of raw text: a special token's spelling is text like any other. Nothing is added."""

    def encode_with_specials(self, text: str) -> list[int]:
        """The ids of a rendered template: special tokens' spellings become their ids. Nothing is added."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens spelled out."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """Where an assistant's turn stands: text before it, and text up to its end."""

    message: int
    prompt: str
    upto: str


class TemplateFormat(ChatFormat):
    """A template and its tokenizer."""

    def __init__(
        self,
        template: ChatTemplate,
        tokenizer: ChatTokenizer,
        *,
        stop_ids: Sequence[int] = (),
        text_prefix: Sequence[int] = (),
    ) -> None:
        """Look once at how the template shows what is said, asks for an answer and ends one.

        Args:
            template: the template, with its variables.
            tokenizer: the tokenizer that the template was written for.
            stop_ids: ids that end a text, as the model's configuration names them (`eos_token_id`).
            text_prefix: ids that a plain text begins with (`<s>`), for models that were trained so.

        Raises:
            ModelError: the template shows nothing of what is said.
        """
        self._template, self._tokenizer = template, tokenizer
        self._special = frozenset(tokenizer.special_ids.values())
        spellings = sorted(tokenizer.special_ids, key=len, reverse=True)
        self._special_text = re.compile("|".join(map(re.escape, spellings)) or "(?!)")
        self._text_prefix = list(text_prefix)
        self._eos = list(stop_ids[:1])
        self._stop_ids = tuple(stop_ids)
        self._stop_ids = tuple(dict.fromkeys([*stop_ids, *self._probed_end()]))
        self._learns_header = self._probed_header()

    @property
    def fingerprint(self) -> str:
        """See `ChatFormat`."""
        parts = f"{self._template.fingerprint}\n{self._tokenizer.fingerprint}\n{self._text_prefix}\n{self._eos}"
        return hashlib.sha256(b"mlxllm template format\n" + parts.encode()).hexdigest()

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """What the model's configuration names, and what the template ends an answer with."""
        return self._stop_ids

    def generation_prompt(self, messages: Sequence[Message], tools: Tools = ()) -> list[int]:
        """See `ChatFormat`."""
        prompt = self._template.render(messages, tools, add_generation_prompt=True)
        return self._encoded(prompt, self._cuts(self._answers(messages, tools), prompt))[0]

    def generation_text(self, messages: Sequence[Message], tools: Tools = ()) -> str:
        """See `ChatFormat`."""
        return self._template.render(messages, tools, add_generation_prompt=True)

    def sequences(self, conversation: Conversation) -> list[Pieces]:
        """See `ChatFormat`."""
        messages, tools = conversation.messages, conversation.tools
        answers = self._answers(messages, tools)
        for answer in answers:
            self._check(answer)
        whole = self._template.render(messages, tools)
        roles = [message.role for message in messages]
        if all(self._end_in(whole, answer) is not None for answer in answers):
            return [self._pieces(whole, answers, answers, roles)]
        # Each answer after what came before it, as it looked when it was written.
        return [self._pieces(answer.upto, answers, [answer], roles) for answer in answers]

    def text_ids(self, text: str) -> list[int]:
        """See `ChatFormat`."""
        return [*self._text_prefix, *self._tokenizer.encode(text), *self._eos]

    def completion(self, prompt: Sequence[Message], answer: Sequence[Message], tools: Tools = ()) -> list[int]:
        """See `ChatFormat`."""
        before = self._template.render(prompt, tools, add_generation_prompt=True)
        whole = self._template.render([*prompt, *answer], tools)
        self._check(_Answer(len(prompt), before, whole))
        ids, starts = self._encoded(whole, [*self._cuts(self._answers(prompt, tools), before), len(before)])
        return ids[starts[-1] :]

    def notes(self, messages: Sequence[Message]) -> list[tuple[str, str]]:
        """Texts that spell a special token, which becomes one, and texts that the template leaves out or changes."""
        found = []
        if self._learns_header and any(message.role == "assistant" for message in messages):
            found.append(("the template asks for an answer without its header, which is learned with it", ""))
        for message in messages:
            if spelled := self._special_text.search(message.content):
                found.append(("a text spells a special token, and becomes one", repr(spelled[0])))
                break
        try:
            whole = self._template.render(messages)
        except TemplateRefusalError:
            return found
        hidden = [message.role for message in messages if message.content.strip() not in whole]
        if hidden:
            found.append(("the template does not show a text as it is", f"said by {hidden[0]}"))
        return found

    def _answers(self, messages: Sequence[Message], tools: Tools) -> list[_Answer]:
        found = []
        for number, message in enumerate(messages):
            if message.role == "assistant":
                prompt = self._template.render(messages[:number], tools, add_generation_prompt=True)
                upto = self._template.render(messages[: number + 1], tools)
                found.append(_Answer(number, prompt, upto))
        return found

    def _check(self, answer: _Answer) -> None:
        if answer.upto.startswith(answer.prompt):
            return
        shared = _shared(answer.prompt, answer.upto)
        raise TemplateRefusalError(
            f"the chat template asks for an answer with {answer.prompt[shared : shared + 40]!r} where a finished one "
            f"has {answer.upto[shared : shared + 40]!r}, so what is trained would not be what chat asks for; set the "
            f"template's variables (enable_thinking) or take another template"
        )

    def _pieces(self, text: str, known: Sequence[_Answer], answers: Sequence[_Answer], roles: Sequence[str]) -> Pieces:
        """`text` in pieces, of which those of `answers` are answers; all of `known` are places to cut at."""
        spans = [(len(a.prompt), self._end_in(text, a) or len(text), a.message) for a in answers]
        cuts = self._cuts(known, text)
        ids, starts = self._encoded(text, cuts)
        at = dict(zip([0, *cuts, len(text)], [0, *starts, len(ids)], strict=True))
        pieces: Pieces = []
        begin = turn = 0
        for start, end, message in spans:
            if at[start] > begin:
                # The header of the answer is here as well; where no other turn is, it is the answer's own.
                who = ", ".join(dict.fromkeys(roles[turn:message])) or roles[message]
                pieces.append(Piece(ids[begin : at[start]], who, message=message - (turn < message)))
            said = ids[at[start] : at[end]]
            last = self._end_of(said)
            pieces.append(Piece(said[:last], roles[message], True, message))
            if said[last:]:
                pieces.append(Piece(said[last:], roles[message], message=message))
            begin, turn = at[end], message + 1
        if ids[begin:]:
            who = ", ".join(dict.fromkeys(roles[turn:])) or roles[-1]
            pieces.append(Piece(ids[begin:], who, message=len(roles) - 1))
        return pieces

    def _cuts(self, answers: Sequence[_Answer], text: str) -> list[int]:
        """Characters where an answer begins or ends in `text`, as far as it begins with what the answer does."""
        cuts: set[int] = set()
        for answer in answers:
            if text.startswith(answer.prompt):
                cuts |= {len(answer.prompt), self._end_in(text, answer) or 0}
        return sorted(cuts - {0, len(text)})

    def _end_in(self, text: str, answer: _Answer) -> int | None:
        """Where `answer` ends in `text`; None if it does not stand there as it was written.

        A template may close the whole text with a token of its own. Then the answer ends with the last special
        token that both have in common, if only such closing comes after it.
        """
        if text.startswith(answer.upto):
            return len(answer.upto)
        start = len(answer.prompt)
        if not text.startswith(answer.prompt):
            return None
        shared = _shared(answer.upto, text)
        ends = [m.end() for m in self._special_text.finditer(answer.upto, start) if m.end() <= shared]
        if not ends or self._special_text.sub("", answer.upto[ends[-1] :]).strip():
            return None
        return ends[-1]

    def _encoded(self, text: str, cuts: Sequence[int]) -> tuple[list[int], list[int]]:
        """The ids of `text`, and where in them each cut is; no token reaches across a cut.

        In chat the text before a cut is encoded without what follows. Nearly always the same ids come out;
        where they do not (an answer that begins with a line break, after a header that ends with one), what
        follows is encoded on its own, in training as in chat. Each step looks only at what is before it, so the
        ids of a beginning are the beginning of the ids.
        """
        ids: list[int] = []
        starts: list[int] = []
        begin = anchor = known = 0  # characters; of `ids` those before `known` stand for the text before `anchor`
        for end in (*cuts, len(text)):
            window = self._tokenizer.encode_with_specials(text[anchor:end])
            if window[: len(ids) - known] == ids[known:]:
                ids = ids[:known] + window
            else:
                ids = ids + self._continued(text[begin:end])
            starts.append(len(ids))
            begin = end
            anchor, known = self._anchor(text, anchor, end, ids, known)
        return ids, starts[:-1]

    def _anchor(self, text: str, anchor: int, end: int, ids: list[int], known: int) -> tuple[int, int]:
        """The last special token before `end`: tokenizers encode what comes after one apart from what was before."""
        at = next((i for i in range(len(ids) - 1, known - 1, -1) if ids[i] in self._special), None)
        found = deque(self._special_text.finditer(text, anchor, end), maxlen=1)
        if at is None or not found or self._tokenizer.special_ids[found[0][0]] != ids[at]:
            return anchor, known
        return found[0].start(), at

    def _continued(self, text: str) -> list[int]:
        """The ids of `text` in the middle of another, without the space that some put before a beginning."""
        line = self._tokenizer.encode_with_specials("\n")
        ids = self._tokenizer.encode_with_specials("\n" + text)
        if ids[: len(line)] == line:
            return ids[len(line) :]
        return self._tokenizer.encode_with_specials(text)

    def _end_of(self, said: Sequence[int]) -> int:
        """How many ids of an answer there are up to its end token; all, if only text ends it.

        Behind the text may stand several special tokens; those next to each other end it together, unless one
        before the last already stops generation.
        """
        end = found = len(said)
        while end > 0 and (said[end - 1] in self._special or not self._tokenizer.decode(said[end - 1 : end]).strip()):
            end -= 1
            found = end if said[end] in self._special else found
        while found < len(said) and said[found] in self._special:
            found += 1
            if said[found - 1] in self._stop_ids:
                break
        return found

    def _probed_header(self) -> bool:
        """Whether the template writes a header before an answer that it does not ask for it with."""
        messages = [Message("user", "Hello"), Message("assistant", "Good day")]
        try:
            asking = self._template.render(messages[:1], add_generation_prompt=True)
            answered = self._template.render(messages)
        except TemplateRefusalError:
            return False
        if "Hello" not in answered:
            raise ModelError(
                f"{self._template.name} does not show what a user says; give the model's own template, or take it out of the "
                f"folder to use the reserved tokens"
            )
        header, found, _ = answered[len(asking) :].partition("Good day")
        return answered.startswith(asking) and bool(found and header.strip())

    def _probed_end(self) -> list[int]:
        """The special token that the template writes behind an answer, if it takes the simplest conversation."""
        conversation = Conversation((Message("user", "Hello"), Message("assistant", "Hello")))
        try:
            pieces = self.sequences(conversation)[0]
        except DataError:
            return []
        ends = [piece.token_ids[-1] for piece in pieces if piece.answer and piece.token_ids]
        return [end for end in ends if end in self._special]


def _shared(a: str, b: str) -> int:
    """How many characters both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
