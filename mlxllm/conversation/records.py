"""What a file of conversations or preferences holds, whatever its format: three kinds of record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn: who speaks and what is said."""

    role: Role
    content: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What else a template may look at: `name`, `tool_calls`, `reasoning_content` and so on, as JSON has it."""
    trained: bool = True
    """False where the record says so (`weight` 0): this turn is read, but not learned."""

    @property
    def is_blank(self) -> bool:
        """Nothing is said, nor is a tool called."""
        return not (self.content.strip() or self.extra.get("tool_calls"))

    def as_dict(self, *, parts: bool = False) -> dict[str, Any]:
        """The mapping that chat templates read; with `parts` the text as a list of one part."""
        content: Any = [{"type": "text", "text": self.content}] if parts else self.content
        return {"role": self.role, "content": content, **self.extra}


@dataclass(frozen=True, slots=True)
class Conversation:
    """Turns in order."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """JSON schemas of the functions that the assistant may call."""
    prompt_messages: int | None = None
    """How many of the turns are the prompt, where the record says so (`prompt` and `completion`)."""
    where: str = field(default="", compare=False)
    """File and line, for people."""


@dataclass(frozen=True, slots=True)
class Text:
    """A plain text, without turns: learned from beginning to end."""

    text: str
    where: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Preference:
    """Two answers to one prompt, of which one was preferred."""

    prompt: tuple[Message, ...]
    chosen: tuple[Message, ...]
    rejected: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    tied: bool = False
    """The record itself says that neither is better: their scores are equal."""
    where: str = field(default="", compare=False)


Record = Conversation | Text
