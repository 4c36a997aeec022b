"""All runs, kept up to date at little cost: what lists thousands of runs reads each of them once."""

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from mlxllm import paths
from mlxllm.runs.directory import RunDirectory
from mlxllm.runs.state import ACTIVE
from mlxllm.runs.summary import RunSummary, summarise_anyhow

_FIRST_PAGE = 50

_Mark = tuple[int, ...]


class RunCatalogue:
    """The runs of `<home>/runs` as they were when last looked at. One thread at a time.

    A look costs two calls of the file system a run; a summary is made anew only where the run's files changed, or
    where a trainer is, or is said to be, at work: it can die without touching a file.

    Attributes:
        runs: name -> summary.
    """

    def __init__(self) -> None:
        self.runs: dict[str, RunSummary] = {}
        self._marks: dict[str, _Mark] = {}

    def refresh(self, page: int = 500) -> Iterator[list[RunSummary]]:
        """Look at every run; yields those that are new or changed, last written first, in pages.

        What is gone leaves `runs` before the first page. That one is short, so that there is soon something to show;
        the following ones grow up to `page` runs.
        """
        marks = _marks(paths.folder("runs"))
        for name in self._marks.keys() - marks.keys():
            self._forget(name)
        stale = (name for name in sorted(marks, key=marks.__getitem__, reverse=True) if self._is_stale(name, marks))
        size = min(page, _FIRST_PAGE)
        while names := list(islice(stale, size)):
            # A file that changes while it is read has another mark at the next look.
            found = [summary for name in names if (summary := self._look(name, marks[name])) is not None]
            yield found
            size = min(page, 2 * size)

    def refresh_active(self) -> list[RunSummary]:
        """Look only at the runs that were active; returns those that have changed."""
        before = [run for run in self.runs.values() if run.status in ACTIVE]
        found = (self._look(run.name, _mark(paths.folder("runs") / run.name)) for run in before)
        return [run for run, old in zip(found, before, strict=True) if run is not None and run != old]

    def sorted(self) -> list[RunSummary]:
        """All runs, the newest first."""
        return sorted(self.runs.values(), key=lambda run: (-(run.created or 0.0), run.name))

    def _is_stale(self, name: str, marks: dict[str, _Mark]) -> bool:
        return self._marks.get(name) != marks[name] or self.runs[name].status in ACTIVE

    def _look(self, name: str, mark: _Mark) -> RunSummary | None:
        run = RunDirectory(paths.folder("runs") / name)
        if not run.is_run:
            self._forget(name)
            return None
        summary = self.runs[name] = summarise_anyhow(run)
        self._marks[name] = mark
        return summary

    def _forget(self, name: str) -> None:
        self._marks.pop(name, None)
        self.runs.pop(name, None)


def _marks(folder: Path) -> dict[str, _Mark]:
    """Name -> what changes with the run, for every folder that looks like one; the newest has the largest."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:  # nothing was ever trained here
        return {}
    marks = {name: _mark(folder / name) for name in names}
    return {name: mark for name, mark in marks.items() if any(mark)}


def _mark(run: Path) -> _Mark:
    """When each of the files that a summary is made of was last replaced; zeros where there is none."""
    found: list[int] = []
    for name in ("state.json", "launch.json"):
        found += _stamp(f"{run}/{name}")
    if not any(found):  # a run without a state is summarised from its events
        for name in ("events.jsonl", "config.json"):
            found += _stamp(f"{run}/{name}")
    return tuple(found)


def _stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_ino)
