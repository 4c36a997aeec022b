"""What the screen of preferences shows: the pairs as rows, how many there are of which kind, and whether that is enough."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from textual.content import Content

from mlxllm import paths
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.conversation.stored_preference import StoredPreference
from mlxllm.errors import UserError
from mlxllm.runs import short_name
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
    Column("model", 18, rank=2, grows=True),
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
    return " ".join((asked, pair.chosen, pair.rejected, *authors(pair).values(), pair.how)).lower()


def authors(pair: StoredPreference) -> dict[str, str]:
    """`chosen` and `rejected` -> address of the model that wrote it; what no model wrote, as far as is known, is left out."""
    chosen = "" if pair.how == "rewritten" else str(pair.chosen_by.get("model") or pair.model)
    return {side: model for side, model in (("chosen", chosen), ("rejected", pair.model)) if model}


def model(pair: StoredPreference) -> str:
    """Who wrote its answers: one address, or that of each side after its sign."""
    by = authors(pair)
    if len(set(by.values())) < 2:
        return printable(pair.model or "-")
    return printable(f"+ {short_name(by['chosen'])}, - {short_name(by['rejected'])}")


def titles(pair: StoredPreference) -> Mapping[str, Content]:
    """What stands above each answer: whether it was chosen or rejected, and whose it is."""
    by = authors(pair)
    told = {side: f": {printable(short_name(by[side]))}" if side in by else "" for side in ("chosen", "rejected")}
    if pair.how == "rewritten":
        told["chosen"] = ": written by you"
    return {side: Content(f"{sign} {side}{told[side]}") for side, sign in (("chosen", "+"), ("rejected", "-"))}


def cells(pair: StoredPreference) -> Sequence[str]:
    """The cells of a pair under `COLUMNS`."""
    when = "-"
    with suppress(OverflowError, OSError, ValueError):  # a time that no calendar has
        when = time.strftime("%m-%d %H:%M", time.localtime(pair.time))
    texts = (printable(text[:_CELL_CHARS]) for text in (asked(pair), pair.chosen, pair.rejected))
    return (*texts, pair.how, model(pair), when)


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
    """How many pairs there are, by how they came about and by model; one with an answer each of two counts for both."""
    hows = Counter(pair.how for pair in pairs)
    models = Counter(printable(model) for pair in pairs for model in sorted(set(authors(pair).values())))
    parts = [pairs_of(len(pairs))]
    parts.append(", ".join(f"{number:,} {how}" for how, number in hows.most_common()))
    if models:
        named = [f"{number:,} of {model}" for model, number in models.most_common(_MOST_MODELS)]
        others = len(models) - _MOST_MODELS
        parts.append(", ".join(named) + (f" and {others:,} other models" if others > 0 else ""))
    return "   ".join(filter(None, parts))


def model_to_align(pairs: Sequence[StoredPreference]) -> str:
    """The model that most pairs are about, if it is still there; else "".

    A pair with an answer each of two models is about both; where that makes two even, it is the one that was chosen more
    often.
    """
    about = Counter(model for pair in pairs for model in sorted(set(authors(pair).values())))
    chosen = Counter(authors(pair).get("chosen") for pair in pairs)
    for model in sorted(about, key=lambda model: (about[model], chosen[model]), reverse=True):
        with suppress(UserError):
            paths.existing("runs", model.rpartition("@")[0] or model)
            return model
    return ""


def advice(number: int) -> str:
    """Whether so many pairs are of use."""
    if number < FEW_PREFERENCES:
        return (
            f"{number:,} of {ENOUGH:,} or so: a handful teaches little. Keep more in Chat; an alignment reads these several "
            f"times over, to show something."
        )
    if number < ENOUGH:
        return f"{number:,} of {ENOUGH:,} or so: enough to see a change; some hundreds make it last."
    return f"{number:,} pairs are enough to learn from: a aligns a model on them."
