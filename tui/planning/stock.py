"""What a new run can be made of: datasets, models, files of records; and what is known of this machine's speed."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlxllm import paths
from mlxllm.config import ModelConfig, RunConfig
from mlxllm.conversation.preference_store import FILE as PREFERENCES
from mlxllm.conversation.preference_store import PreferenceStore
from mlxllm.data.manifest import FILE_NAME, Manifest, read_manifest
from mlxllm.data.shards import TokenDataset
from mlxllm.data.split import val_threshold
from mlxllm.errors import UserError
from mlxllm.runs import ACTIVE, RunDirectory, RunSummary, checkpoint_steps, list_runs, read_json
from mlxllm.settings import parse_config
from mlxllm.speed import PacedRun, Speed, busy_runs, guess, paced_runs, read_speed
from tui import commands, machine
from tui.data.entries import tokenizer_of
from tui.data.mixture import splitting_share
from tui.words import count, number

_BROUGHT = {"sft": "sft.jsonl", "dpo": "dpo.jsonl"}
"""Files of records that lie beside the tokens of a world such as `stories`."""
_SHARE_OF_FEW = 0.1
_FEW_DOCUMENTS = 1000
"""Of a dataset without validation: one with more is hardly ever without."""
KINDS = {"pretrain": "base model", "sft": "answers (SFT)", "dpo": "aligned (DPO)"}


@dataclass(frozen=True)
class Dataset:
    """One that was built."""

    name: str
    tokens: int
    val_tokens: int
    vocab_size: int
    about: str
    """What it is made of, in a line."""
    problem: str = ""
    """Why training refuses it, and what to do, in a sentence."""
    remedy: commands.Args = ()
    """The command that mends that."""


@dataclass(frozen=True)
class Model:
    """A run with a checkpoint."""

    name: str
    kind: str
    about: str
    config: ModelConfig
    parameters: int
    tokenizer: Path


@dataclass(frozen=True)
class Records:
    """Files that can be learned from."""

    names: tuple[str, ...]
    label: str
    about: str


@dataclass(frozen=True)
class Stock:
    """All of it."""

    datasets: tuple[Dataset, ...] = ()
    """The newest first."""
    models: tuple[Model, ...] = ()
    """The newest first."""
    records: dict[str, tuple[Records, ...]] = field(default_factory=dict)
    """`sft` and `dpo` -> files."""
    speed: Speed = field(default_factory=guess)
    paced: tuple[PacedRun, ...] = ()
    memory_bytes: int = 0
    busy: bool = False
    """Whether something is being trained now, beside which no speed can be measured."""
    known: bool = False
    """Whether anybody has looked yet."""

    def dataset(self, name: str) -> Dataset | None:
        """The dataset of that name."""
        return next((dataset for dataset in self.datasets if dataset.name == name), None)

    def model(self, name: str) -> Model | None:
        """The model behind RUN, RUN@STEP or RUN@best."""
        return next((model for model in self.models if model.name == name.partition("@")[0]), None)


def take_stock(added: Sequence[tuple[str, str]] = ()) -> Stock:
    """Look at everything; reads a few small files of each run and dataset, so call it off the event loop.

    Args:
        added: path and kind (`conversations` or `preferences`) of the files of records that the user has named.
    """
    datasets = tuple(_datasets())
    records = {method: tuple(_records(method, added)) for method in _BROUGHT}
    return Stock(
        datasets=datasets,
        models=tuple(_models(list_runs())),
        records=records,
        speed=read_speed(),
        paced=tuple(paced_runs()),
        memory_bytes=machine.this_machine().memory_bytes,
        busy=bool(busy_runs()),
        known=True,
    )


def _datasets() -> list[Dataset]:
    folder = paths.folder("datasets")
    found = []
    built = [path for path in folder.glob(f"*/{FILE_NAME}") if not path.parent.name.startswith(".")]
    for path in sorted((path.parent for path in built), key=lambda path: (-_written(path), path.name)):
        try:
            manifest = read_manifest(path)
        except UserError:  # damaged: the Data screen says so
            continue
        sources = ", ".join(source.spec for source in manifest.sources.values())
        words = manifest.tokenizer
        about = f"{count(manifest.train.tokens)} tokens, {words.kind} tokenizer of {words.vocab_size:,}; from {sources}"
        tokens = (manifest.train.tokens, manifest.val.tokens)
        found.append(Dataset(path.name, *tokens, words.vocab_size, about, *_problem(path, manifest)))
    return found


def _problem(directory: Path, manifest: Manifest) -> tuple[str, commands.Args]:
    """Why training refuses a dataset of which one side is empty, and the command that builds it with both."""
    if manifest.train.tokens and manifest.val.tokens:
        return "", ()
    try:
        dataset = TokenDataset.open(directory)
    except UserError as error:
        return str(error), ()
    side = dataset.train if dataset.train.num_documents else dataset.val
    ends = side.document_ends[:_FEW_DOCUMENTS].tolist()
    texts = [dataset.tokenizer.decode(side.read(a, b - a)[:-1]) for a, b in zip([0, *ends], ends, strict=False)]
    thresholds = [val_threshold(text) for text in texts]
    lacks = "nothing to learn from" if manifest.val.tokens else "nothing held out to be judged by"
    told = f"dataset {directory.name!r} has {lacks}, and training needs both (documents are held out whole)"
    if len(set(thresholds)) < 2:
        return f"{told}; it has only one text: press 2, add more with a, and build it anew", ()
    sources = [(source.spec, source.weight) for source in manifest.sources.values()]
    share, tokenizer = splitting_share(thresholds, _SHARE_OF_FEW), tokenizer_of(directory, manifest)
    remedy = commands.data_build(directory.name, sources, tokenizer, f"{share:.15g}", force=True)
    what = f"build it again with {share:.15g} held out instead of {manifest.val_split:g}"
    return f"{told}; {what}: press 2, then b on it, or take the command below", remedy


def _written(dataset: Path) -> float:
    with suppress(OSError):
        return (dataset / FILE_NAME).stat().st_mtime
    return 0.0


def _models(runs: Sequence[RunSummary]) -> list[Model]:
    found = []
    for run in runs:
        directory = RunDirectory(Path(run.path))
        if run.status == "damaged" or not checkpoint_steps(directory):
            continue
        try:
            config = parse_config(read_json(directory.config), "")
        except UserError:
            continue
        found.append(_model(run, directory, config))
    return found


def _model(run: RunSummary, directory: RunDirectory, config: RunConfig) -> Model:
    kind = KINDS.get(config.method, "model")
    loss = (run.best_val or run.val or {}).get("loss")
    parts = [kind, f"{count(run.parameters)} parameters", f"step {run.step:,}"]
    parts += [f"validation loss {number(loss)}"] if loss is not None else []
    parts += ["an adapter on " + config.base_model] if config.lora is not None else []
    parts += [f"still {run.status}: its last checkpoint is taken"] if run.status in ACTIVE else []
    learned = f"; learned from {run.dataset}" if run.dataset else ""
    about = ", ".join(parts) + learned
    return Model(run.name, kind, about, config.model, run.parameters or 0, directory.path / "tokenizer")


def _records(method: str, added: Sequence[tuple[str, str]]) -> list[Records]:
    """The user's own preferences first, then what was added, then what worlds bring along."""
    found = []
    store = PreferenceStore()
    if method == "dpo":
        pairs = 0
        with suppress(UserError):
            pairs = sum(1 for _ in store.read())
        if pairs:
            named = f"{pairs:,} {'pair' if pairs == 1 else 'pairs'}"
            about = f"your own preferences, from chats in which you compared two answers: {named} in {PREFERENCES}"
            found.append(Records((str(store.path),), f"your own preferences, {named}", about))
    for name, kind in reversed(added):
        if (kind == "preferences") == (method == "dpo") and name != str(store.path) and Path(name).exists():
            found.append(Records((name,), Path(name).name or name, name))
    folder = paths.folder("datasets")
    for path in sorted(folder.glob(f"*/{_BROUGHT[method]}")) if folder.is_dir() else []:
        label = f"{path.parent.name}/{path.name}"
        found.append(Records((str(path),), label, f"lessons that dataset {path.parent.name} brings along: {path}"))
    return found
