"""Adapters as PEFT and as mlx-lm load them, for who has the base already.

The arrays are those that were trained, in float32: nothing is merged, and nothing rounded. `model.adapter_files` reads
both layouts again.

Shapes: r rank; A is (in, r) and B (r, out) here and in mlx-lm, (r, in) and (out, r) in PEFT; m is (out,).
"""

import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm.data.provenance import hub_name
from mlxllm.errors import ConfigError, ModelError, UserError
from mlxllm.export.placing import put_folder
from mlxllm.export.tokenizers import as_json
from mlxllm.model.adapter_files import ADAPTER_CONFIG_FILE, PEFT_FILE, StoredAdapter, read_adapter, save_adapter
from mlxllm.model.adapters import adapters, has_adapters, spec_of
from mlxllm.model.loading import LoadedModel
from mlxllm.model.lora import Adapter, DoraLinear, ExpertAdapter
from mlxllm.model.naming import find_model, is_run

Check = Callable[[Path], None]
"""Looks at the folder before it gets its name; raising leaves nothing behind."""


@dataclass(frozen=True)
class AdapterExport:
    """What was written."""

    path: Path
    layout: str
    """`peft` or `mlx-lm`."""
    matrices: int
    """With an adapter."""
    parameters: int
    bytes: int
    base: str
    """The model to put it on."""
    below: str = ""
    """The adapter that has to be merged into the base before."""
    notes: tuple[str, ...] = ()
    """What is to be said about the base, a sentence each."""


def write_peft_adapter(loaded: LoadedModel, path: Path, *, check: Check | None = None) -> AdapterExport:
    """Write the adapters of a model so that `peft.PeftModel.from_pretrained(base, path)` computes the model.

    Args:
        loaded: a run that trained LoRA, rsLoRA or DoRA, or a model with an adapter stacked on it.
        path: must not exist.
        check: is given the folder before it gets its name.

    Raises:
        ConfigError: there are no adapters.
        ModelError: PEFT's layout has no word for these adapters, or `path` is there.
        UserError: it cannot be written.
    """
    found = _adapters(loaded)
    _refuse_gpt2(loaded, "PEFT's layout", "")
    if experts := [name for name, adapter in found.items() if isinstance(adapter, ExpertAdapter)]:
        raise ModelError(
            f"{loaded.name} has adapters on experts ({experts[0]}), which PEFT's layout cannot hold; write mlx-lm's layout, "
            f"or merge them into plain weights"
        )
    spec = spec_of(loaded.model)
    lora = loaded.run_config.lora if loaded.run_config is not None and loaded.adapter is None else None
    rooted = lora is not None and lora.rslora and lora.scale == spec.scale
    arrays: dict[str, mx.array] = {}
    for name, adapter in sorted(found.items()):
        prefix = f"base_model.model.{name}"
        arrays[f"{prefix}.lora_A.weight"] = mx.contiguous(adapter.lora_a.T)
        arrays[f"{prefix}.lora_B.weight"] = mx.contiguous(adapter.lora_b.T)
        if isinstance(adapter, DoraLinear):
            arrays[f"{prefix}.lora_magnitude_vector"] = adapter.lengths
    base = _base(loaded)
    blocks = sorted({int(name.split(".")[2]) for name in found})
    everywhere = len(blocks) == loaded.config.num_hidden_layers
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        **_named(base.name),
        "inference_mode": True,
        "r": spec.rank,
        "lora_alpha": _whole(lora.alpha if rooted and lora is not None else spec.scale * spec.rank),
        "use_rslora": rooted,
        "use_dora": spec.method == "dora",
        "lora_dropout": spec.dropout,
        "target_modules": sorted({name.rpartition(".")[2] for name in found}),
        **({} if everywhere else {"layers_to_transform": blocks, "layers_pattern": "layers"}),
        "bias": "none",
        "fan_in_fan_out": False,
    }

    def write(partial: Path) -> None:
        mx.save_safetensors(str(partial / PEFT_FILE), arrays, {"format": "pt"})
        (partial / ADAPTER_CONFIG_FILE).write_bytes(as_json(config))

    _put(loaded, path, write, check)
    return _told(path, "peft", found, base)


def write_mlx_adapter(loaded: LoadedModel, path: Path, *, check: Check | None = None) -> AdapterExport:
    """Write the adapters of a model so that `mlx_lm.load(base, adapter_path=path)` computes the model.

    Args and errors as `write_peft_adapter`; this layout has adapters on experts.
    """
    found = _adapters(loaded)
    _refuse_gpt2(loaded, "mlx-lm", " of which it can adapt only the whole")
    base = _base(loaded)
    config = loaded.run_config
    fingerprint, quantize = None, ""
    if loaded.adapter is not None:
        stored = read_adapter(loaded.adapter, loaded.config)
        fingerprint, quantize = stored.base_fingerprint, stored.base_quantize
    elif config is not None:
        # The merged model that it belongs on has yet to be written, and its fingerprint is not that of its parts.
        fingerprint = None if base.adapter else config.base_fingerprint
        quantize = base.quantize

    def write(partial: Path) -> None:
        save_adapter(
            loaded.model,
            partial,
            base_name=_named(base.name)["base_model_name_or_path"],
            base_adapter=base.adapter,
            base_fingerprint=fingerprint or None,
            base_quantize=quantize or None,
        )

    _put(loaded, path, write, check)
    return _told(path, "mlx-lm", found, base)


def _put(loaded: LoadedModel, path: Path, write: Check, check: Check | None) -> None:
    """Have the folder appear when it is whole and can be read again."""

    def reread(partial: Path) -> None:
        _compare(read_adapter(partial, loaded.config), loaded)
        if check is not None:
            check(partial)

    size = sum(a.lora_a.nbytes + a.lora_b.nbytes for a in adapters(loaded.model).values())
    put_folder(path, write, size=size, check=reread)


def _compare(stored: StoredAdapter, loaded: LoadedModel) -> None:
    """Every number has to have arrived; only the lengths of DoRA and the scale are computed on the way.

    Raises:
        ModelError: one has not.
    """
    spec, there = spec_of(loaded.model), stored.spec
    same = (there.method, there.rank) == (spec.method, spec.rank) and math.isclose(
        there.scale, spec.scale, rel_tol=1e-6
    )
    found = adapters(loaded.model)
    same = same and stored.arrays.keys() == found.keys()
    if not same or not all(
        mx.array_equal(stored.arrays[name]["lora_a"], adapter.lora_a)
        and mx.array_equal(stored.arrays[name]["lora_b"], adapter.lora_b)
        and (not isinstance(adapter, DoraLinear) or bool(mx.allclose(stored.arrays[name]["m"], adapter.lengths)))
        for name, adapter in found.items()
    ):
        raise ModelError(
            f"what was written of {loaded.name} reads back as another adapter, so it was not kept; try again on another disk"
        )


def _adapters(loaded: LoadedModel) -> dict[str, Adapter]:
    if not has_adapters(loaded.model):
        raise ConfigError(
            f"{loaded.name} has no adapters to write: its weights are plain; name a run that trained adapters, or export "
            f"the weights themselves"
        )
    return adapters(loaded.model)


def _refuse_gpt2(loaded: LoadedModel, who: str, more: str) -> None:
    """Its files hold queries, keys and values as one matrix, and adapters of ours are on each of the three."""
    if loaded.config.positions == "learned":
        raise ModelError(
            f"{loaded.name} is a GPT-2, in whose files queries, keys and values are one matrix, so its adapters cannot "
            f"leave for {who}{more}; merge them into plain weights"
        )


@dataclass(frozen=True)
class _Base:
    """The model below the adapters."""

    name: str
    adapter: str
    """What has to be merged into it before."""
    quantize: str
    """What it was held in."""

    def notes(self) -> tuple[str, ...]:
        """What has to be known about it."""
        notes = []
        if self.quantize:
            notes.append(
                f"it was trained on a base held in {self.quantize}; on plain weights of {self.name} it is the same but for "
                f"that rounding"
            )
        if self.adapter:
            notes.append(
                f"it belongs on {self.name} with the adapter {self.adapter} merged into it: make that model first, with "
                f"`mlxllm fuse --model {self.name} --adapter {self.adapter} --save-path DIR`"
            )
        return tuple(notes)


def _base(loaded: LoadedModel) -> _Base:
    if loaded.adapter is not None:
        return _Base(loaded.name, "", read_adapter(loaded.adapter, loaded.config).base_quantize)
    assert loaded.run_config is not None, "only runs and stacked adapters have adapters"
    config = loaded.run_config
    return _Base(config.base_model, config.base_adapter, (config.lora and config.lora.quantize) or "")


def _named(base: str) -> dict[str, str]:
    """How files call the base: a model of the Hub with its commit, a run, or a folder without the way to it.

    Where folders lie on this machine is nobody's business, and would lead nowhere on another.
    """
    if base.startswith(("/", "~", ".")):
        return {"base_model_name_or_path": Path(base).name}
    name, _, revision = base.partition("@")
    if "/" in name and revision:
        return {"base_model_name_or_path": name, "revision": revision}
    return {"base_model_name_or_path": base}


def _whole(number: float) -> float | int:
    """16 rather than 16.0, as PEFT writes it."""
    return int(number) if float(number).is_integer() else number


def _told(path: Path, layout: str, found: dict[str, Adapter], base: _Base) -> AdapterExport:
    parameters = sum(adapter.lora_a.size + adapter.lora_b.size for adapter in found.values())
    parameters += sum(adapter.m_change.size for adapter in found.values() if isinstance(adapter, DoraLinear))
    size = sum(file.stat().st_size for file in path.iterdir())
    # With an adapter below, the base has to be made anew anyway, which is said.
    notes = base.notes() + (() if base.adapter else _where(base.name))
    return AdapterExport(path, layout, len(found), parameters, size, base.name, base.adapter, notes)


def _where(base: str) -> tuple[str, ...]:
    """Where a base is that only this machine has: the files name it without the way to it."""
    if hub_name(base) is not None:
        return ()
    try:
        path, _ = find_model(base)
    except UserError:
        return ()
    if is_run(path):
        return (
            f"its base is a run of yours, which nobody else has: `mlxllm export --model {shlex.quote(base)} --out BASE` "
            f"makes the folder to give along with it",
        )
    return (f"its base is the folder {path}, which the files call {path.name}: give it along, or say where it is had",)
