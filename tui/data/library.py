"""What the user has put together on the data screen: added sources and records, and the mixture; remembered."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from mlxllm.conversation.recognising import is_hub_name, recognise
from mlxllm.data.sources import extent_of, list_sources, open_source
from mlxllm.data.sources.options import is_local
from mlxllm.data.sources.telling import kind_of_path
from mlxllm.data.split import val_threshold
from mlxllm.errors import DataError, UserError
from tui.data.entries import Entry, Group
from tui.data.look import Looker
from tui.data.mixture import Size, heavier, lighter
from tui.remembered import Remembered

_SOURCES, _MIXTURE, _FETCHED = "data_sources", "data_mixture", "data_fetched"
_RECORDS: dict[Literal["conversations", "preferences"], str] = {
    "conversations": "data_conversations",
    "preferences": "data_preferences",
}


@dataclass(frozen=True, slots=True)
class Found:
    """What an added text stands for."""

    group: Group
    key: str
    what: str
    kind: Literal["", "conversations", "preferences"] = ""


def find(text: str) -> Found:
    """What the user means by a path, KIND:SPEC or owner/name; reads files and asks the Hub, so off the event loop.

    Raises:
        UserError: it cannot be read, or is nothing that we know; the message says what to do.
    """
    text = text.strip()
    kind, colon, rest = text.partition(":")
    named = kind in {known.kind for known in list_sources()} and not os.path.exists(text)
    if named and not (kind == "text" and colon):
        source = open_source(text)
        return Found("yours", source.spec, f"source {source.spec}")
    if not named and (kind := kind_of_path(text)) != "text":
        path = os.path.abspath(os.path.expanduser(text))
        return Found("yours", f"{kind}:{path}", f"what the source {kind} reads")
    found = recognise(rest if named else text)
    if found.kind == "dataset":
        raise DataError(
            f"{found.path} is built already ({found.what}); a new run takes it by its path, and a text can be added here"
        )
    if found.kind == "text":
        spec = found.path if found.path.startswith("hub:") else f"text:{found.path}"
        return Found("yours", spec, found.what)
    return Found("records", found.path, found.what, found.kind)


class Library:
    """Added sources and records, and the mixture with its weights."""

    def __init__(self, remembered: Remembered) -> None:
        """What was remembered."""
        self._remembered = remembered
        self.sizes: dict[str, Size] = {}
        """Of the sources in the mixture, as far as they have been measured."""

    @property
    def sources(self) -> list[str]:
        """Specifications that were added."""
        return [text for text in self._remembered.get(_SOURCES, []) if isinstance(text, str)]

    @property
    def records(self) -> list[tuple[str, str]]:
        """Files that were added, each with what it holds."""
        return [
            (path, kind)
            for kind, name in _RECORDS.items()
            for path in self._remembered.get(name, [])
            if isinstance(path, str)
        ]

    @property
    def mixture(self) -> dict[str, float]:
        """Weight of each source that is taken."""
        listed = self._remembered.get(_MIXTURE, {}).items()
        return {spec: float(weight) for spec, weight in listed if isinstance(weight, (int, float)) and weight > 0}

    def add(self, found: Found) -> None:
        """Put something on its list."""
        self._remembered.add(_RECORDS[found.kind] if found.kind else _SOURCES, found.key)

    def remove(self, entry: Entry) -> None:
        """Take something off its list, and out of the mixture; files stay."""
        for name in (_SOURCES, *_RECORDS.values()):
            self._remembered.remove(name, [entry.key])
        self._set({spec: weight for spec, weight in self.mixture.items() if spec != entry.key})

    def toggle(self, spec: str) -> bool:
        """Take a source into the mixture or out of it; whether it is in it now."""
        mixture = self.mixture
        taken = spec not in mixture
        if taken:
            mixture[spec] = 1.0
        else:
            del mixture[spec]
        self._set(mixture)
        return taken

    def weigh(self, spec: str, more: bool) -> float:
        """The next weight of a source, which is taken if it was not."""
        weight = self.mixture.get(spec, 1.0)
        weight = heavier(weight) if more else lighter(weight)
        self._set({**self.mixture, spec: weight})
        return weight

    def measure(self, spec: str, looker: Looker) -> Size:
        """How much text a source holds, about; reads its beginning, but downloads nothing.

        Raises:
            UserError: it cannot be read.
        """
        source = open_source(spec)
        extent = extent_of(source)
        if not self.may_read(spec):
            return Size(extent.bytes, extent.documents == 1, extent.documents)
        preview = looker.preview(spec)
        thresholds = tuple(val_threshold(text) for text in preview.texts if text.strip()) if preview.complete else None
        return Size(preview.expected_bytes, preview.single_text, preview.expected_documents, thresholds)

    def measure_all(self, specs: Iterable[str], looker: Looker, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Find out the sizes that are not known yet, as far as the sources can be read."""
        for spec in specs:
            if cancelled():
                return
            if spec not in self.sizes:
                with suppress(UserError):
                    self.sizes[spec] = self.measure(spec, looker)

    def may_read(self, key: str) -> bool:
        """Whether a source, or a file of records, can be read without a download that nobody has asked for."""
        if key in self._remembered.get(_FETCHED, []):
            return True
        name, _, place = key.partition(":")
        kind = next((known for known in list_sources() if known.kind == name), None)
        if kind is None:
            return os.path.exists(key) or not is_hub_name(key)
        return not kind.download or bool(place and is_local(place.partition(",")[0]))

    def allow(self, key: str) -> None:
        """It may be downloaded from now on."""
        self._remembered.add(_FETCHED, key)

    def _set(self, mixture: dict[str, float]) -> None:
        self._remembered.set(_MIXTURE, mixture)
