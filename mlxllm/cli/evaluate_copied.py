"""`mlxllm eval --copied N`: how much of what a model writes was taken from its training documents."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mlxllm import paths
from mlxllm.cli.item_line import ItemLine
from mlxllm.cli.sampling import sample_config, say
from mlxllm.cli.table import print_table
from mlxllm.cli.trace import open_origins
from mlxllm.visible import counted

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.data.origins.tracing import Origins
    from mlxllm.model.loading import LoadedModel

TASK = "copied"
_FIRST_SEED = 0


@dataclass(frozen=True)
class Wanted:
    """What is asked for, looked up before a model is loaded."""

    samples: int
    origins: "Origins"
    folders: tuple[Path, ...]
    max_tokens: int
    temperature: float
    seed: int


def look_up(
    model: str,
    samples: int,
    names: Sequence[str],
    *,
    max_tokens: int | None,
    temperature: float | None,
    seed: int | None,
) -> Wanted:
    """The indexes to look in: of the datasets named, or of those that the run read.

    Raises:
        ConfigError: they are not known, or a setting cannot be.
        DataError: one has no index, or it is stale or damaged.
    """
    from mlxllm.data.origins.whose import datasets_of
    from mlxllm.evaluation.copying import MAX_TOKENS

    config = sample_config(max_tokens=max_tokens or MAX_TOKENS, temperature=temperature, seed=seed or _FIRST_SEED)
    origins = open_origins(names, None if names else model)
    folders = [paths.existing("datasets", name) for name in names] or datasets_of(model)
    return Wanted(samples, origins, tuple(folders), config.max_tokens, config.temperature, config.seed)


def score(loaded: "LoadedModel", wanted: Wanted, *, shown: bool) -> dict[str, Mapping[str, float | int | None]]:
    """The shares, kept for whoever tells of the model later, and shown as a table if `shown`."""
    from mlxllm import scores
    from mlxllm.data.origins.tracing import LEAST_WORDS
    from mlxllm.data.shards import TokenDataset
    from mlxllm.evaluation.copying import (
        MEANINGS,
        PROMPT_TOKENS,
        Beginning,
        copied_metrics,
        held_out_beginnings,
        write_on,
    )

    begun = time.monotonic()
    datasets = [TokenDataset.open(folder) for folder in wanted.folders]
    last = datasets[-1]
    beginnings = held_out_beginnings(last.val, last.tokenizer, wanted.samples, wanted.max_tokens, wanted.seed)
    held_out = len(beginnings)
    # Where less is held out, the model begins the others itself.
    beginnings += [Beginning("", "")] * (wanted.samples - held_out)
    line, written = ItemLine("copied: samples"), list[int]()

    def done(number: int, text: str) -> None:
        written.append(number)
        line(len(written), wanted.samples)

    try:
        texts = write_on(
            loaded.model,
            loaded.tokenizer,
            beginnings,
            max_tokens=wanted.max_tokens,
            temperature=wanted.temperature,
            seed=wanted.seed,
            done=done,
        )
    finally:
        line.clear()
    rests = [beginning.rest for beginning in beginnings[:held_out]]
    metrics = copied_metrics(wanted.origins, texts, rests, LEAST_WORDS)
    scores.keep(
        scores.Result.of(
            loaded,
            task=TASK,
            metrics=metrics,
            samples=wanted.samples,
            settings={
                "samples": wanted.samples,
                "data": [dataset.fingerprint for dataset in datasets],
                "datasets": [dataset.name for dataset in datasets],
                "least_words": LEAST_WORDS,
                "prompt_tokens": PROMPT_TOKENS,
                "held_out": held_out,
                "max_tokens": wanted.max_tokens,
                "temperature": wanted.temperature,
                "seed": wanted.seed,
            },
            seconds=time.monotonic() - begun,
            meanings={name: words for name, words in MEANINGS.items() if name in metrics},
        )
    )
    if shown:
        _print(metrics, wanted, held_out)
    return {TASK: {**metrics, "samples": wanted.samples}}


def _print(metrics: Mapping[str, float | None], wanted: Wanted, held_out: int) -> None:
    def cell(name: str) -> str:
        value, error = metrics.get(name), metrics.get(f"{name}_stderr")
        if value is None:
            return "-"
        return f"{100 * value:.1f} %" + (f" ± {100 * error:.1f}" if error is not None else "")

    rows = [("what the model writes", cell("copied"), cell("nearly"), cell("own"), f"{metrics['longest']:,.0f} words")]
    if held_out:
        rows.append(("held-out text itself", cell("held_out_copied"), cell("held_out_nearly"), "", ""))
    print_table(("", "copied", "nearly", "its own", "longest copy"), rows)
    begun = f"{counted(held_out, 'beginning')} of held-out text" if held_out else "nothing"
    within = ", ".join(wanted.origins.names)
    say(f"{counted(wanted.samples, 'sample')} of {wanted.max_tokens:,} tokens from {begun}, looked for in {within}")
