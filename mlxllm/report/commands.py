"""The commands that lead to a run again, made from what the run, its data and its tokenizer say of themselves.

Run in this order on the same machine, in an empty home, they give the same weights (on the CPU bit for bit; a test does
that). Where something cannot be had again by a command, a note says so.
"""

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.data.build import VAL_SPLIT
from mlxllm.data.clean.recipes import RECIPES
from mlxllm.data.manifest import Manifest, SourceEntry, read_manifest
from mlxllm.data.sources import kind_named, kinds
from mlxllm.data.weights import MAX_EPOCHS, Weight
from mlxllm.errors import UserError
from mlxllm.presets import PRESETS, preset_config
from mlxllm.runs import ACTIVE, RunDirectory, RunSummary, flat
from mlxllm.settings import OF_LOSSES, plain_value
from mlxllm.tokenizer.storage import making_of
from mlxllm.visible import called

METHODS = ("pretrain", "sft", "dpo")
_PROGRAM = "mlxllm"
_WIDTH = 100
_OF_COPIED = {"--copied": "samples", "--max-tokens": "max_tokens", "--temp": "temperature", "--seed": "seed"}
"""Option of `eval --copied` -> setting of its result."""
_ELSEWHERE = (
    *"preset method base_model base_adapter base_fingerprint".split(),
    *"data.dataset data.records data.val_records train.max_steps train.epochs model.vocab_size".split(),
)
"""Settings that an option says, or that follow from data and model."""

Argv = list[str]


@dataclass
class Commands:
    """Commands in their order, and what they leave open."""

    argvs: list[Argv] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, argv: Sequence[str]) -> None:
        """Another command, unless it stands there already."""
        if list(argv) not in self.argvs:
            self.argvs.append(list(argv))

    def lines(self) -> list[str]:
        """As they are typed in a shell; long ones go on behind a backslash."""
        return [line for argv in self.argvs for line in spelled(argv)]


def spelled(argv: Sequence[str]) -> list[str]:
    """One command as lines for a shell, broken before options."""
    lines, line = [], ""
    for n, word in enumerate(argv):
        quoted = shlex.quote(word)
        with_value = len(quoted) + (
            len(shlex.quote(argv[n + 1])) + 1 if word.startswith("--") and n + 1 < len(argv) else 0
        )
        if line.strip() and word.startswith("--") and len(line) + with_value > _WIDTH:
            lines.append(f"{line} \\")
            line = f"    {quoted}"
        else:
            line += f" {quoted}" if line else quoted
    return [*lines, line]


def dataset_commands(dataset: str, into: Commands) -> None:
    """The tokenizer and the dataset of that name, or at that path."""
    try:
        folder = paths.existing("datasets", dataset)
        manifest = read_manifest(folder)
    except UserError as error:
        into.notes.append(f"The dataset cannot be looked into, so there is no command for it: {error}")
        return
    argv = [_PROGRAM, "data", "build", dataset_name(dataset)]
    for source in manifest.sources.values():
        argv += ["--source", f"{source.spec}@{source.weight}" if source.weight else source.spec]
    argv += ["--tokenizer", _tokenizer(manifest, folder, into)]
    if manifest.val_split != VAL_SPLIT:
        argv += ["--val-split", f"{manifest.val_split:g}"]
    argv += _cleaning(manifest)
    shares = [s.epochs for s in manifest.sources.values() if s.weight and not Weight.parse(s.weight).times]
    if shares and max(shares) != MAX_EPOCHS:
        argv += ["--max-epochs", repr(max(shares))]
    for file in manifest.evaluation_files:
        argv += ["--overlap", file]
        into.notes.append(
            f"{file} is the evaluation set that the data were compared with; give the path where yours lies."
        )
    into.add(argv)


def _tokenizer(manifest: Manifest, folder: Path, into: Commands) -> str:
    """What `--tokenizer` takes for it; the command that makes it, where there is one, goes before."""
    entry = manifest.tokenizer
    if entry.recipe or entry.kind == "byte":
        return entry.recipe or entry.kind
    home = paths.folder("tokenizers")
    for there in sorted(home.iterdir()) if home.is_dir() else ():
        made = making_of(there)
        if _fingerprint(there) != entry.fingerprint:
            continue
        inputs, size = made.get("input"), made.get("vocab_size")
        if isinstance(inputs, list) and all(isinstance(text, str) for text in inputs):
            argv = [_PROGRAM, "tokenizer", "train", there.name, "--kind", str(made.get("kind"))]
            argv += [word for text in inputs for word in ("--input", text)]
            argv += ["--vocab-size", str(size)] if isinstance(size, int) else []
            argv += ["--seed", str(made["seed"])] if isinstance(made.get("seed"), int) else []
            into.add(argv)
        else:
            into.notes.append(f"Nothing says how the tokenizer {there.name!r} was made; it is taken as it is.")
        return there.name
    into.notes.append("No command makes this tokenizer; it is taken from the dataset's folder on this machine.")
    return str(folder.absolute() / "tokenizer")


def _fingerprint(folder: Path) -> str:
    try:
        raw = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        return ""
    return str(raw.get("fingerprint", "")) if isinstance(raw, dict) else ""


def _cleaning(manifest: Manifest) -> Argv:
    """`--recipe` and `--set`, where a source was not cleaned as its kind is by itself."""
    argv: Argv = []
    done = set()
    for source in manifest.sources.values():
        kind = source.spec.partition(":")[0]
        name = source.recipe.partition(",")[0]
        if kind not in kinds() or kind in done or name not in RECIPES:
            continue
        done.add(kind)
        if name != str(kind_named(kind).recipe):
            argv += ["--recipe", f"{kind}={name}"]
        argv += [word for setting in _changes(name, source) for word in ("--set", f"{kind}:{setting}")]
    return argv


def _changes(name: str, source: SourceEntry) -> Iterable[str]:
    """The settings by which the rules that ran differ from those of the recipe."""
    usual = RECIPES[name].rules()
    if source.rules.get("dedup", "none") != usual.get("dedup", "none"):
        yield f"dedup={source.rules.get('dedup', 'none')}"
    for rule in {**usual, **source.rules}:
        ran, before = source.rules.get(rule), usual.get(rule)
        if rule == "dedup" or ran == before:
            continue
        if not isinstance(ran, dict):
            yield f"{rule}=off"
            continue
        if not isinstance(before, dict):
            yield f"{rule}=on"
        settings = before if isinstance(before, dict) else {}
        yield from (
            f"{rule}.{key}={json.dumps(value)}" for key, value in ran.items() if settings.get(key, ...) != value
        )


def training_command(run: RunDirectory, config: Mapping[str, Any], summary: RunSummary, into: Commands) -> None:
    """The command of one stage: `train`, `sft` or `dpo` with every setting that differs from its recipe's."""
    method = str(config.get("method") or "pretrain")
    data, train = _section(config, "data"), _section(config, "train")
    model, lora = str(config.get("base_model") or ""), config.get("lora")
    if method not in METHODS:
        into.notes.append(f"Run {run.name!r} was trained by {called(method)!r}, for which there is no command.")
        return
    argv = [_PROGRAM, "train" if method == "pretrain" else method]
    preset = str(config.get("preset") or "")
    if method == "pretrain":
        usual = preset_config(preset) if preset in PRESETS else RunConfig()
        argv += ["--preset", preset] if preset in PRESETS else []
        argv += ["--data", dataset_name(str(data.get("dataset") or ""))]
    else:
        usual = preset_config(method if lora is None else f"{method}-lora")
    argv += ["--model", model] if model else []
    argv += ["--adapter", str(config["base_adapter"])] if config.get("base_adapter") else []
    for option, key in (("--data", "records"), ("--val-data", "val_records")):
        for file in data.get(key) or () if method != "pretrain" else ():
            argv += [option, str(file)]
    argv += ["--run", run.name, "--max-steps", str(train.get("max_steps"))]
    if isinstance(lora, dict):
        argv += ["--lora-rank", str(lora.get("rank"))]
    argv += [word for setting in _settings(config, usual, bool(model)) for word in ("--set", setting)]
    into.add(argv)
    if summary.status in ACTIVE:
        into.notes.append(f"Run {run.name!r} has not ended yet: the command trains it to its last step.")
    elif summary.max_steps is not None and summary.step < summary.max_steps and not train.get("early_stop_evals"):
        into.notes.append(
            f"Run {run.name!r} ended at step {summary.step:,}; the command trains it to step {summary.max_steps:,}."
        )


def _settings(config: Mapping[str, Any], usual: RunConfig, has_model: bool) -> Iterable[str]:
    before, now = flat(usual.model_dump(mode="json")), flat(config)
    loss = _section(config, "dpo").get("loss")
    for key, value in now.items():
        if key in _ELSEWHERE or before.get(key, ...) == value or "." not in key or key == "lora.rank":
            continue
        if has_model and key.startswith("model."):
            continue
        name = key.removeprefix("dpo.")
        if name != key and name in OF_LOSSES and loss not in OF_LOSSES[name]:
            continue
        yield f"{key}={_value(value)}"


def _value(value: Any) -> str:
    """As `--set` reads it back: a text as it is where it means itself."""
    if isinstance(value, str) and value.isprintable() and plain_value(value) == value:
        return value
    return json.dumps(value)


def dataset_name(dataset: str) -> str:
    """What one types for a dataset: its name where it lies in the home."""
    path = Path(dataset)
    return path.name if path.is_absolute() and path.parent == paths.folder("datasets").absolute() else dataset


def evaluation_command(model: str, task: str, settings: Mapping[str, Any]) -> Argv | None:
    """The command that scores a dataset, or counts what is copied of one, again; None for anything else: a result does
    not say where its questions lay.
    """
    if task == "copied":
        told = {name: settings.get(key) for name, key in _OF_COPIED.items()}
        return [_PROGRAM, "eval", "--model", model, *(word for name, n in told.items() for word in (name, str(n)))]
    kind, _, name = task.partition(":")
    if kind != "data" or not name or "/" in name:  # behind a slash stands a source, which comes with the whole
        return None
    limit = settings.get("limit")
    argv = [_PROGRAM, "eval", "--model", model, "--data", name]
    return [*argv, "--limit", str(limit)] if isinstance(limit, int) else argv


def index_command(dataset: str) -> Argv:
    """The command that builds the index of a dataset's training text."""
    return [_PROGRAM, "data", "index", dataset_name(dataset)]


def _section(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else {}
