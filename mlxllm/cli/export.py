"""`mlxllm export`: a model as files that other programs open."""

import json
import os
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlxllm.cli import sampling, verification_view
from mlxllm.cli.train import program
from mlxllm.errors import ConfigError

if TYPE_CHECKING:  # it imports MLX
    from mlxllm.export.upload import Uploaded
    from mlxllm.model.loading import LoadedModel

Readers = Annotated[
    str | None,
    typer.Option(
        "--readers",
        metavar="R,R",
        help="Who reads it back: mlxllm, transformers, mlx-lm; of GGUF gguf, llama.cpp; by default all that are installed.",
        show_default=False,
    ),
]


def export(
    model: sampling.Model,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The new folder (gguf: or FILE.gguf).", show_default=False)
    ],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="F",
            help="hf: for transformers, mlx-lm, mlxllm; gguf: for llama.cpp, Ollama; peft, mlx-adapter: adapters alone.",
        ),
    ] = "hf",
    adapter: sampling.AdapterName = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="D",
            help="float32, bfloat16 or float16; by default the model's (gguf: float16).",
            show_default=False,
        ),
    ] = None,
    quantize: Annotated[
        str | None,
        typer.Option(
            "--quantize",
            metavar="Q",
            help="Pack the matrices into a few bits (hf: affine4, affine8, mxfp4, nvfp4; gguf: q8_0, q4_0, ...).",
            show_default=False,
        ),
    ] = None,
    modelfile: Annotated[bool, typer.Option("--modelfile", help="gguf: an Ollama Modelfile as well.")] = False,
    readers: Readers = None,
    no_verify: Annotated[bool, typer.Option("--no-verify", help="Do not read it back.")] = False,
    upload: Annotated[
        str | None,
        typer.Option(
            "--upload", metavar="OWNER/NAME", help="Then send it to the Hugging Face Hub.", show_default=False
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Everybody may see the upload; else only you.")] = False,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Write a model as a folder that other programs open, and prove that it is still the same model.

    Adapters are merged into the weights; --format peft and mlx-adapter write the adapters alone, without the model. Every
    reader that is installed opens the finished folder in a process of its own; its token ids, logits and greedy tokens are
    compared with the model's, and the result is written to verification.json. Where one differs, nothing is kept.
    """
    path = out.expanduser()
    if path.exists():
        raise ConfigError(f"--out {out} exists already; name a new folder, or remove that one first")
    if no_verify and readers is not None:
        raise ConfigError("--no-verify asks no reader, and --readers names some; leave one of the two out")
    from mlxllm.export.formats import Order, format_named
    from mlxllm.export.formats import export as write
    from mlxllm.export.hf import plain_model
    from mlxllm.export.verified import DifferentError

    form = format_named(format_, dtype=dtype, quantize=quantize)
    if upload is not None:
        from mlxllm.export.upload import check_repository

        check_repository(upload)  # before an hour of work
    elif public:
        raise ConfigError("--public is about --upload, which is not given; leave it out, or add --upload OWNER/NAME")
    if modelfile and format_ != "gguf":
        raise ConfigError(f"--modelfile is for Ollama, which reads --format gguf, not {format_}; leave it out")
    if readers is not None and not form.merges:
        raise ConfigError(f"--readers is about whole models, and --format {format_} writes adapters; leave it out")
    asked = None if readers is None else form.choose(split(readers))
    full_precision()
    loaded = sampling.load(model, device, adapter)
    if form.merges:
        loaded = replace(loaded, model=plain_model(loaded))
    order = Order(loaded, path, dtype, quantize, modelfile)
    try:
        done = write(format_, order, verify=not no_verify, readers=asked)
    except DifferentError as error:
        if json_:
            print(json.dumps({"model": model, "path": None, "format": format_, **error.verification.as_dict()}))
        else:
            verification_view.show(error.verification)
        raise
    sent = None if upload is None else _send(path, upload, public)
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    if json_:
        told: dict[str, Any] = {"model": model, "path": str(path.absolute()), "format": format_, "bytes": size}
        told |= {} if sent is None else {"uploaded": asdict(sent)}
        proof = done.verification.as_dict() if done.verification is not None else {"passed": None}
        print(json.dumps({**told, **proof, "notes": list(done.notes)}))
        return
    if done.verification is not None:
        verification_view.show(done.verification)
    sampling.say(f"{model} written to {path} ({size / 2**20:,.1f} MiB)")
    verification_view.say_notes(done.notes)
    if sent is not None:
        who = "only you see it" if sent.private else "everybody sees it"
        sampling.say(f"uploaded {sent.files} files to {sent.url}; {who}")
        return
    if format_ == "gguf":
        file = path if path.is_file() else path / "model.gguf"
        sampling.say(f"try it: llama-cli -m {file}" if not modelfile else _with_ollama(loaded, path))
        return
    use = "sample" if loaded.kind == "base" else "chat"
    place = path if path.is_absolute() else f"./{path}"
    if form.merges:
        sampling.say(f"try it: {program()} {use} --model {place}")
    else:
        base = shlex.quote(done.base) if done.base else "DIR"
        sampling.say(
            f"every number was read back; it belongs on its base: {program()} {use} --model {base} --adapter {place}"
        )


def _with_ollama(loaded: "LoadedModel", folder: Path) -> str:
    """How Ollama takes the model in; what its templates cannot say is told."""
    from mlxllm.export.modelfile import MODELFILE, go_template, ollama_name

    if go_template(loaded) is None:
        sampling.say(
            f"note: its chat template does more than Ollama's templates can, so {MODELFILE} has none and Ollama looks for a "
            f"known one like it; `llama-server --jinja` writes what the model was tuned on"
        )
    return f"try it: ollama create {ollama_name(loaded)} -f {folder}/{MODELFILE}"


def _send(folder: Path, repository: str, public: bool) -> "Uploaded":
    from mlxllm.export.upload import upload

    return upload(folder, repository, private=not public, progress=sys.stderr.isatty())


def split(readers: str) -> list[str]:
    """The names in `a,b`."""
    return [name.strip() for name in readers.split(",") if name.strip()]


def full_precision() -> None:
    """Have MLX multiply float32 in full: by default newer GPUs round it to ten bits first. Before the first product."""
    os.environ.setdefault("MLX_ENABLE_TF32", "0")
