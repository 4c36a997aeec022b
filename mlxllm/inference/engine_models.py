"""The models that the engine process holds: loaded once, found again by name, left when others need the room."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import mlx.core as mx

from mlxllm.conversation import ChatFormat
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.errors import ConfigError
from mlxllm.inference.engine_requests import About
from mlxllm.inference.length import Length
from mlxllm.inference.session import Session
from mlxllm.model.checkpoint_files import find_checkpoint
from mlxllm.model.hf_folder import BASE
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.naming import find_adapter, find_model, is_run
from mlxllm.runtime import device_info

MOST_MODELS = 4
"""More are not held, however small they are."""

_REMEMBERED = 16
"""So many texts that were cut off are remembered by the ids that the model wrote them with."""

Name = tuple[str, str | None]
"""A model and its adapter, as a request names them."""
Key = tuple[Path, Path | None]
"""The folders behind a name."""
Signature = tuple[tuple[str, int, int], ...]
"""Name, size and time of change of every file."""


@dataclass(frozen=True)
class Prompt:
    """What a model is to continue."""

    start: list[int]
    """The ids before the text that goes on: a conversation up to where the answer begins, or nothing."""
    text: str
    """The text that goes on; empty where it is to begin."""
    spelled: list[int]
    """Its ids."""
    stop_ids: tuple[int, ...]

    @property
    def ids(self) -> list[int]:
        """All of them."""
        return self.start + self.spelled


@dataclass(frozen=True)
class HeldModel:
    """A model in memory, with the cache of what it read last."""

    loaded: LoadedModel
    session: Session
    chat_format: ChatFormat | None
    """How messages become ids; None for a base model."""
    length: Length
    signature: Signature
    _cut_off: OrderedDict[tuple[tuple[int, ...], str], list[int]] = field(default_factory=OrderedDict)

    @property
    def nbytes(self) -> int:
        """Bytes of weights and cache."""
        weights = sum(array.nbytes for array in named_parameters(self.loaded.model).values())
        return weights + self.session.nbytes

    def prompt(self, request: About, *, go_on: bool = False) -> Prompt:
        """The ids of a request's text or messages.

        Args:
            request: what to continue.
            go_on: the last message is the beginning of the answer.

        Raises:
            ConfigError: these messages cannot be answered, or this model answers none.
            DataError: the chat template does not take them, or a text cannot be written as UTF-8.
        """
        tokenizer = self.loaded.tokenizer
        if request.text is not None:
            ids = self._cut_off.get(((), request.text)) or (
                tokenizer.encode_begun(request.text) if request.text else []
            )
            # A text that is to begin does so behind what stands before every document.
            return Prompt([], request.text, ids or list(tokenizer.start_ids), tokenizer.stop_ids)
        if self.chat_format is None:
            raise ConfigError(
                f"{self.loaded.name} is a base model, which has not been tuned to answer; give it a text to continue"
            )
        said, text = request.said, ""
        if not said:
            raise ConfigError("there are no messages to answer; give at least one")
        if said[-1].role == "assistant" and not go_on:
            raise ConfigError("the last message is the assistant's already; add a question, or let that answer go on")
        if go_on:
            if said[-1].role != "assistant":
                raise ConfigError("there is no answer to go on with; the last message has to be the assistant's")
            said, text = said[:-1], said[-1].content
        start = self.chat_format.generation_prompt(said)
        spelled = self._cut_off.get((tuple(start), text)) or tokenizer.encode_continued(text)
        return Prompt(start, text, spelled, self.chat_format.stop_ids)

    def remember(self, prompt: Prompt, text: str, ids: list[int]) -> None:
        """Keep how a model spelled a text that is not at its end, so that it goes on where it was.

        Args:
            prompt: what was continued.
            text: the continuation.
            ids: its ids.
        """
        self._cut_off[(tuple(prompt.start), prompt.text + text)] = prompt.spelled + ids
        if len(self._cut_off) > _REMEMBERED:
            self._cut_off.popitem(last=False)


class Models:
    """At most `MOST_MODELS`, the least recently used of which leaves first, also where memory demands it."""

    def __init__(self, room_bytes: int | None = None) -> None:
        """Begin without any.

        Args:
            room_bytes: what all may take together; by default half the device's memory.
        """
        info = device_info()
        self._room = room_bytes if room_bytes is not None else info.recommended_working_set_bytes or info.memory_bytes
        self._room = self._room // 2 if room_bytes is None else self._room
        self._held: OrderedDict[Key, HeldModel] = OrderedDict()  # the most recently used one last
        self._names: dict[Name, Key] = {}

    def __len__(self) -> int:
        return len(self._held)

    def load(self, name: str, adapter: str | None = None) -> HeldModel:
        """The model that `name` means now; at once where that is in memory and its files are unchanged.

        Raises:
            UserError: there is no such model or adapter, or it cannot be used.
        """
        key = _folders(name, adapter)
        held = self._held.get(key)
        if held is None or held.signature != _signature(held.loaded):
            self._held.pop(key, None)
            self._make_room(_weights_bytes(key))
            loaded = load_model(name, adapter=adapter)
            tuned = loaded.kind != BASE
            held = HeldModel(
                loaded,
                Session(loaded.model, loaded.tokenizer),
                chat_format_of(loaded.tokenizer, loaded.tokenizer_directory) if tuned else None,
                Length(loaded),
                _signature(loaded),
            )
            key = _absolute(loaded.path, loaded.adapter)  # where a newer checkpoint is damaged, it is an older one
            self._held[key] = held
            self._make_room(0, besides=key)
        names = (name, adapter), (held.loaded.address, str(key[1]) if key[1] is not None else None)
        self._names.update(dict.fromkeys(names, key))
        self._held.move_to_end(key)
        return held

    def get(self, name: str, adapter: str | None = None) -> HeldModel:
        """The model that was loaded by this name, though its run may have gone on since; else it is loaded.

        Raises:
            UserError: see `load`.
        """
        key = self._names.get((name, adapter))
        if key is None or key not in self._held:
            return self.load(name, adapter)
        self._held.move_to_end(key)
        return self._held[key]

    def _make_room(self, needed: int, besides: Key | None = None) -> None:
        """Let models go until there is one place and `needed` bytes; with `besides`, until all with that one fit."""
        most = MOST_MODELS if besides is not None else MOST_MODELS - 1
        for oldest in [key for key in self._held if key != besides]:
            taken = sum(held.nbytes for held in self._held.values())
            if len(self._held) <= most and taken + needed <= self._room:
                break
            del self._held[oldest]
        self._names = {name: key for name, key in self._names.items() if key in self._held}
        mx.clear_cache()


def _folders(name: str, adapter: str | None) -> Key:
    """What `load_model` would load, found without reading weights."""
    path, which = find_model(name)
    if is_run(path):
        path = find_checkpoint(path, "last" if which is None else which, hashed=()).path
    return _absolute(path, find_adapter(adapter)[0] if adapter is not None else None)


def _absolute(path: Path, adapter: Path | None) -> Key:
    return path.absolute(), adapter.absolute() if adapter is not None else None


def _signature(loaded: LoadedModel) -> Signature:
    """Changes when a file does that the model was made of; empty files' times where one is gone."""
    folders = {loaded.path, loaded.tokenizer_directory}
    files = {*loaded.weight_files, *(file for folder in folders if folder.is_dir() for file in folder.iterdir())}
    stats = [(str(file), file.stat()) for file in sorted(files) if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def _weights_bytes(key: Key) -> int:
    """About what a model will take: its files of weights, but for those of an optimizer."""
    files = [file for folder in key if folder is not None for file in folder.glob("*.safetensors")]
    return sum(file.stat().st_size for file in files if not file.name.startswith("optimizer"))
