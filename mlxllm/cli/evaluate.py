"""`mlxllm eval`: how good a model is on text that it was not trained on."""

import json
from typing import Annotated

import typer

from mlxllm import paths
from mlxllm.cli import sampling
from mlxllm.errors import ConfigError, DataError


def evaluate(
    model: sampling.Model,
    data: Annotated[str, typer.Option(metavar="NAME", help="Dataset whose validation split is scored.")],
    adapter: sampling.AdapterName = None,
    max_seq_len: Annotated[
        int | None, typer.Option(metavar="N", help="Tokens of one window; by default what the run was trained with.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", help="Windows of one forward pass; by default about 4,096 tokens.")
    ] = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Validation loss, perplexity and bits per byte over a dataset's whole validation split."""
    from mlxllm.data.shards import TokenDataset
    from mlxllm.evaluation.perplexity import Evaluator

    for flag, value, least in (("--max-seq-len", max_seq_len, 2), ("--batch-size", batch_size, 1)):
        if value is not None and value < least:
            raise ConfigError(f"{flag} is {value}; it should be {least} or more")
    if not data.strip():
        raise ConfigError("--data is empty; give the name of a dataset (`mlxllm data ls` lists them) or its folder")
    dataset = TokenDataset.open(paths.existing("datasets", data))
    loaded = sampling.load(model, device, adapter)
    if loaded.tokenizer.fingerprint != dataset.tokenizer.fingerprint:
        raise DataError(
            f"dataset {data!r} was made with another tokenizer ({dataset.tokenizer.fingerprint[:12]}) than model {model!r} "
            f"({loaded.tokenizer.fingerprint[:12]}); build it again with the model's tokenizer"
        )
    run = loaded.run_config
    length = max_seq_len or (run.data.max_seq_len if run else min(loaded.config.max_position_embeddings, 1024))
    evaluator = Evaluator(
        dataset.val, dataset.tokenizer.byte_lengths(), length, batch_size=batch_size or max(1, 4096 // length)
    )
    results = {name: score.as_dict() for name, score in evaluator(loaded.model).items()}
    if json_:
        print(json.dumps({"model": model, "data": data, "step": loaded.step, "results": results}))
        return
    print(f"{'':16}{'loss':>9}{'perplexity':>12}{'bits/byte':>11}{'tokens':>13}")
    for name, score in results.items():
        bits = f"{score['bits_per_byte']:.4f}" if score["bits_per_byte"] is not None else "-"
        print(f"{name:16}{score['loss']:9.4f}{score['perplexity']:12.2f}{bits:>11}{score['tokens']:13,}")
