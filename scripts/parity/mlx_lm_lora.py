"""mlx-lm's LoRA curve: its own trainer, and ours from the same adapters on the batches that it read, in its order.

The same records, the same frozen model, AdamW with the same settings, float32; compared are the loss of each step, the loss
of held-out records before and after, and the adapters at the end. mlx-lm's loss also counts one token of padding behind
each text that does not fill its row; ours is given the same mask.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import mlx.core as mx
import numpy as np
from common import largest_difference

from mlxllm.config import LoraConfig, TrainConfig
from mlxllm.conversation.choosing import chat_format_of
from mlxllm.conversation.records import Message
from mlxllm.evaluation.perplexity import token_losses
from mlxllm.model.adapter_files import ADAPTER_FILE, save_adapter
from mlxllm.model.adapters import adapt, adapters
from mlxllm.model.loading import LoadedModel, load_model
from mlxllm.parity.receipts import largest, pair
from mlxllm.training.objectives import next_token_objective
from mlxllm.training.step import TrainStep, initial_state, install

RECORDS, HELD_OUT, BATCH, LONGEST = 160, 32, 4, 256
RANK, SCALE = 8, 20.0
"""mlx-lm's defaults."""
BETAS, WEIGHT_DECAY = (0.9, 0.999), 0.01
TOLERANCE = 1e-4


def arguments() -> argparse.Namespace:
    """The command line."""
    made = common.parser(__doc__, "sft/instruction-data.json")
    made.add_argument("--model", metavar="M", help="a folder that both sides read; by default a random Llama")
    made.add_argument("--steps", type=int, default=50, metavar="N", help="updates; 50 by default")
    made.add_argument("--learning-rate", type=float, default=1e-4, metavar="X", help="constant; 1e-4 by default")
    made.add_argument("--seed", type=int, default=0, metavar="N", help="of adapters and order; 0 by default")
    made.add_argument(
        "--peers-python", type=Path, default=Path(sys.executable), metavar="PATH", help="an interpreter that has mlx-lm"
    )
    return made.parse_args()


def main(args: argparse.Namespace, folder: Path) -> tuple[list[Sequence[str]], dict[str, Any]]:
    """Adapters from us, then mlx-lm's run, then ours on its batches."""
    records = common.read_records(args.data)[: RECORDS + HELD_OUT]
    name = args.model or str(common.make_llama(folder / "llama", json.dumps(records)))
    loaded = load_model(name, dtype=mx.float32)
    adapt(loaded.model, LoraConfig(rank=RANK, alpha=RANK * SCALE), seed=args.seed)
    save_adapter(loaded.model, folder / "adapter")
    encoded = [encode(loaded, record) for record in records]
    job = {
        "model": str(loaded.path),
        "adapter": str(folder / "adapter" / ADAPTER_FILE),
        "keys": sorted({path.split(".", maxsplit=3)[3] for path in adapters(loaded.model)}),
        "rank": RANK,
        "scale": SCALE,
        "train": encoded[:RECORDS],
        "val": encoded[RECORDS:],
        "batch_size": BATCH,
        "max_seq_length": LONGEST,
        "steps": args.steps,
        "learning_rate": args.learning_rate,
        "betas": BETAS,
        "weight_decay": WEIGHT_DECAY,
        "seed": args.seed,
        "folder": str(folder),
    }
    theirs = common.peer(args.peers_python, "mlx_lm_curve.py", job, folder)
    ours = our_side(loaded, args, folder)
    differences = {"loss": largest_difference(ours["losses"], theirs["losses"])}
    differences["adapters"] = adapters_apart(loaded, folder / "adapters.safetensors")
    table: list[Sequence[str]] = [("", "ours", "mlx-lm", "difference")]
    for name, a, b in compared(ours, theirs):
        table.append((name, f"{a:.6f}", f"{b:.6f}", f"{a - b:+.1e}"))
    table.append(("largest difference of any step", "", "", f"{differences['loss']:.1e}"))
    table.append(("largest difference of any adapter's weight", "", "", f"{differences['adapters']:.1e}"))
    return table, {
        "differences": differences,
        "ours": ours,
        "theirs": {key: theirs[key] for key in ("losses", "val")},
        "random": args.model is None,
        "peers": theirs["versions"],
    }


def compared(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> list[tuple[str, float, float]]:
    """First and last step, and held-out records before and after."""
    names = (("losses", 0, "loss of the first step"), ("losses", -1, "loss of the last step"))
    held_out = (("val", 0, "held-out loss before"), ("val", 1, "held-out loss after"))
    return [(name, ours[key][at], theirs[key][at]) for key, at, name in (*names, *held_out)]


def encode(loaded: LoadedModel, record: dict[str, Any]) -> tuple[list[int], int]:
    """The ids of an instruction and its answer, and how many of them are not learned."""
    asked = "\n".join(filter(None, (record["instruction"], record.get("input"))))
    chat = chat_format_of(loaded.tokenizer, loaded.tokenizer_directory)
    messages = [Message("user", asked)]
    prompt = chat.generation_prompt(messages)
    answer = chat.completion(messages, [Message("assistant", record["output"])])
    return [int(i) for i in (*prompt, *answer)], len(prompt)


def batches(path: Path) -> list[tuple[mx.array, mx.array, mx.array]]:
    """mlx-lm's batches as inputs, targets and the mask of its loss: from the first to the last place of each span."""
    found = []
    with np.load(path) as file:
        for number in range(len(file.files) // 2):
            tokens, spans = file[f"t{number}"], file[f"s{number}"]
            places = np.arange(1, tokens.shape[1])
            mask = (places >= spans[:, :1]) & (places <= spans[:, 1:])
            found.append((mx.array(tokens[:, :-1]), mx.array(tokens[:, 1:]), mx.array(mask.astype(np.float32))))
    return found


def our_side(loaded: LoadedModel, args: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    """Our training step on mlx-lm's batches."""
    train = TrainConfig(
        optimizer="adamw",
        learning_rate=args.learning_rate,
        schedule="constant",
        warmup_steps=0,
        betas=BETAS,
        weight_decay=WEIGHT_DECAY,
        max_grad_norm=0,  # mlx-lm does not clip
        max_steps=args.steps,
        batch_size=BATCH,
        lanes=1,
        compute_dtype="float32",
    )
    val = batches(folder / "val.npz")
    before = held_out_loss(loaded, val)
    step = TrainStep(loaded.model, train, next_token_objective(train))
    state, losses = initial_state(loaded.model, train), []
    for batch in batches(folder / "train.npz"):
        state, metrics = step(state, batch)
        mx.eval(state.arrays(), metrics.loss)
        losses.append(float(metrics.loss.item()))
    install(loaded.model, state.parameters)
    return {"losses": losses, "val": [before, held_out_loss(loaded, val)]}


def held_out_loss(loaded: LoadedModel, found: Sequence[tuple[mx.array, mx.array, mx.array]]) -> float:
    """Mean over all tokens that count, nats."""
    loaded.model.eval()
    summed, count = 0.0, 0.0
    for inputs, targets, mask in found:
        summed += float(mx.sum(token_losses(loaded.model, inputs, targets) * mask).item())
        count += float(mx.sum(mask).item())
    return summed / count


def adapters_apart(loaded: LoadedModel, theirs: Path) -> float:
    """The largest difference of any number of any adapter."""
    save_adapter(loaded.model, theirs.parent / "trained")
    ours, others = (dict(mx.load(str(path))) for path in (theirs.parent / "trained" / ADAPTER_FILE, theirs))  # type: ignore[arg-type]
    if ours.keys() != others.keys():
        raise common.ParityError(f"the adapters differ in their names: {sorted(ours.keys() ^ others.keys())[0]}")
    return max(float(mx.max(mx.abs(ours[name] - others[name])).item()) for name in ours)


def told(args: argparse.Namespace, result: dict[str, Any]) -> common.Told:
    """For the receipt."""
    rows = [largest(f"loss of any of {len(result['ours']['losses'])} steps", result["differences"]["loss"], TOLERANCE)]
    rows += [pair(name, b, a, TOLERANCE) for name, a, b in compared(result["ours"], result["theirs"])]
    rows.append(largest("any number of any adapter", result["differences"]["adapters"], TOLERANCE))
    what = "a small random Llama" if result["random"] else "a model given by --model"
    note = f"{what}, rank {RANK}, {RECORDS} records and {HELD_OUT} held out; mlx-lm chooses batches and order"
    return common.Told("mlx-lm-lora", rows, seed=args.seed, versions=result["peers"], inputs=[args.data], note=note)


if __name__ == "__main__":
    common.run(main, arguments(), told)
