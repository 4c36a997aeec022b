"""All that Home tells, gathered from files at once: runs, the losses of those that train, datasets, preferences."""

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.errors import UserError
from mlxllm.runs import ACTIVE, RunDirectory, RunSummary, list_runs

_TAIL_BYTES = 1 << 17
FEW_PREFERENCES = 20
"""From here on aligning may change something."""


@dataclass(frozen=True)
class Glance:
    """What there is."""

    runs: tuple[RunSummary, ...]
    """The newest first."""
    losses: dict[str, list[float]]
    """The last losses of each run that trains."""
    preferences: int

    @property
    def active(self) -> list[RunSummary]:
        """The runs that train."""
        return [run for run in self.runs if run.status in ACTIVE]

    @property
    def models(self) -> list[RunSummary]:
        """Ended runs that have made at least a step."""
        return [run for run in self.runs if run.status not in ACTIVE and run.step > 0]


def take_glance() -> Glance:
    """Look at everything; takes milliseconds for tens of runs, so call it off the event loop."""
    runs = tuple(list_runs())
    losses = {run.path: last_losses(RunDirectory(Path(run.path))) for run in runs if run.status in ACTIVE}
    preferences = 0
    with suppress(UserError):
        preferences = sum(1 for _ in PreferenceStore().read())
    return Glance(runs, losses, preferences)


def last_losses(run: RunDirectory) -> list[float]:
    """The losses of the last steps, from the end of events.jsonl alone."""
    try:
        with open(run.events, "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")
    except OSError:
        return []
    found = []
    for line in lines[1:] if size > _TAIL_BYTES else lines:
        if line.startswith(b'{"kind":"train",'):
            with suppress(ValueError):
                loss = json.loads(line).get("loss")
                if isinstance(loss, (int, float)):
                    found.append(float(loss))
    return found


def next_step(glance: Glance) -> tuple[str, str]:
    """The one thing to do next: an action of Home, and a sentence."""
    active, models = glance.active, glance.models
    if active:
        return "monitor", f"{active[0].name} is training: press enter on it to watch, and talk to it while it learns."
    newest = glance.runs[0] if glance.runs else None
    if newest is None:
        return "quickstart", "Press t: in a few minutes you have a language model of your own, and can talk to it."
    if newest.status in ("crashed", "out_of_memory", "stopped") and newest.step:
        return (
            "monitor",
            f"{newest.name} ended early ({newest.status}): press enter on it, then r to go on.",
        )
    if not models:
        return "quickstart", "No run has come far yet. Press t for a quick start, or n to choose everything yourself."
    best = models[0]
    if all(run.method in (None, "pretrain") for run in models):
        return "new", f"{best.name} only continues text. Teach it to answer: press n and choose SFT."
    if glance.preferences >= FEW_PREFERENCES:
        return (
            "preferences",
            f"You have kept {glance.preferences} preferences: press 7, then a, to align a model on them.",
        )
    return "chat", f"Press c to talk to {best.name}; A there asks which answer you prefer, 7 teaches it that."
