"""`mlxllm quantize`: a model in 2 to 8 bits a weight, as mlx-lm packs it."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlxllm.cli import sampling, verification_view
from mlxllm.cli.export import full_precision
from mlxllm.cli.run_view import file_size
from mlxllm.cli.train import program
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # MLX is imported by the command
    from collections.abc import Callable

    from mlxllm.export.quantized import Quantized
    from mlxllm.export.verified import Verification
    from mlxllm.model.loading import LoadedModel


def quantize(
    model: sampling.Model,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The new folder.")],
    bits: Annotated[
        int | None,
        typer.Option("--bits", metavar="N", help="affine has 2, 3, 4, 5, 6 and 8, the others 4; by default 4."),
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", metavar="MODE", help="affine (scale and shift), or the floats mxfp4 and nvfp4.")
    ] = "affine",
    group_size: Annotated[
        int | None,
        typer.Option(
            "--group-size", metavar="N", help="Weights that share a scale; by default 64, mxfp4 32, nvfp4 16."
        ),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option("--keep", metavar="NAME", help="Leave these matrices plain, such as lm_head; several times."),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="T", help="Of what stays plain: float32, bfloat16 or float16; as it is."),
    ] = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not have mlx-lm read it back.")] = False,
    adapter: sampling.AdapterName = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Pack a model into a few bits a weight: a folder that mlx-lm loads, and every command here as --model.

    Embeddings and the head are packed as well; --keep leaves out what you name. What that costs is measured on a sample
    text: the KL divergence from the model as it was; and mlx-lm, where it is installed, has to compute the same. Adapters
    can be trained on the result (`sft --lora-rank 8`).
    """
    path = out.expanduser()
    if os.path.lexists(path):
        raise ConfigError(f"--out {out} exists already; name a new folder, or remove that one first")
    from mlxllm.export.hf_files import DTYPES
    from mlxllm.export.quantized import format_of, write_quantized

    form = format_of(mode, bits, group_size)  # before a large model is loaded
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f"--dtype is {dtype!r}; it should be one of {', '.join(DTYPES)}")
    full_precision()
    loaded = sampling.load(model, device, adapter)
    found: list[Verification] = []
    check = None if no_verify else _check(loaded, found)
    done = write_quantized(
        loaded,
        path,
        mode=form.mode,
        bits=form.bits,
        group_size=form.group_size,
        keep=keep or (),
        dtype=None if dtype is None else DTYPES[dtype],
        token_ids=_sample_ids(loaded),
        check=check,
    )
    if json_:
        told = {"model": model, **done.as_dict(), "path": str(path.absolute())}
        proof = found[0].as_dict() if found else {"passed": None}
        print(json.dumps({**told, **proof, "notes": list(done.notes())}))
        return
    if found:
        verification_view.show(found[0])
    for line in _told(done):
        sampling.say(line)
    use = "sample" if loaded.kind == "base" else "chat"
    sampling.say(f"try it: {program()} {use} --model {path if path.is_absolute() else f'./{path}'}")


def _check(loaded: "LoadedModel", found: "list[Verification]") -> "Callable[[Path], None]":
    from mlxllm.export.hf import plain_model
    from mlxllm.export.verification import checked

    return checked(replace(loaded, model=plain_model(loaded)), found)


def _sample_ids(loaded: "LoadedModel") -> list[int]:
    from mlxllm.export.divergence import SAMPLE

    return [*loaded.tokenizer.prefix_ids, *loaded.tokenizer.encode(SAMPLE)]


def _told(done: "Quantized") -> list[str]:
    """What became of the model, a sentence a line."""
    from mlxllm.export.quantized import some

    sizes = f"{file_size(done.bytes_before)} -> {file_size(done.bytes_after)}, {done.bits_per_weight:.2f} bits a weight"
    form = f"{done.mode} with {done.bits} bits in groups of {done.group_size}"
    lines = [f"{done.packed:,} matrices packed as {form}: {sizes}: {done.path}"]
    if done.kept:
        lines.append(f"{some(done.kept)} stay plain, as you asked")
    if done.loss is not None:
        lines.append(
            f"loss on the sample text: KL {done.loss.kl:.4f} nats a token ({done.loss.max_kl:.3f} at most), and "
            f"{done.loss.top_equal:.1%} of {done.loss.tokens:,} tokens have the same favourite"
        )
    return [*lines, *(f"warning: {note}" for note in done.notes())]
