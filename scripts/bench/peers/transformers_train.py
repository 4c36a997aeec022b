"""Time PyTorch eager (transformers' Llama, AdamW) on one batch, on the weights of a model folder."""

import argparse
import time
from pathlib import Path

import harness
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from transformers import LlamaForCausalLM

WARMUP = 2


def best_device() -> str:
    """A GPU if there is one."""
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def fastest(model: LlamaForCausalLM, inputs: torch.Tensor, targets: torch.Tensor) -> int:
    """The number of threads with which two backward passes take least; the weights stay as they are."""

    def passed() -> float:
        """Seconds of a forward and a backward pass."""
        begun = time.perf_counter()
        logits = model(inputs, use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1), targets.flatten()).backward()
        return time.perf_counter() - begun

    passed()  # the first one prepares
    tried = {}
    for threads in harness.thread_counts():
        torch.set_num_threads(threads)
        tried[threads] = passed() + passed()
    model.zero_grad(set_to_none=True)
    return min(tried, key=lambda n: tried[n])


def main() -> None:
    """One process: a number of threads is chosen, two steps do not count, then come the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--batch", type=Path, required=True, help=".npy of (B, T + 1) ids")
    parser.add_argument("--steps", type=int, required=True, help="after the first two")
    parser.add_argument("--learning-rate", type=float, required=True)
    args = parser.parse_args()
    device = best_device()
    ids = torch.from_numpy(np.load(args.batch).astype(np.int64)).to(device)
    inputs, targets = ids[:, :-1], ids[:, 1:]
    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32).to(device).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=args.learning_rate, betas=(0.9, 0.999), weight_decay=0.01, fused=True
    )

    def step() -> tuple[float, float]:
        """Seconds and loss of an update."""
        begun = time.perf_counter()
        logits = model(inputs, use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        value = loss.item()
        if device != "cpu":
            getattr(torch, device).synchronize()
        return time.perf_counter() - begun, value

    if device == "cpu":
        torch.set_num_threads(fastest(model, inputs, targets))
    seconds, losses = zip(*(step() for _ in range(args.steps + WARMUP)), strict=True)
    harness.report(
        tok_per_sec=[targets.numel() / s for s in seconds[WARMUP:]],
        losses=losses,
        tokens_per_step=targets.numel(),
        parameters=sum(p.numel() for p in model.parameters()),
        footprint=harness.peak_footprint(),
        device=device,
        threads=torch.get_num_threads(),
        version=transformers.__version__,
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
