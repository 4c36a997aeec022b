"""The rows of a new run's form, and what each can be set to."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mlxllm import dials
from mlxllm.budget import seconds_of, steps_within
from mlxllm.errors import UserError
from mlxllm.estimate import count_parameters
from mlxllm.planning.proposals import START_SECONDS
from mlxllm.presets import PRESETS, SMALL_MODEL_RATES, preset_config
from mlxllm.speed import Speed
from tui.planning.draft import Draft, Method, sizes_of
from tui.planning.forecast import Forecast
from tui.planning.stock import KINDS, Stock
from tui.words import count

METHODS: tuple[tuple[Method, str, str], ...] = (
    (
        "pretrain",
        "pretrain",
        "From nothing: learn to continue text, from a dataset. The first thing that any model does.",
    ),
    (
        "sft",
        "SFT",
        "Supervised fine-tuning: teach a model that can continue text to answer, by conversations to imitate.",
    ),
    (
        "dpo",
        "DPO",
        "Teach a model that answers which of two answers is better, from pairs; your own from the chat, too.",
    ),
)
EPOCHS = (1, 2, 3, 5, 10, 20, 40)
RANKS = (4, 8, 16, 32, 64)
RATES = (1e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3)


@dataclass(frozen=True)
class Choice:
    """One thing that a row can be set to."""

    label: str
    change: dict[str, Any]
    """Of the draft."""
    detail: str = ""
    """Numbers beside it."""
    about: str = ""
    """A sentence below the list."""


@dataclass(frozen=True)
class Row:
    """A line of the form."""

    key: str
    title: str
    choices: tuple[Choice, ...] = ()
    at: int | None = None
    """Which of the choices is taken."""
    shown: str = ""
    """The value, where it is none of the choices."""
    entry: str = ""
    """What can be typed instead; "" where nothing can."""
    empty: str = ""
    """What to do where there is nothing to choose from."""

    @property
    def value(self) -> str:
        """What the form shows."""
        return self.choices[self.at].label if self.at is not None else self.shown

    @property
    def about(self) -> str:
        """What is to be known of it."""
        return self.choices[self.at].about if self.at is not None else self.empty


def rows(draft: Draft, stock: Stock, known: Forecast | None) -> list[Row]:
    """The form of a draft; `known` are its costs, if its settings can be."""
    found = [_method(draft)]
    if draft.method == "pretrain":
        return [
            *found,
            _preset(draft, stock),
            _dataset(draft, stock),
            _name(draft),
            _size(draft, stock),
            _time(draft, stock),
        ]
    return [
        *found,
        _model(draft, stock),
        _records(draft, stock),
        _name(draft),
        _adapters(draft),
        _length(draft, known),
        _rate(draft, stock),
    ]


def _chosen(draft: Draft, choices: Sequence[Choice]) -> int | None:
    for position, choice in enumerate(choices):
        if all(getattr(draft, key) == value for key, value in choice.change.items()):
            return position
    return None


def _row(draft: Draft, key: str, title: str, choices: Sequence[Choice], **more: str) -> Row:
    return Row(key, title, tuple(choices), _chosen(draft, choices), **more)


def _method(draft: Draft) -> Row:
    choices = [Choice(label, {"method": method}, about=about) for method, label, about in METHODS]
    return _row(draft, "method", "Method", choices)


def _preset(draft: Draft, stock: Stock) -> Row:
    dataset = stock.dataset(draft.dataset)
    vocab, val = (dataset.vocab_size, dataset.val_tokens) if dataset else (0, 0)
    choices = []
    for name, make in PRESETS.items():
        parameters, seconds = _of_preset(name, vocab, val, stock.speed)
        detail = f"{count(parameters):>5} {_roughly(seconds):>6}"
        choices.append(Choice(name, {"preset": name}, detail, " ".join((make.__doc__ or "").split())))
    return _row(draft, "preset", "Preset", choices)


def _roughly(seconds: float) -> str:
    """A time in two digits: "7 s", "2 min", "5 h", "12 d"."""
    for unit, length, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 86400)):
        if seconds < most:
            return f"{max(1, round(seconds / length))} {unit}"
    return f"{seconds / 86400:,.0f} d"


@lru_cache(maxsize=512)
def _of_preset(name: str, vocab_size: int, val_tokens: int, speed: Speed) -> tuple[int, float]:
    """Parameters, and the seconds of all of its steps."""
    config = preset_config(name).with_values(model={"vocab_size": vocab_size})
    return count_parameters(config.model), seconds_of(config.train, speed.cost(config, val_tokens)) + START_SECONDS


def _dataset(draft: Draft, stock: Stock) -> Row:
    choices = []
    for one in stock.datasets:
        detail = "! cannot be used" if one.problem else f"{count(one.tokens):>6} tokens"
        choices.append(Choice(one.name, {"dataset": one.name}, detail, one.problem or one.about))
    missing = f"there is no dataset {draft.dataset!r}" if draft.dataset else "none yet"
    empty = (
        "No dataset has been built yet. Press 2: the Data screen builds one from any text. Or press 1, then t: a quick "
        "start makes its own in a minute."
    )
    return _row(
        draft, "dataset", "Data", choices, shown=missing if stock.known else "...", empty="" if choices else empty
    )


def _model(draft: Draft, stock: Stock) -> Row:
    choices = [Choice(m.name, {"model": m.name}, m.kind, m.about) for m in _in_order(draft.method, stock)]
    empty = "No model has been trained yet; choose pretrain first, or press e and name a folder with a model."
    row = _row(draft, "model", "Model", choices, entry="RUN, RUN@STEP or a folder", empty="" if choices else empty)
    if row.at is None and draft.model:
        found = stock.model(draft.model)
        about = found.about if found else "a folder or a run of another place; it is looked at when training starts"
        other = Choice(draft.model, {"model": draft.model}, found.kind if found else "", about)
        return _row(draft, "model", "Model", [other, *choices], entry=row.entry)
    return Row(**{**vars(row), "shown": "none yet" if stock.known else "..."})


def _in_order(method: Method, stock: Stock) -> list[Any]:
    """What the method usually begins with comes first."""
    first = {"sft": (KINDS["pretrain"],), "dpo": (KINDS["sft"], KINDS["dpo"])}.get(method, ())
    return sorted(stock.models, key=lambda model: model.kind not in first)


def _records(draft: Draft, stock: Stock) -> Row:
    known = stock.records.get(draft.method, ())
    choices = [Choice(records.label, {"records": records.names}, about=records.about) for records in known]
    if draft.records and _chosen(draft, choices) is None:
        label = " + ".join(name.rstrip("/").rpartition("/")[2] for name in draft.records)
        choices.insert(0, Choice(label, {"records": draft.records}, about=", ".join(draft.records)))
    what = "conversations" if draft.method == "sft" else "pairs"
    empty = (
        f"No file of {what} is known. Press e and type the path of one (JSON lines, JSON or parquet), or owner/name."
    )
    if draft.method == "dpo":
        empty += " Or press 6: in a chat, two answers side by side become pairs of your own."
    entry = "a path (right completes it), owner/name"
    shown = "none yet" if stock.known else "..."
    return _row(draft, "records", "Data", choices, entry=entry, shown=shown, empty="" if choices else empty)


def _name(draft: Draft) -> Row:
    return Row("name", "Name", shown=draft.run, entry="empty: the proposed name")


def _size(draft: Draft, stock: Stock) -> Row:
    dataset, preset = stock.dataset(draft.dataset), preset_config(draft.preset)
    choices = []
    for size in sizes_of(draft.preset):
        config = dials.apply(preset, size).with_values(model={"vocab_size": dataset.vocab_size if dataset else 0})
        model = config.model
        detail = f"{count(count_parameters(model)):>5}  {model.hidden_size:>4} wide, {model.num_hidden_layers:>2} deep"
        label = size.label if size.changes else f"{size.label} (the preset's)"
        about = f"{model.num_attention_heads} heads of {model.resolved_head_dim}; weights, width and number of layers"
        choices.append(Choice(label, {"factor": size.factor}, detail, about))
    return _row(draft, "size", "Size", choices)


def _time(draft: Draft, stock: Stock) -> Row:
    """All positions from one look at the speed: steps of each time."""
    dataset = stock.dataset(draft.dataset)
    own = dials.time_label(None)
    try:
        config = draft.with_(minutes=None).config(vocab_size=dataset.vocab_size if dataset else 0)
    except UserError:
        choices = [Choice(dials.time_label(m), {"minutes": m}) for m in (None, *dials.MINUTES)]
        return _row(draft, "time", "Time", choices)
    cost = stock.speed.cost(config, dataset.val_tokens if dataset else 0)
    choices = [Choice(own, {"minutes": None}, f"{config.train.max_steps:,} steps", "As many steps as the recipe has.")]
    for minutes in dials.MINUTES:
        steps = steps_within(config.train, cost, 60 * minutes - START_SECONDS)
        about = "The trainer measures its steps when it starts, and does as many as fit."
        label = dials.time_label(minutes)
        choices.append(
            Choice(label, {"minutes": minutes}, f"about {count(steps)} step{'' if steps == 1 else 's'}", about)
        )
    return _row(draft, "time", "Time", choices)


def _adapters(draft: Draft) -> Row:
    every = "All weights move: learns most, and needs the memory of training."
    thin = "Only thin matrices beside the frozen model are trained (LoRA): less memory, and the file is small."
    choices = [Choice("all weights", {"rank": None}, about=every)]
    choices += [Choice(f"adapters, rank {rank}", {"rank": rank}, about=thin) for rank in RANKS]
    return _row(draft, "adapters", "Train", choices)


def _length(draft: Draft, known: Forecast | None) -> Row:
    recipe, suited = preset_config(draft.recipe).train.epochs or 1, draft.suited.epochs
    choices = []
    for epochs in sorted({recipe, *EPOCHS} | ({suited} if suited else set())):
        own = epochs == (suited or recipe)
        why = " (suits so few)" if own and suited else " (the recipe's)" if epochs == recipe else ""
        about = _ENOUGH if own and suited and draft.suited.learning_rate and suited != draft.few_epochs else _PASSES
        change = {"epochs": None if own else float(epochs), "minutes": None}
        choices.append(Choice(f"{_epochs(epochs)}{why}", change, about=about))
    choices += [
        Choice(
            dials.time_label(minutes), {"epochs": None, "minutes": minutes}, about="As many steps as fit into the time."
        )
        for minutes in dials.MINUTES
    ]
    row = _row(draft, "length", "Length", choices, shown=_epochs(draft.epochs) if draft.epochs else "")
    if known is None or known.steps is None or row.at is None:
        return row
    at = row.choices[row.at]
    steps = "1 step" if known.steps == 1 else f"{known.steps:,} steps"
    detailed = Choice(at.label, at.change, steps, at.about)
    return Row(**{**vars(row), "choices": (*row.choices[: row.at], detailed, *row.choices[row.at + 1 :])})


_PASSES = "How many times it goes through the records; a handful of records needs many."
_ENOUGH = (
    "Ten steps or so are enough for a small model at the rate that suits it; many more would only teach it so few records "
    "by heart, and spoil its text."
)


def _epochs(number: float) -> str:
    return f"{number:g} epoch" + ("" if number == 1 else "s")


def _rate(draft: Draft, stock: Stock) -> Row:
    recipe, suited = preset_config(draft.recipe).train.learning_rate, draft.suited.learning_rate
    about = (
        f"How far a step moves the weights. Models of a few million weights want {SMALL_MODEL_RATES[draft.method]:g} or so, "
        f"large ones the recipe's."
    )
    model = stock.model(draft.model)
    choices = []
    for rate in sorted({recipe, *RATES} | ({suited} if suited else set())):
        own = rate == (suited or recipe)
        why = " (the recipe's)" if rate == recipe else ""
        if own and suited and model is not None:
            why = f" (suits a model of {count(count_parameters(model.config))})"
        choices.append(Choice(f"{rate:g}{why}", {"learning_rate": None if own else rate}, about=about))
    return _row(draft, "rate", "Rate", choices, shown=f"{draft.learning_rate:g}" if draft.learning_rate else "")
