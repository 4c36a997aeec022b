"""What may be asked of the engine process, one JSON object a line, and a sentence about what may not.

    {"op": "load", "id", "model", "adapter"?}
    {"op": "generate", "id", "model", "adapter"?, "messages" | "text", "sample"?, "stop"?, "top"?, "continue"?}
    {"op": "tokenize", "id", "model", "adapter"?, "messages" | "text"}
    {"op": "explain", "id", "model", "adapter"?, "messages" | "text", "changes"?, "shuffle"?, "at"?, "maps"?, ...}
    {"op": "cancel", "id", "target"}
    {"op": "shutdown"}

Unknown fields and values of the wrong type are refused, so that a client's mistake is noticed.
"""

import json
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mlxllm.config import HOTTEST, SampleConfig, Section
from mlxllm.conversation.records import Message, Role
from mlxllm.errors import ConfigError
from mlxllm.explain.xray import LONGEST, MOST_TOKENS

MOST_ALTERNATIVES = 50


class BadRequestError(ConfigError):
    """A line that is no request; its id, where one can be told, is in `request_id`."""

    def __init__(self, message: str, request_id: str | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


class Said(Section):
    """One message of a conversation."""

    role: Role
    content: str


class OnModel(Section):
    """A request about a model."""

    id: str
    """Chosen by the client; the replies carry it."""
    model: str
    """As on a command line: RUN, RUN@STEP, RUN@best, or a folder; or the `address` of a loaded one."""
    adapter: str | None = None
    """An adapter to be stacked on it."""


class Load(OnModel):
    """Have a model in memory."""

    op: Literal["load"] = "load"


class About(OnModel):
    """A request about a text, or about a conversation with a model that was tuned to answer."""

    messages: list[Said] | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.messages is None) == (self.text is None):
            found = "neither" if self.text is None else "both"
            raise ValueError(f"a request has either 'messages' or 'text', and this one has {found}")
        return self

    @property
    def said(self) -> tuple[Message, ...]:
        """The messages; none for a text."""
        return tuple(Message(said.role, said.content) for said in self.messages or ())


class Generate(About):
    """Continue a text, or answer."""

    op: Literal["generate"] = "generate"
    sample: SampleConfig = SampleConfig()
    """How tokens are chosen; without a seed in it one is drawn."""
    stop: list[str] = Field(default_factory=list)
    """Strings that end the text; they are not part of it."""
    top: int = Field(0, ge=0, le=MOST_ALTERNATIVES)
    """So many of the likeliest tokens are told beside each."""
    go_on: bool = Field(False, alias="continue")
    """The last message is the assistant's and not at its end: it goes on. A text always does."""


class Tokenize(About):
    """Tell the tokens that a model would read."""

    op: Literal["tokenize"] = "tokenize"


class Explain(About):
    """Walk through a model with a text or a conversation; see `mlxllm.explain.xray`."""

    op: Literal["explain"] = "explain"
    changes: list[str] = Field(default_factory=list)
    """Interventions, as `mlxllm explain --off` has them; the other prompt of a patch is a text or a question as this one."""
    shuffle: int | None = Field(None, ge=0)
    """A seed by which the tokens before `at` get another order."""
    at: int = -1
    """The position whose next token is told in full."""
    maps: list[int] | None = None
    """The layers whose attention maps are told; by default all, where they are few enough numbers."""
    neighbours: int = Field(0, ge=0, le=MOST_ALTERNATIVES)
    """So many nearest neighbours of each embedding."""
    top: int = Field(10, ge=1, le=MOST_ALTERNATIVES)
    """So many of the likeliest next tokens."""
    max_tokens: int = Field(MOST_TOKENS, ge=1, le=LONGEST)
    """A longer prompt is refused."""


class Cancel(Section):
    """End another request; one that has ended already is no mistake, as the two lines may cross."""

    op: Literal["cancel"] = "cancel"
    id: str
    target: str
    """The id of the request to end."""


class Shutdown(Section):
    """End the process."""

    op: Literal["shutdown"] = "shutdown"
    id: str = ""


Request = Load | Generate | Tokenize | Explain | Cancel | Shutdown

_KINDS: dict[str, type[Request]] = {
    "load": Load,
    "generate": Generate,
    "tokenize": Tokenize,
    "explain": Explain,
    "cancel": Cancel,
    "shutdown": Shutdown,
}


def parse_request(line: bytes) -> Request:
    """The request in a line.

    Raises:
        BadRequestError: it is no JSON object, or no request has these fields and values; one sentence.
    """
    try:
        raw = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"a request is one JSON object a line, and this line is no JSON: {error}") from None
    if not isinstance(raw, dict):
        raise BadRequestError(f"a request is a JSON object, and this line holds {_shown(raw)}")
    request_id = raw["id"] if isinstance(raw.get("id"), str) else None
    op = raw.get("op")
    kind = _KINDS.get(op) if isinstance(op, str) else None
    if kind is None:
        found = "there is no 'op'" if "op" not in raw else f"there is no op {_shown(op)}"
        raise BadRequestError(f"{found}; a request has one of {', '.join(_KINDS)}", request_id)
    try:
        request = kind.model_validate(raw, strict=True)
    except ValidationError as error:
        raise BadRequestError(f"{op}: {_sentence(error, kind)}", request_id) from None
    if isinstance(request, Generate) and request.sample.temperature > HOTTEST:
        told = f"'sample.temperature' is {request.sample.temperature:g}; it should be from 0 to {HOTTEST}"
        raise BadRequestError(f"{op}: {told}", request_id)
    return request


def _sentence(error: ValidationError, kind: type[Request]) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    if first["type"] == "missing":
        return f"'{place}' is missing"
    if first["type"] == "extra_forbidden":
        fields = SampleConfig if place.startswith("sample.") else Said if place.startswith("messages.") else kind
        known = [field.alias or name for name, field in fields.model_fields.items()]
        return f"there is no field '{place}'; known are {', '.join(known)}"
    right = first["msg"].replace("Input should be", "it should be")
    return f"'{place}' is {_shown(first['input'])}; {right}"


def _shown(value: Any) -> str:
    """A value as JSON, cut to a few words."""
    text = json.dumps(value, default=str)
    return text if len(text) < 60 else f"{text[:56]} ..."
