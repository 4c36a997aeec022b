"""Models of every architecture and tokenizer of ours as GGUF files, computed by llama.cpp and by us.

Each model is trained for a short while on the same text, so that it has opinions: the likeliest token of random weights
is mostly a tie. llama.cpp gets the file only, in a process of its own, and reads the prompt as text.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
import numpy as np

from mlxllm.config import RunConfig
from mlxllm.data.build import build_dataset
from mlxllm.data.sources import open_source
from mlxllm.errors import ConfigError
from mlxllm.export.gguf import write_gguf
from mlxllm.export.gguf_types import TYPES
from mlxllm.export.llama_cpp_reader import PYTHON_VARIABLE, llama_cpp_python, read_with_llama_cpp
from mlxllm.export.measuring import Logits, measure
from mlxllm.model.hf_config import architecture_of
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.runs import RunDirectory
from mlxllm.tokenizer.training import train_tokenizer
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.plan import plan_run
from mlxllm.training.start import start

SHAPE: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 256,
    "max_position_embeddings": 512,
}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 96}
LLAMA3: dict[str, Any] = {
    "rope_type": "llama3",
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 128,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen3, char": ("char", {"qk_norm": True}),
    "qwen3, byte": ("byte", {"qk_norm": True}),
    "qwen3, bpe": ("bpe", {"qk_norm": True}),
    "llama, untied": ("char", {"tie_word_embeddings": False}),
    "llama 3 scaling, biases": (
        "char",
        {"rope_scaling": LLAMA3, "attention_bias": True, "attention_out_bias": True, "mlp_bias": True},
    ),
    "mistral": ("char", {"sliding_window": 384, "head_dim": 32}),
    "mixtral": ("char", {**EXPERTS, "tie_word_embeddings": False}),
    "qwen2": ("char", {"attention_bias": True, "rope_scaling": {"rope_type": "linear", "factor": 2.0}}),
    "qwen3-moe": ("char", {**EXPERTS, "qk_norm": True}),
    "gpt2": (
        "char",
        {
            "positions": "learned",
            "norm": "layernorm",
            "hidden_act": "gelu_new",
            "mlp_gated": False,
            "attention_bias": True,
            "attention_out_bias": True,
            "mlp_bias": True,
            "num_key_value_heads": 4,
        },
    ),
}
"""name -> (tokenizer, what makes it that architecture)."""
FORMATS = ("f32", "f16", "q8_0", "q4_0")
TRAIN: dict[str, Any] = {
    "optimizer": "muon",
    "learning_rate": 3e-3,
    "batch_size": 16,
    "eval_every": 0,
    "checkpoint_every": 0,
}
POSITIONS = 256
GREEDY = 64
VOCABULARY = 512
LARGEST_DIFFERENCE = 1e-3
KEPT = 0.98


@dataclass(frozen=True)
class Result:
    """One file."""

    difference: float
    """Largest of any logit."""
    bound: float
    """What float32 may differ by: it has seven digits, so the more the larger logits are."""
    kept: float
    """Share of positions with the same likeliest token."""
    greedy: int
    """How many greedy tokens are equal, from the first on."""
    ids_equal: bool
    bytes: int


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "text/tinyshakespeare.txt")
    made.add_argument("--steps", type=int, default=300, metavar="N", help="updates of each model; 300 by default")
    made.add_argument("--models", default="", metavar="A;B", help="some of: " + "; ".join(MODELS))
    made.add_argument("--formats", default=",".join(FORMATS), metavar="F,F", help=f"of {', '.join(TYPES)}")
    return made.parse_args()


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """Train, write, read, compare."""
    if llama_cpp_python() is None:
        raise ConfigError(
            f"llama-cpp-python is not installed; `pip install 'mlxllm[llama-cpp]'`, or let ${PYTHON_VARIABLE} name a Python "
            f"that has it"
        )
    names = [name.strip() for name in args.models.split(";") if name.strip()] or list(MODELS)
    formats = args.formats.split(",")
    text = args.data.read_text("utf-8")
    held_out = text[int(len(text) * 0.98) :]
    rows: list[Sequence[str]] = [("model", *(cell for each in formats for cell in (each, "top token", "greedy")))]
    results: dict[str, Any] = {}
    for name in names:
        loaded = trained(name, args, folder)
        found = {each: compared(loaded, each, held_out, folder) for each in formats}
        cells = [
            cell
            for each in found.values()
            for cell in (f"{each.difference:.1e}", f"{each.kept:.1%}", f"{each.greedy}/{GREEDY}")
        ]
        rows.append((name, *cells))
        results[name] = {"architecture": architecture_of(loaded.config), **{k: vars(v) for k, v in found.items()}}
    failed = [name for name in names if not passed(results[name])]
    rows.append(("all pass" if not failed else f"FAILED: {'; '.join(failed)}", *[""] * (len(rows[0]) - 1)))
    return rows, {"passed": not failed, "models": results}


def passed(found: dict[str, Any]) -> bool:
    """float32: logits, greedy tokens and ids; q8_0: the likeliest tokens."""
    whole, eight = found.get("f32"), found.get("q8_0")
    if whole is not None and not (
        whole["difference"] < whole["bound"] and whole["greedy"] == GREEDY and whole["ids_equal"]
    ):
        return False
    return eight is None or eight["kept"] >= KEPT


def trained(name: str, args: argparse.Namespace, folder: Path) -> LoadedModel:
    """A model of that name after some updates."""
    kind, changes = MODELS[name]
    dataset = folder / f"dataset-{kind}"
    if not dataset.exists():
        tokenizer = train_tokenizer(
            kind, [args.data.read_text("utf-8")], vocab_size=VOCABULARY if kind == "bpe" else None
        )
        build_dataset(dataset, [(open_source(f"text:{args.data}"), None)], tokenizer, val_split=0.02)
    run = folder / name.replace(" ", "-").replace(",", "")
    config = RunConfig.model_validate(
        {
            "model": {**SHAPE, **changes},
            "data": {"dataset": str(dataset), "max_seq_len": 64},
            "train": {**TRAIN, "max_steps": args.steps, "compute_dtype": "float32"},
        }
    )
    start(plan_run(RunDirectory(run), config), lambda _: None, Interrupts())
    return load_model(str(run))


def compared(loaded: LoadedModel, kind: str, text: str, folder: Path) -> Result:
    """One format of one model."""
    file = folder / "model.gguf"
    file.unlink(missing_ok=True)
    told = write_gguf(loaded, file, dtype=kind)
    ids = loaded.tokenizer.encode(text)[:POSITIONS]
    prompt = text[POSITIONS : POSITIONS + 100]
    ours = measure(loaded, ids, prompt, GREEDY)
    theirs = read_with_llama_cpp(file, [text], sequences=[ids], prompt=prompt, max_tokens=GREEDY)
    pairs = zip(ours.greedy, theirs.greedy, strict=True)
    equal = next((i for i, (a, b) in enumerate(pairs) if a != b), GREEDY)
    return Result(
        difference=float(np.abs(ours.logits - theirs.logits[0]).max()),
        bound=LARGEST_DIFFERENCE * max(1.0, float(np.abs(ours.logits).max()) / 5),
        kept=same_tokens(ours.logits, theirs.logits[0]),
        greedy=equal,
        ids_equal=theirs.ids[0] == loaded.tokenizer.encode(text) and theirs.prompt_ids == list(ours.prompt_ids),
        bytes=told.bytes,
    )


def same_tokens(a: Logits, b: Logits) -> float:
    """Share of the rows of two (T, V) arrays whose largest is at the same place."""
    return float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean())


if __name__ == "__main__":
    common.run(main, arguments())
