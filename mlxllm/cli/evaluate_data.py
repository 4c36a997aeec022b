"""`mlxllm eval --data`: loss, perplexity and bits per byte over held-out text."""

import math
import time
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm import paths
from mlxllm.cli.per_token import Scored, token_losses
from mlxllm.cli.sampling import say
from mlxllm.cli.table import print_table
from mlxllm.errors import ConfigError, DataError, ModelError

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import Source
    from mlxllm.evaluation.perplexity import Evaluator, Perplexity, ScoredSplit, Sums
    from mlxllm.model.loading import LoadedModel

Texts = Mapping[str, "TokenDataset | Source"]
"""What was named: a dataset, or what reads files."""

_BATCH_TOKENS = 4096
_FIRST_TOLD = 10.0
"""Seconds until something is said of how far it is."""
_METRICS = ("loss", "loss_stderr", "perplexity", "bits_per_byte", "bits_per_byte_stderr")
_METHOD = 1
"""Counted up when the same settings would give other numbers."""


def look_up(names: Sequence[str]) -> Texts:
    """What the names stand for, before a model is loaded.

    Raises:
        ConfigError: there is no such dataset or file; near names are told.
        DataError: it is damaged, or there is nothing to read in it.
    """
    if any(not name.strip() for name in names):
        raise ConfigError("--data is empty; give the name of a dataset (`mlxllm data ls` lists them) or its folder")
    return {name: _look_up(name) for name in dict.fromkeys(names)}


def _look_up(name: str) -> "TokenDataset | Source":
    from mlxllm.data.manifest import FILE_NAME
    from mlxllm.data.shards import TokenDataset
    from mlxllm.data.sources import kinds, open_source
    from mlxllm.data.sources.telling import kind_of_path
    from mlxllm.evaluation.tasks.files import holds_questions

    if name.partition(":")[0] in kinds() and ":" in name and not Path(name).exists():
        return open_source(name)
    path = _existing(name)
    is_dataset = path.parent == paths.folder("datasets") or (path / FILE_NAME).exists()
    if is_dataset or (path.is_dir() and (path / "tokenizer").is_dir()):  # the latter: one that lacks its manifest
        return TokenDataset.open(path)
    if holds_questions(path):
        raise ConfigError(
            f"--data {name} has questions with known answers, and no text to score; ask them with --tasks {name}"
        )
    return open_source(f"{kind_of_path(str(path))}:{path}")


def _existing(name: str) -> Path:
    """The dataset, file or folder of this name."""
    from mlxllm.data.sources.files import PACKED_SUFFIXES, RECORD_SUFFIXES, TEXT_SUFFIXES

    path = Path(name).expanduser()
    is_path = paths.is_path(name) or name.endswith((*TEXT_SUFFIXES, *RECORD_SUFFIXES, *PACKED_SUFFIXES))
    if not is_path or path.exists() or (paths.folder("datasets") / name).exists():
        return paths.existing("datasets", name)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise ConfigError(
            f"--data {name}: there is no folder {folder}; give a file or folder of text, or a dataset's name"
        )
    near = get_close_matches(path.name, [each.name for each in folder.iterdir()], n=3)
    known = f" (near names there: {', '.join(near)})" if near else ""
    raise ConfigError(
        f"--data {name}: there is no such file or folder{known}; give a file or folder of text, or the name of a dataset"
    )


def score(
    loaded: "LoadedModel",
    texts: Texts,
    window: int,
    batch_size: int | None,
    limit: int | None,
    *,
    shown: bool,
    stride: int | None = None,
    fresh: bool = False,
    per_token: Path | None = None,
) -> dict[str, Mapping[str, float | int | None]]:
    """The scores of each text, kept for whoever tells of the model later, and shown as a table if `shown`.

    With `per_token` everything is computed anew, and the loss of each token is written there.

    Raises:
        ConfigError: a stride longer than a window, or a file that cannot be written.
        DataError: a text that cannot be read or is too short.
    """
    from mlxllm import scores
    from mlxllm.evaluation.perplexity import Evaluator

    if stride is not None and stride > window:
        raise ConfigError(
            f"--stride is {stride:,}, but a window has {window:,} tokens, and what lies between two would not be scored; "
            f"give {window:,} or less"
        )
    results: dict[str, Mapping[str, float | int | None]] = {}
    with token_losses(per_token) as file:
        for name, text in texts.items():
            begun = time.monotonic()
            split, content = _in_tokens(loaded, name, text)
            settings = {
                "data": content,
                "window": window,
                "stride": stride or window,
                "limit": limit,
                "tokenizer": loaded.tokenizer.fingerprint,
                "method": _METHOD,
            }
            evaluator = Evaluator(
                split,
                loaded.tokenizer.byte_lengths(),
                window,
                batch_size=batch_size or max(1, _BATCH_TOKENS // window),
                stride=stride,
                limit=limit,
            )
            writer = file.of(name, split, loaded.tokenizer) if file is not None else None
            scored, known = _evaluate(loaded, name, evaluator, settings, fresh or file is not None, writer)
            kept = [(each.task, each.settings) for each in scores.results_of(loaded.fingerprint)] if known else []
            for part, found in scored.items():
                label = part if len(texts) == 1 else name if part == "all" else f"{name}/{part}"
                results[label] = found.as_dict()
                task = f"data:{name}" + ("" if part == "all" else f"/{part}")
                if (task, settings) in kept:  # with the time that it really took
                    continue
                scores.keep(
                    scores.Result.of(
                        loaded,
                        task=task,
                        metrics={key: results[label][key] for key in _METRICS},
                        samples=found.windows,
                        settings=settings,
                        seconds=time.monotonic() - begun,
                    )
                )
    if shown:
        _print(results)
    return results


def _in_tokens(loaded: "LoadedModel", name: str, text: "TokenDataset | Source") -> tuple["ScoredSplit", str]:
    """The text in the model's tokens, and what tells it from others."""
    from mlxllm.data.shards import TokenDataset
    from mlxllm.evaluation.held_out import encode_dataset, encode_source

    if not isinstance(text, TokenDataset):
        encoded = encode_source(text, loaded.tokenizer)
        if text.problems.dropped or text.problems.mended:
            counts = {**text.problems.dropped, **text.problems.mended}
            told = ", ".join(f"{reason} ({count:,})" for reason, count in counts.items())
            say(f"warning: {name}: not all of it could be used: {told}")
        return encoded, encoded.fingerprint()
    if loaded.tokenizer.fingerprint == text.tokenizer.fingerprint:
        return text.val, text.fingerprint
    if text.val.num_tokens == 0:
        raise DataError(f"the validation split of {name} is empty; rebuild the dataset with a larger --val-split")
    encoded = encode_dataset(text, loaded.tokenizer)
    say(
        f"{name} was made with another tokenizer ({text.tokenizer.kind}, {text.vocab_size:,} ids): its validation text is "
        f"encoded again with that of {loaded.name} ({loaded.tokenizer.kind}, {loaded.tokenizer.vocab_size:,} ids), "
        f"{text.val.num_tokens:,} tokens as {encoded.num_tokens:,}; compare bits per byte, not the loss"
    )
    return encoded, encoded.fingerprint()


def _evaluate(
    loaded: "LoadedModel",
    name: str,
    evaluator: "Evaluator",
    settings: Mapping[str, object],
    fresh: bool,
    scored: "Scored | None",
) -> tuple[dict[str, "Perplexity"], bool]:
    """What the evaluator finds, going on where an evaluation of the same stopped, and whether all was known before."""
    from mlxllm.evaluation.unfinished import Progress

    progress = Progress(loaded.fingerprint, settings)
    begin = None if fresh else progress.load()
    known = begin is not None and begin[0] >= evaluator.num_windows
    if known:
        say(f"{name}: known from before, the weights, the text and the settings are the same; --fresh computes it anew")
    elif begin is not None:
        say(f"{name}: goes on behind window {begin[0]:,} of {evaluator.num_windows:,}, where it was interrupted")
    teller = _Teller(name, evaluator)

    def done(windows: int, sums: "Sums") -> None:
        if not math.isfinite(sums["all"].loss):
            raise ModelError(
                f"the loss of {loaded.name} on {name} is not a number; its weights cannot be used (did the run diverge?)"
            )
        progress.note(windows, sums)
        teller(windows)

    try:
        return evaluator(loaded.model, begin=begin, done=done, scored=scored), known
    except KeyboardInterrupt:
        say(f"{name}: interrupted; the same command goes on from here")
        raise
    finally:
        progress.save()


class _Teller:
    """Says on stderr how far a long evaluation is, at times that lie further and further apart."""

    def __init__(self, name: str, evaluator: "Evaluator") -> None:
        self._name, self._windows = name, evaluator.num_windows
        self._begun = time.monotonic()
        self._next, self._first = _FIRST_TOLD, 0

    def __call__(self, windows: int) -> None:
        elapsed = time.monotonic() - self._begun
        self._first = self._first or windows
        if elapsed < self._next or windows >= self._windows or windows == self._first:
            return
        self._next = elapsed * 1.5
        left = elapsed * (self._windows - windows) / (windows - self._first)
        say(f"{self._name}: {windows:,} of {self._windows:,} windows, about {left:,.0f} s left")


def _print(results: Mapping[str, Mapping[str, float | int | None]]) -> None:
    def cell(score: Mapping[str, float | int | None], key: str) -> str:
        value, error = score[key], score[f"{key}_stderr"]
        if value is None:
            return "-"
        return f"{value:.4f}" + (f" ± {error:.4f}" if error is not None else "")

    rows = [
        (name, cell(score, "loss"), f"{score['perplexity']:,.2f}", cell(score, "bits_per_byte"), f"{score['tokens']:,}")
        for name, score in results.items()
    ]
    print_table(("", "loss", "perplexity", "bits/byte", "tokens"), rows)
