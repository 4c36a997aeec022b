"""A chat template: a Jinja program that writes a conversation in the way a model was taught to read it."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2.exceptions import SecurityError, TemplateAssertionError, TemplateSyntaxError
from jinja2.exceptions import TemplateError as JinjaError

from mlxllm.conversation.budget import BASE_WORK, WORK_PER_INPUT, Budget, TemplateLimitError, size_of
from mlxllm.conversation.records import Message
from mlxllm.conversation.sandbox import TemplateSandbox
from mlxllm.errors import DataError, ModelError

MOST_SOURCE = 1 << 17
"""Characters of a template; the longest of known models has some 20,000."""
_MOST_DATE_FORMAT = 100
_THOUGHTS = ("reasoning_content", "thinking", "reasoning")
_PROBE = "a text to be found again"


class TemplateRefusalError(DataError):
    """The template does not take this conversation: roles out of turn, something missing."""


class ChatTemplate:
    """A compiled template, rendered in a sandbox that is bounded in time and size (see `sandbox.py`)."""

    def __init__(
        self,
        source: str,
        *,
        variables: Mapping[str, Any] | None = None,
        now: datetime | None = None,
        name: str = "the chat template",
    ) -> None:
        """Compile `source`.

        Args:
            source: the Jinja program.
            variables: what it may read besides messages: `bos_token`, `eos_token`, `enable_thinking` and so on.
            now: what `strftime_now` answers from. Fix it where the same text must come out on another day.
            name: how messages to the user call it.

        Raises:
            ModelError: it is not a Jinja template, or one that a compiler chokes on.
        """
        self.source = source
        self.variables: dict[str, Any] = dict(variables or {})
        self.name = name
        self._now = now or datetime.now()
        self._uses_date = "strftime_now" in source
        if len(source) > MOST_SOURCE:
            raise ModelError(f"{name} has {len(source):,} characters; more than {MOST_SOURCE:,} are not taken")
        self._sandbox = TemplateSandbox()
        self._sandbox.globals["strftime_now"] = self._strftime_now
        self._lock = threading.Lock()  # the budget belongs to one rendering at a time
        self._sandbox.budget = Budget(BASE_WORK)
        try:
            self._template = self._sandbox.compiled(source)
        except TemplateSyntaxError as error:
            # An assertion is a name that Jinja knows of, but not here: a filter, a test.
            what = "cannot be used" if isinstance(error, TemplateAssertionError) else "is not a Jinja template"
            raise ModelError(f"{name} {what}: line {error.lineno}: {str(error.message).rstrip('.')}") from None
        except TemplateLimitError as error:
            raise self._unsafe(error) from None
        except (JinjaError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
            raise ModelError(f"{name} cannot be compiled: {_first_line(error)}") from None

        self._parts = False
        self._parts = self._wants_parts()

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all that decides the text besides the messages."""
        parts = [self.source, repr(sorted(self.variables.items()))]
        if self._uses_date:
            parts.append(self._now.date().isoformat())
        digest = hashlib.sha256(b"mlxllm chat template")
        for part in parts:
            digest.update(len(part.encode()).to_bytes(8, "little") + part.encode())
        return digest.hexdigest()

    def given(self, messages: Sequence[Message]) -> list[dict[str, Any]]:
        """What the template gets to read."""
        return [_with_thoughts(message.as_dict(parts=self._parts)) for message in messages]

    def render(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """The text of `messages`; with `add_generation_prompt` up to where the assistant is to speak.

        Raises:
            TemplateRefusalError: the template does not take these messages, and why it says so.
            ModelError: the template does what no chat template may (reaches for Python's insides, does not end).
        """
        given = {
            **self.variables,
            "messages": self.given(messages),
            "tools": [dict(tool) for tool in tools] or None,
            "documents": None,
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            work = BASE_WORK + WORK_PER_INPUT * size_of([given["messages"], given["tools"]])
        except TemplateLimitError:
            raise TemplateRefusalError("a message or tool holds lists in lists without end") from None
        with self._lock:
            self._sandbox.budget = Budget(work)
            try:
                return str(self._template.render(given))
            except (TemplateLimitError, SecurityError, MemoryError) as error:
                raise self._unsafe(error) from None
            except JinjaError as error:
                raise TemplateRefusalError(
                    f"{self.name} does not take this conversation: {_first_line(error)}"
                ) from None
            except Exception as error:  # a template is a program of somebody else: it may raise anything
                raise TemplateRefusalError(
                    f"{self.name} fails on this conversation: {type(error).__name__}: {_first_line(error)}"
                ) from None

    def _wants_parts(self) -> bool:
        """Whether a text has to come as a list of parts: models that see pictures have such templates.

        They would walk through a plain text character by character, and write nothing.
        """
        for self._parts in (False, True):
            try:
                if _PROBE in self.render([Message("user", _PROBE)]):
                    return self._parts
            except TemplateRefusalError:
                continue
        return False

    def _unsafe(self, error: Exception) -> ModelError:
        what = _first_line(error) or "it needs too much memory"
        return ModelError(f"{self.name} is stopped: {what}; use the template of a model that you trust")

    def _strftime_now(self, format: str) -> str:
        if len(format) > _MOST_DATE_FORMAT:
            raise TemplateLimitError("it asks for a very long date")
        return self._now.strftime(format)


def _with_thoughts(message: dict[str, Any]) -> dict[str, Any]:
    """Records name what an assistant thought in three ways, and templates read two of them."""
    thought = next((message[key] for key in _THOUGHTS if message.get(key) is not None), None)
    if thought is None:
        return message
    return {"thinking": thought, **message, "reasoning_content": thought}


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:300].rstrip(".") if text else ""
