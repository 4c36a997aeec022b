"""What the screen of preferences shows: the pairs as rows, how many there are of which kind, and whether that is enough."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from textual.content import Content

from mlxllm import paths
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import UserError
from tui.glance import FEW_PREFERENCES
from tui.widgets.rows import Column
from tui.words import printable, visible

ENOUGH = 200
"""From here on a model changes for good, with the usual settings."""
_CELL_CHARS = 200
_MOST_MODELS = 3

COLUMNS = (
    Column("what was asked", 14, grows=True),
    Column("+ chosen", 14, grows=True),
    Column("- rejected", 14, rank=1, grows=True),
    Column("how", 9),
    Column("model", 18, rank=2),
    Column("when", 11, rank=3),
)


@dataclass(frozen=True)
class Stored:
    """The store as it was read."""

    pairs: dict[str, StoredPreference]
    """By id, the newest first."""
    texts: dict[str, str]
    """By id, all that a filter looks into, in lower case."""
    damaged: int = 0
    """Lines that are no preference."""
    problem: str = ""
    """Why it could not be read."""


def read_store() -> Stored:
    """Read the whole store; call it off the event loop."""
    reading = PreferenceStore().read()
    try:
        found = sorted(reading, key=lambda pair: -pair.time)
    except UserError as error:
        return Stored({}, {}, problem=str(error))
    pairs = {pair.id: pair for pair in found}
    return Stored(pairs, {id_: _text(pair) for id_, pair in pairs.items()}, reading.damaged)


def _text(pair: StoredPreference) -> str:
    asked = " ".join(message.content for message in pair.prompt)
    return " ".join((asked, pair.chosen, pair.rejected, pair.model, pair.how)).lower()


def cells(pair: StoredPreference) -> Sequence[str]:
    """The cells of a pair under `COLUMNS`."""
    when = "-"
    with suppress(OverflowError, OSError, ValueError):  # a time that no calendar has
        when = time.strftime("%m-%d %H:%M", time.localtime(pair.time))
    texts = (printable(text[:_CELL_CHARS]) for text in (asked(pair), pair.chosen, pair.rejected))
    return (*texts, pair.how, printable(pair.model or "-"), when)


def asked(pair: StoredPreference) -> str:
    """What the user said last."""
    return next((m.content for m in reversed(pair.prompt) if m.role == "user"), pair.prompt[-1].content)


def prompt(pair: StoredPreference) -> Content:
    """The whole prompt; who says what, where it has more than one message."""
    if len(pair.prompt) == 1:
        return Content(visible(pair.prompt[0].content))
    lines = [Content.assemble((f"{message.role}: ", "bold"), visible(message.content)) for message in pair.prompt]
    return Content("\n").join(lines)


def pairs_of(number: int) -> str:
    """So many pairs."""
    return "1 pair" if number == 1 else f"{number:,} pairs"


def counts(pairs: Sequence[StoredPreference]) -> str:
    """How many pairs there are, by how they came about and by model."""
    hows = Counter(pair.how for pair in pairs)
    models = Counter(printable(pair.model) for pair in pairs if pair.model)
    parts = [pairs_of(len(pairs))]
    parts.append(", ".join(f"{number:,} {how}" for how, number in hows.most_common()))
    if models:
        named = [f"{number:,} of {model}" for model, number in models.most_common(_MOST_MODELS)]
        others = len(models) - _MOST_MODELS
        parts.append(", ".join(named) + (f" and {others:,} other models" if others > 0 else ""))
    return "   ".join(filter(None, parts))


def model_to_align(pairs: Sequence[StoredPreference]) -> str:
    """The model that most pairs are about, if it is still there; else ""."""
    for model, _ in Counter(pair.model for pair in pairs if pair.model).most_common():
        with suppress(UserError):
            paths.existing("runs", model.rpartition("@")[0] or model)
            return model
    return ""


def advice(number: int) -> str:
    """Whether so many pairs are of use."""
    if number < FEW_PREFERENCES:
        return (
            f"{number:,} of {ENOUGH:,} or so: a handful is over before anything has changed. Keep more in Chat, or align "
            f"with 20 epochs to see a little."
        )
    if number < ENOUGH:
        return f"{number:,} of {ENOUGH:,} or so: enough to see a change with 20 epochs; some hundreds make it last."
    return f"{number:,} pairs are enough to learn from: a aligns a model on them."
