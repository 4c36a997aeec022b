"""`mlxllm fuse`: adapters merged into plain weights."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from mlxllm.cli import sampling
from mlxllm.cli.train import program
from mlxllm.errors import ConfigError


def fuse(
    model: Annotated[
        str,
        typer.Option(metavar="M", help="A run with adapters (RUN, RUN@STEP, RUN@best), or any model with --adapter."),
    ],
    save_path: Annotated[Path, typer.Option("--save-path", metavar="DIR", help="The new folder.")],
    adapter: sampling.AdapterName = None,
    device: sampling.Device = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON on stdout and nothing else there.")] = False,
) -> None:
    """Merge adapters into plain weights: a folder that sample, chat, sft and dpo take as --model.

    mlx-lm and transformers load it as well: it is what `mlxllm export` writes, without the verification.

    A quantised base (QLoRA) is unpacked on the way, so that nothing that was trained is rounded away.
    """
    path = save_path.expanduser()
    if path.exists():
        raise ConfigError(f"--save-path {save_path} exists already; name a new folder, or remove that one first")
    loaded = sampling.load(model, device, adapter)
    from mlxllm.export.hf import write_hf
    from mlxllm.model.adapters import adapters, fused, has_adapters
    from mlxllm.model.module import named_parameters

    if not has_adapters(loaded.model):
        raise ConfigError(
            f"{model} has no adapters, so there is nothing to merge: its weights are plain as they are; name a run that "
            f"trained adapters, or add --adapter DIR"
        )
    merged = len(adapters(loaded.model))
    plain = fused(loaded.model)
    write_hf(replace(loaded, model=plain), path)
    weights = named_parameters(plain).values()
    count, size = sum(w.size for w in weights), sum(w.nbytes for w in weights)
    if json_:
        told = {"path": str(path.absolute()), "parameters": count, "bytes": size, "merged": merged}
        print(json.dumps({"model": model, **told, "history": list(loaded.history)}))
        return
    use = "sample" if loaded.kind == "base" else "chat"
    what = "1 adapter" if merged == 1 else f"{merged:,} adapters"
    sampling.say(f"{what} merged into {count:,} weights ({size / 2**20:,.1f} MiB): {path}")
    sampling.say(f"try it: {program()} {use} --model {path if path.is_absolute() else f'./{path}'}")
