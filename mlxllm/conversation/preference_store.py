"""preferences.jsonl: what a person preferred in their own chats, one JSON object a line.

An append is whole or absent (see `lines`), and so is a change, which replaces the file. Every line is also a preference
in TRL's form (`prompt`, `chosen`, `rejected`), so that `mlxllm dpo` reads the file as it is; what is removed leaves it, for
preferences-removed.jsonl beside it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from mlxllm import paths
from mlxllm.conversation.lines import append_lines, edit_lines, json_line
from mlxllm.conversation.stored_preference import StoredPreference, edited, parse_line, unusable
from mlxllm.errors import DataError

FILE = "preferences.jsonl"


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
                    if (record := parse_line(line)) is not None:
                        yield record
                    elif line.strip():
                        self.damaged += 1
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"cannot read {self._path}: {error.strerror or error}") from None


class PreferenceStore:
    """The preferences of one home. Any number of processes may read, add and edit at once."""

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
            if wrong := unusable(preference):
                raise DataError(f"this preference cannot be stored: {wrong}")
        self._append([json_line(preference.as_json()) for preference in preferences])

    @property
    def removed(self) -> "PreferenceStore":
        """The store of what was removed here."""
        return PreferenceStore(self.path.with_name(f"{self.path.stem}-removed{self.path.suffix}"))

    def resolve(self, names: Sequence[str], *, also_removed: bool = False) -> list[str]:
        """The ids that begin with `names`; `also_removed`: those of what was removed count as well.

        Raises:
            DataError: a name begins no id, or more than one; or the file cannot be read.
        """
        stores = (self, self.removed) if also_removed else (self,)
        ids = dict.fromkeys(preference.id for store in stores for preference in store.read())
        return list(dict.fromkeys(_resolve(name, ids, self.path) for name in names))

    def drop(self, *ids: str) -> list[StoredPreference]:
        """Leave preferences out for good.

        Args:
            ids: whole ids; one that is not there is passed over.

        Returns:
            Those that are gone now.

        Raises:
            DataError: the file cannot be written; it is then as it was.
        """
        dropped: list[StoredPreference] = []

        def change(lines: list[bytes]) -> list[bytes]:
            dropped.extend(preference for preference, _ in _with(ids, lines))
            return _without(ids, lines)

        self._edit(change)
        return dropped

    def remove(self, *ids: str) -> list[StoredPreference]:
        """As `drop`, but `restore` brings them back; nothing is lost where a file cannot be written."""
        removed: list[StoredPreference] = []

        def change(lines: list[bytes]) -> list[bytes]:
            found = _with(ids, lines)
            removed.extend(preference for preference, _ in found)
            self.removed._append([line for _, line in found])
            return _without(ids, lines)

        self._edit(change)
        return removed

    def restore(self, *ids: str) -> list[StoredPreference]:
        """Bring back what was removed, behind the others.

        Returns:
            Those that came back; an id that was not removed is passed over.

        Raises:
            DataError: a file cannot be read or written; nothing is lost then.
        """
        there = {preference.id for preference in self.read()}
        back: list[tuple[StoredPreference, bytes]] = []

        def note(lines: list[bytes]) -> list[bytes]:
            back.extend(_with(ids, lines))
            return lines

        self.removed._edit(note)
        self._append([line for preference, line in back if preference.id not in there])
        self.removed._edit(lambda lines: _without(ids, lines))
        return [preference for preference, _ in back]

    def swap(self, *ids: str) -> list[StoredPreference]:
        """Turn preferences around: what was rejected is chosen from now on, and the other way round.

        Returns:
            Those that were turned, as they are now; an id that is not there is passed over.

        Raises:
            DataError: the file cannot be written; it is then as it was.
        """
        turned = []

        def change(lines: list[bytes]) -> list[bytes]:
            changed = []
            for line in lines:
                if (preference := parse_line(line)) is not None and preference.id in ids:
                    line = _turned(line, preference.id)
                    turned.append(parse_line(line))
                changed.append(line)
            return changed

        self._edit(change)
        return [preference for preference in turned if preference is not None]

    def edit(self, id_: str, *, chosen: str | None = None, rejected: str | None = None) -> StoredPreference:
        """Put other answers in place of a preference's own; it is another preference then, at the same place.

        The one before is removed, so that `restore` brings it back.

        Args:
            id_: whole id.
            chosen: the better answer, which a person wrote now; None leaves it.
            rejected: the other one.

        Returns:
            The new preference.

        Raises:
            DataError: it is not there, nothing could be learned from it any more, or the file cannot be written; it is
                then as it was.
        """
        made: list[StoredPreference] = []

        def change(lines: list[bytes]) -> list[bytes]:
            found = _with([id_], lines)
            if not found:
                raise DataError(f"no preference in {self.path} has the id {id_!r}")
            before, line = found[0]
            after = edited(before, chosen, rejected)
            made.append(after)
            self.removed._append([line])
            new = json_line({**json.loads(line), **after.as_json()})
            return [new if (each := parse_line(old)) is not None and each.id == id_ else old for old in lines]

        self._edit(change)
        return made[0]

    def _append(self, lines: Sequence[bytes]) -> None:
        if lines:
            try:
                append_lines(self.path, b"".join(lines), lambda tail: parse_line(tail) is not None)
            except OSError as error:
                raise DataError(f"cannot write {self.path}: {error.strerror or error}; nothing was stored") from None

    def _edit(self, change: Callable[[list[bytes]], list[bytes]]) -> None:
        try:
            edit_lines(self.path, change)
        except OSError as error:
            raise DataError(f"cannot edit {self.path}: {error.strerror or error}; it is as it was") from None


def shortest_ids(ids: Sequence[str], least: int = 6) -> list[str]:
    """The beginnings by which a person can name these ids: all of one length, and no two the same."""
    length = least
    while length < 64 and len({each[:length] for each in ids}) < len(set(ids)):
        length += 1
    return [each[:length] for each in ids]


def _resolve(name: str, ids: Mapping[str, None], path: Path) -> str:
    found = [name] if name in ids else [each for each in ids if name and each.startswith(name)]
    if not found:
        raise DataError(f"no preference in {path} has an id that begins with {name!r}; `mlxllm prefs ls` shows the ids")
    if len(found) > 1:
        raise DataError(
            f"{name!r} begins {len(found):,} ids ({', '.join(found[:3])}); give more of the one that is meant"
        )
    return found[0]


def _with(ids: Sequence[str], lines: list[bytes]) -> list[tuple[StoredPreference, bytes]]:
    """Those of these ids, with their lines, each with its line end."""
    found = ((parse_line(line), line.rstrip(b"\n") + b"\n") for line in lines)
    return [(preference, line) for preference, line in found if preference is not None and preference.id in ids]


def _without(ids: Sequence[str], lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if (preference := parse_line(line)) is None or preference.id not in ids]


def _turned(line: bytes, id_: str) -> bytes:
    """The line of a preference with its sides exchanged; what a later version wrote there as well stays."""
    raw = json.loads(line)
    raw |= {"id": id_, "chosen": raw["rejected"], "rejected": raw["chosen"]}
    if isinstance(other := raw.get("chosen_by"), dict) and other:  # two models wrote them
        about = ("model", "fingerprint", "step")
        raw |= {"chosen_by": {key: raw.get(key) for key in about}, **{key: other.get(key) for key in about}}
    if isinstance(seed := raw.get("seed"), dict):
        exchanged = {"chosen": "rejected", "rejected": "chosen"}
        raw["seed"] = {exchanged.get(side, side): value for side, value in seed.items()}
    return json_line(raw)
