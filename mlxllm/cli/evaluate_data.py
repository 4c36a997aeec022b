"""`mlxllm eval --data`: loss, perplexity and bits per byte over held-out text."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mlxllm import paths
from mlxllm.errors import ConfigError, DataError

if TYPE_CHECKING:  # MLX is imported by the commands that use it
    from mlxllm.data.shards import TokenDataset
    from mlxllm.model.loading import LoadedModel


def look_up(names: Sequence[str]) -> dict[str, "TokenDataset"]:
    """What the names stand for, before a model is loaded.

    Raises:
        ConfigError: there is no such dataset; near names are told.
        DataError: it is damaged.
    """
    from mlxllm.data.shards import TokenDataset

    if any(not name.strip() for name in names):
        raise ConfigError("--data is empty; give the name of a dataset (`mlxllm data ls` lists them) or its folder")
    return {name: TokenDataset.open(paths.existing("datasets", name)) for name in dict.fromkeys(names)}


def score(
    loaded: "LoadedModel",
    texts: Mapping[str, "TokenDataset"],
    max_seq_len: int | None,
    batch_size: int | None,
    limit: int | None,
    *,
    shown: bool,
) -> dict[str, Mapping[str, float | int | None]]:
    """The scores of each text, kept for whoever tells of the model later, and shown as a table if `shown`."""
    from mlxllm import scores
    from mlxllm.evaluation.perplexity import Evaluator

    run = loaded.run_config
    length = max_seq_len or (run.data.max_seq_len if run else min(loaded.config.max_position_embeddings, 1024))
    results: dict[str, Mapping[str, float | int | None]] = {}
    for name, dataset in texts.items():
        if loaded.tokenizer.fingerprint != dataset.tokenizer.fingerprint:
            raise DataError(
                f"dataset {name!r} was made with another tokenizer ({dataset.tokenizer.fingerprint[:12]}) than model "
                f"{loaded.name!r} ({loaded.tokenizer.fingerprint[:12]}); build it again with the model's tokenizer"
            )
        begun = time.monotonic()
        size = batch_size or max(1, 4096 // length)
        evaluator = Evaluator(dataset.val, dataset.tokenizer.byte_lengths(), length, batch_size=size)
        found = evaluator(loaded.model, limit)
        for part, scored in found.items():
            label = part if len(texts) == 1 else name if part == "all" else f"{name}/{part}"
            results[label] = scored.as_dict()
            scores.keep(
                scores.Result(
                    task=f"data:{name}" + ("" if part == "all" else f"/{part}"),
                    metrics={key: results[label][key] for key in ("loss", "perplexity", "bits_per_byte")},
                    samples=scored.tokens,
                    model=loaded.address,
                    fingerprint=loaded.fingerprint,
                    step=loaded.step,
                    settings={"data": dataset.fingerprint, "window": length, "limit": limit},
                    seconds=time.monotonic() - begun,
                )
            )
    if shown:
        _print(results)
    return results


def _print(results: Mapping[str, Mapping[str, float | int | None]]) -> None:
    print(f"{'':16}{'loss':>9}{'perplexity':>12}{'bits/byte':>11}{'tokens':>13}")
    for name, score in results.items():
        bits = f"{score['bits_per_byte']:.4f}" if score["bits_per_byte"] is not None else "-"
        print(f"{name:16}{score['loss']:9.4f}{score['perplexity']:12.2f}{bits:>11}{score['tokens']:13,}")
