"""preferences.jsonl: what a person preferred in their own chats, one JSON object a line.

The file only grows. An append is one write under the file's lock, and is on the disk when it returns; a kill
leaves at most one unfinished last line, which readers pass over and the next append cuts off. Every line is also
a preference in TRL's form (`prompt`, `chosen`, `rejected`), so that `mlxllm dpo` reads the file as it is.
"""

import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from mlxllm import paths
from mlxllm.conversation.formats import MalformedRecordError, UnusableRecordError, parse_messages
from mlxllm.conversation.records import Message, Preference
from mlxllm.errors import DataError
from mlxllm.runs import fsync_directory, fsync_file

FILE = "preferences.jsonl"

How = Literal["picked", "rewritten", "imported"]
"""One of two answers was picked, or a person wrote a better one, or the pair came from a file."""

_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredPreference:
    """Two answers to one prompt, of which one was preferred, and where they came from."""

    prompt: tuple[Message, ...]
    chosen: str
    rejected: str
    how: How
    model: str = ""
    """Address of the model that wrote what was rejected, and unless it was rewritten what was chosen."""
    fingerprint: str = ""
    """SHA-256 of its weights."""
    step: int | None = None
    """Its step, if it is a run's checkpoint."""
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
        lines = b"".join(_line(preference) for preference in preferences)
        if not lines:
            return
        try:
            is_new = not self.path.exists()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # the kernel frees it with the descriptor, also after a kill
                _append(descriptor, lines)
            finally:
                os.close(descriptor)
            if is_new:
                fsync_directory(self.path.parent)
        except OSError as error:
            raise DataError(f"cannot write {self.path}: {error.strerror or error}; nothing was stored") from None


def _append(descriptor: int, lines: bytes) -> None:
    end = os.fstat(descriptor).st_size
    tail = _unfinished(descriptor, end)
    if tail and _parse(tail) is not None:  # whole, only its line end is missing: an editor may have left it so
        lines = b"\n" + lines
    elif tail:
        end -= len(tail)
        os.ftruncate(descriptor, end)
    try:
        written = 0
        while written < len(lines):
            written += os.write(descriptor, lines[written:])
        fsync_file(descriptor)
    except OSError:
        with suppress(OSError):
            os.ftruncate(descriptor, end)
        raise


def _unfinished(descriptor: int, end: int) -> bytes:
    """What stands behind the last line end."""
    tail = b""
    while end > 0 and b"\n" not in tail:
        start = max(0, end - _CHUNK)
        tail = os.pread(descriptor, end - start, start) + tail
        end = start
    return tail[tail.rfind(b"\n") + 1 :]


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


def _line(preference: StoredPreference) -> bytes:
    text = json.dumps(preference.as_json(), ensure_ascii=False, allow_nan=False)
    # Only a path can still hold what is no text; backslashes are how JSON spells that.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _parse(line: bytes) -> StoredPreference | None:
    """The preference of a line; None where it is none. Keys that are not known are passed over."""
    try:
        raw = json.loads(line.decode(), parse_constant=_refuse)
        if not isinstance(raw, dict):
            return None
        known = {key: raw[key] for key in _KEYS if raw.get(key) is not None}
        if not all(isinstance(known[key], kind) for key, kind in _KINDS.items() if key in known):
            return None
        record = StoredPreference(**{**known, "prompt": parse_messages(raw["prompt"], "prompt")})
    except (ValueError, RecursionError, KeyError, TypeError, MalformedRecordError, UnusableRecordError):
        return None
    return None if _unusable(record) else record


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_KEYS = tuple(asdict(StoredPreference(prompt=(), chosen="", rejected="", how="picked")))
_KINDS: dict[str, Any] = {
    **dict.fromkeys("id how model fingerprint chosen rejected".split(), str),
    **dict.fromkeys("seed sample".split(), dict),
    "time": int | float,
    "step": int,
}
