"""Conversations saved as they go: one file of JSON lines each below `<home>/chats/`.

A file only grows: a line for each turn, and one where turns are taken back, where the conversation is renamed, or where
what the model is told beforehand changes. Reading replays them. A list of ten thousand is a look at the folder; what
stands in a file is read for the rows that are shown.
"""

import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from mlxllm import paths
from mlxllm.conversation.lines import append_objects, parse_object
from mlxllm.errors import DataError

FOLDER = "chats"

Form = Literal["turns", "text"]
"""Questions and answers, or one text that a base model goes on with."""
Who = Literal["user", "assistant"]

_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
_TITLE_LENGTH = 60
_EXCERPT_LENGTH, _EXCERPT_BEFORE = 80, 24
UNTITLED = "(nothing said)"


@dataclass(frozen=True, slots=True)
class Said:
    """One turn."""

    role: Who
    content: str
    time: float = 0.0
    """Seconds since 1970."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """Of an answer: `model`, `fingerprint`, `step`, `seed`, `sample`, `finish_reason` and so on, as far as known."""


@dataclass(slots=True)
class Chat:
    """A conversation as it stands."""

    id: str
    form: Form = "turns"
    model: str = ""
    """Address of the model that answered last, or that is to answer."""
    created: float = 0.0
    """Seconds since 1970."""
    title: str = ""
    """As somebody named it; else the beginning of what was said first."""
    system: str = ""
    """What the model is told before all turns."""
    said: list[Said] = field(default_factory=list)
    damaged: int = 0
    """Lines that cannot be read and were passed over."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation that is there."""

    id: str
    path: Path
    updated: float
    """Seconds since 1970: when something was last said."""


@dataclass(frozen=True, slots=True)
class Row:
    """What a list shows of a conversation."""

    id: str
    title: str
    model: str
    updated: float
    turns: int
    excerpt: str = ""
    """Of a search: where it was found, in one line."""
    found_at: tuple[int, int] = (0, 0)
    """The characters of the excerpt that were looked for first."""


class SavedChats:
    """The conversations of one home. Any number of processes may read and write at once."""

    def __init__(self, folder: Path | None = None) -> None:
        """Use `folder`, by default `<home>/chats`; nothing is touched yet."""
        self.folder = paths.home() / FOLDER if folder is None else folder

    def begin(self, model: str, form: Form = "turns") -> "ChatWriter":
        """A new conversation; its file is made when the first turn is said."""
        stamp = time.strftime("%Y%m%d-%H%M%S")
        chat = Chat(f"{stamp}-{secrets.token_hex(3)}", form, model, round(time.time(), 3))
        return ChatWriter(self._path(chat.id), chat)

    def resume(self, chat_id: str) -> "ChatWriter":
        """Go on with a conversation. Raises as `read` does."""
        return ChatWriter(self._path(chat_id), self.read(chat_id), begun=True)

    def read(self, chat_id: str) -> Chat:
        """A conversation.

        Raises:
            DataError: there is none of that id, or its file cannot be read.
        """
        path = self._path(chat_id)
        return _replayed(chat_id, _content(path).splitlines())

    def entries(self) -> list[Entry]:
        """All of them, the one in which something was said last first; reads no file.

        Raises:
            DataError: the folder cannot be read.
        """
        found = []
        try:
            for path in self.folder.iterdir() if self.folder.is_dir() else ():
                if path.suffix == ".jsonl" and _ID.fullmatch(path.stem):
                    found.append(Entry(path.stem, path, path.stat().st_mtime))
        except OSError as error:
            raise DataError(f"cannot read {error.filename or self.folder}: {error.strerror or error}") from None
        return sorted(found, key=lambda entry: (entry.updated, entry.id), reverse=True)

    def rows(self, entries: Iterable[Entry]) -> Iterator[Row]:
        """What a list shows of these, in their order; such as have gone or cannot be read are left out."""
        for entry in entries:
            chat = self._read_anyhow(entry)
            if chat is not None:
                yield Row(entry.id, _title(chat), chat.model, entry.updated, len(chat.said))

    def search(self, query: str) -> Iterator[Row]:
        """The conversations that hold every word of `query` (letters large or small) in title or turns, newest first.

        Raises:
            DataError: the folder cannot be read.
        """
        words = query.casefold().split()
        if not words:
            return
        for entry in self.entries():
            chat = self._read_anyhow(entry, words)
            if chat is None:
                continue
            texts = [_title(chat), *(said.content for said in chat.said)]
            folded = [text.casefold() for text in texts]
            if not all(any(word in text for text in folded) for word in words):
                continue
            # The title is shown anyway: a turn tells more.
            order = [*range(1, len(texts)), 0]
            text = next(texts[n] for n in order if words[0] in folded[n])
            excerpt, at = _excerpt(text, words[0])
            yield Row(entry.id, _title(chat), chat.model, entry.updated, len(chat.said), excerpt, at)

    def rename(self, chat_id: str, title: str) -> None:
        """Name a conversation; empty, and the beginning of what was said first names it again.

        Raises:
            DataError: there is none of that id, or its file cannot be written.
        """
        path = self._path(chat_id)
        _content(path)  # it has to be there
        try:
            before = path.stat()
            append_objects(path, {"kind": "title", "text": " ".join(title.split())})
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # nothing was said: its place in the list stays
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror or error}") from None

    def delete(self, chat_id: str) -> None:
        """Remove a conversation; none of that id is as good.

        Raises:
            DataError: its file cannot be removed.
        """
        path = self._path(chat_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise DataError(f"cannot delete {path}: {error.strerror or error}") from None

    def _path(self, chat_id: str) -> Path:
        if not _ID.fullmatch(chat_id):
            raise DataError(f"{chat_id!r} is no conversation; their files in {self.folder} are named by date and time")
        return self.folder / f"{chat_id}.jsonl"

    def _read_anyhow(self, entry: Entry, words: Iterable[str] = ()) -> Chat | None:
        """The conversation, or None where it cannot be read or surely has not all of the words."""
        try:
            content = _content(entry.path)
        except DataError:
            return None
        if words:
            folded = content.decode("utf-8", "replace").casefold()
            # JSON writes some characters in another way: only what it writes as it is can be missed for sure.
            if not all(word in folded for word in words if word.isalnum()):
                return None
        return _replayed(entry.id, content.splitlines())


class ChatWriter:
    """A conversation, and its file, which grows with it."""

    def __init__(self, path: Path, chat: Chat, *, begun: bool = False) -> None:
        """For `SavedChats.begin` and `resume`."""
        self.path, self.chat, self._begun = path, chat, begun

    def say(self, role: Who, content: str, **about: Any) -> None:
        """Add a turn; it is on the disk when this returns.

        Raises:
            DataError: the file cannot be written.
        """
        said = Said(role, content, round(time.time(), 3), about)
        self.chat.said.append(said)
        if about.get("model"):
            self.chat.model = str(about["model"])
        line = {"kind": "said", "role": role, "content": content, "time": said.time}
        self._write(line | ({"about": about} if about else {}))

    def keep(self, turns: int) -> None:
        """Take back all but the first turns. Raises as `say` does."""
        if turns < len(self.chat.said):
            del self.chat.said[turns:]
            self._write({"kind": "kept", "turns": turns})

    def tell(self, system: str) -> None:
        """Change what the model is told before all turns. Raises as `say` does."""
        if system != self.chat.system:
            self.chat.system = system
            self._write({"kind": "system", "text": system})

    def _write(self, line: dict[str, Any]) -> None:
        chat = self.chat
        if not self._begun and not chat.said:
            return  # nothing was said yet
        begin: list[dict[str, Any]] = []
        if not self._begun:
            about = {"kind": "chat", "version": 1, "created": chat.created, "form": chat.form, "model": chat.model}
            begin = [about, *([{"kind": "system", "text": chat.system}] if chat.system else [])]
        try:
            append_objects(self.path, *begin, line)
        except OSError as error:
            raise DataError(
                f"cannot write {self.path}: {error.strerror or error}; this conversation goes on, but it is not saved"
            ) from None
        self._begun = True


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"there is no conversation {path.stem}: {path} is gone") from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None


def _replayed(chat_id: str, lines: Iterable[bytes]) -> Chat:
    chat = Chat(chat_id)
    for line in lines:
        raw = parse_object(line)
        if raw is None or not _take(chat, raw):
            chat.damaged += 1
    return chat


def _take(chat: Chat, raw: Mapping[str, Any]) -> bool:
    """Do what a line says; False where it says nothing that is known."""
    kind, text = raw.get("kind"), raw.get("text")
    if kind == "said" and raw.get("role") in get_args(Who) and isinstance(raw.get("content"), str):
        about = raw.get("about")
        about = about if isinstance(about, dict) else {}
        chat.said.append(Said(raw["role"], raw["content"], _number(raw.get("time")), about))
        if isinstance(about.get("model"), str):
            chat.model = about["model"]
    elif kind == "kept" and isinstance(raw.get("turns"), int) and raw["turns"] >= 0:
        del chat.said[raw["turns"] :]
    elif kind == "title" and isinstance(text, str):
        chat.title = text
    elif kind == "system" and isinstance(text, str):
        chat.system = text
    elif kind == "chat":
        chat.created = _number(raw.get("created"))
        chat.form = "text" if raw.get("form") == "text" else "turns"
        chat.model = raw["model"] if isinstance(raw.get("model"), str) else ""
    else:
        return False
    return True


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _title(chat: Chat) -> str:
    first = next((said.content for said in chat.said if said.content.strip()), "")
    title = chat.title or " ".join(first.split()) or UNTITLED
    return title if len(title) <= _TITLE_LENGTH else title[: _TITLE_LENGTH - 1].rstrip() + "…"


def _excerpt(text: str, word: str) -> tuple[str, tuple[int, int]]:
    """One line around the first place of a word, and where it stands in it."""
    line = " ".join(text.split())
    folded = line.casefold()
    at = folded.find(word) if len(folded) == len(line) else -1  # ß becomes two letters, and places no longer fit
    start = max(0, at - _EXCERPT_BEFORE)
    end = start + _EXCERPT_LENGTH
    begin = "…" if start else ""
    shown = begin + line[start:end] + ("…" if end < len(line) else "")
    found = len(begin) + at - start
    return shown, (found, found + len(word)) if at >= 0 else (0, 0)
