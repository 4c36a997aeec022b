"""preferences.jsonl: what a person preferred in their own chats, one JSON object a line.

An append is whole or absent (see `lines`), and so is a change, which replaces the file. Every line is also a preference
in TRL's form (`prompt`, `chosen`, `rejected`), so that `mlxllm dpo` reads the file as it is.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from mlxllm import paths
from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_messages
from mlxllm.conversation.lines import append_lines, json_line, locked, parse_object
from mlxllm.conversation.records import Message, Preference
from mlxllm.errors import DataError
from mlxllm.runs import fsync_directory, fsync_file

FILE = "preferences.jsonl"

How = Literal["picked", "compared", "rewritten", "imported"]
"""One of two answers was picked, with names in sight or (`compared`) without, or a person wrote a better one, or the pair
came from a file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreference:
    """Two answers to one prompt, of which one was preferred, and where they came from."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    how: How
    model: str = ""
    """Address of the model that wrote what was rejected; and what was chosen, unless that was rewritten or `chosen_by`
    another one."""
    fingerprint: str = ""
    """SHA-256 of its weights."""
    step: int | None = None
    """Its step, if it is a run's checkpoint."""
    chosen_by: Mapping[str, Any] = field(default_factory=dict)
    """`model`, `fingerprint` and `step` of what wrote the chosen answer, where that was another model."""
    seed: Mapping[str, int] = field(default_factory=dict)
    """`chosen` and `rejected` -> seed of that answer, as far as a model wrote it."""
    sample: Mapping[str, Any] = field(default_factory=dict)
    """How tokens were chosen."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    time: float = field(default_factory=lambda: round(time.time(), 3))
    """Seconds since 1970."""

    @property
    def content(self) -> tuple[Any, ...]:
        """What it says, without where it came from: equal for equal pairs."""
        return tuple(json.dumps(self.as_trl()[key], sort_keys=True) for key in ("prompt", "chosen", "rejected"))

    def as_trl(self) -> dict[str, list[dict[str, Any]]]:
        """TRL's conversational format: `prompt`, `chosen` and `rejected` as lists of messages."""
        return {
            "prompt": [message.as_dict() for message in self.prompt],
            "chosen": [{"role": "assistant", "content": self.chosen}],
            "rejected": [{"role": "assistant", "content": self.rejected}],
        }

    def as_json(self) -> dict[str, Any]:
        """The object of its line in the store."""
        about = {"id": self.id, "time": self.time, "how": self.how, "model": self.model}
        about |= {"fingerprint": self.fingerprint, "step": self.step, "seed": dict(self.seed)}
        about |= {"chosen_by": dict(self.chosen_by)} if self.chosen_by else {}
        texts = {"prompt": [message.as_dict() for message in self.prompt], **_sides(self)}
        return {**about, **texts, "sample": dict(self.sample)}


def _sides(preference: StoredPreference) -> dict[str, str]:
    return {"chosen": preference.chosen, "rejected": preference.rejected}


def from_preference(preference: Preference) -> StoredPreference:
    """A preference that was read from a file.

    Raises:
        UnusableRecordError: nothing can be learned from it, or it is more than the store holds, and why.
    """
    if preference.tied:
        raise UnusableRecordError("tied pair", "both sides have the same score")
    if preference.tools:
        raise UnusableRecordError("tools, which the store does not hold")
    for name, side in (("chosen", preference.chosen), ("rejected", preference.rejected)):
        if len(side) != 1 or side[0].role != "assistant" or side[0].extra:
            raise UnusableRecordError("an answer that is more than one text of the assistant", f"{name} is")
    stored = StoredPreference(
        prompt=preference.prompt,
        chosen=preference.chosen[0].content,
        rejected=preference.rejected[0].content,
        how="imported",
    )
    if wrong := _unusable(stored):
        raise UnusableRecordError(wrong)
    return stored


class Reading(Iterator[StoredPreference]):
    """The preferences of a store, one after the other; `damaged` counts the lines that are none."""

    def __init__(self, path: Path) -> None:
        """Begin at the first line of `path`, which need not exist."""
        self.damaged = 0
        self._path = path
        self._records = self._read()

    def __next__(self) -> StoredPreference:
        return next(self._records)

    def _read(self) -> Iterator[StoredPreference]:
        try:
            with open(self._path, "rb") as file:
                for line in file:
                    if (record := _parse(line)) is not None:
                        yield record
                    elif line.strip():
                        self.damaged += 1
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {error.strerror or error}") from None


class PreferenceStore:
    """The preferences of one home. Any number of processes may read and add at once."""

    def __init__(self, path: Path | None = None) -> None:
        """Use the file at `path`, by default `<home>/preferences.jsonl`; nothing is touched yet."""
        self.path = paths.home() / FILE if path is None else path

    def read(self) -> Reading:
        """All preferences, the oldest first.

        Raises:
            DataError: while iterating: the file cannot be read.
        """
        return Reading(self.path)

    def add(self, *preferences: StoredPreference) -> None:
        """Append; when it returns they are on the disk, and if it raises, none of them is there.

        Raises:
            DataError: one of them teaches nothing (an empty answer, twice the same), or the file cannot be written.
        """
        for preference in preferences:
            if wrong := _unusable(preference):
                raise DataError(f"this preference cannot be stored: {wrong}")
        lines = b"".join(json_line(preference.as_json()) for preference in preferences)
        if not lines:
            return
        try:
            append_lines(self.path, lines, lambda line: _parse(line) is not None)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}; nothing was stored") from None

    def edit(self, change: Callable[[StoredPreference], StoredPreference | None]) -> int:
        """Put what `change` makes of each preference in its place; None leaves it out.

        The file is replaced as a whole, and lines that cannot be read stay in it; if it raises, it is as it was.

        Returns:
            How many were changed or left out.

        Raises:
            DataError: what takes a preference's place teaches nothing, or the file cannot be written.
        """
        if not self.path.exists():
            return 0
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        changed = 0
        try:
            with locked(self.path), open(self.path, "rb") as old, open(temporary, "xb", opener=_private) as new:
                for line in old:
                    before = _parse(line)
                    after = change(before) if before is not None else None
                    changed += after != before
                    if after is not None and (wrong := _unusable(after)):
                        raise DataError(f"this preference cannot be stored: {wrong}")
                    if after == before:
                        new.write(line)
                    elif after is not None:
                        new.write(json_line(after.as_json()))
                new.flush()
                fsync_file(new.fileno())
                if changed:
                    temporary.replace(self.path)
            fsync_directory(self.path.parent)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}; it is as it was") from None
        finally:
            temporary.unlink(missing_ok=True)
        return changed

    def drop(self, *ids: str) -> int:
        """Leave out the preferences with these ids; returns how many there were. Raises as `edit` does."""
        return self.edit(lambda preference: None if preference.id in ids else preference)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _unusable(preference: StoredPreference) -> str:
    """Why nothing can be learned from it; empty if something can."""
    if not preference.prompt:
        return "empty prompt"
    if not (preference.chosen.strip() and preference.rejected.strip()):
        return "empty completion"
    if preference.chosen == preference.rejected:
        return "identical pair"
    try:
        json.dumps(preference.as_trl(), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "half of a surrogate pair, which is no text"
    return ""


def _parse(line: bytes) -> StoredPreference | None:
    """The preference of a line; None where it is none. Keys that are not known are passed over."""
    raw = parse_object(line)
    if raw is None:
        return None
    try:
        known = {key: raw[key] for key in _KEYS if raw.get(key) is not None}
        if not all(isinstance(known[key], kind) for key, kind in _KINDS.items() if key in known):
            return None
        known.setdefault("id", sha256(line.strip()).hexdigest()[:16])  # so that it can be named
        record = StoredPreference(**{**known, "prompt": parse_messages(raw["prompt"], "prompt")})
    except (ValueError, RecursionError, KeyError, TypeError, MalformedRecordError, UnusableRecordError):
        return None
    return None if _unusable(record) else record


_KEYS = tuple(asdict(StoredPreference(prompt=(), chosen="", rejected="", how="picked")))
_KINDS: dict[str, Any] = {
    **dict.fromkeys("id how model fingerprint chosen rejected".split(), str),
    **dict.fromkeys("seed sample chosen_by".split(), dict),
    "time": int | float,
    "step": int,
}
