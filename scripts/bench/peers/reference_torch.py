"""The small reference recipe for Shakespeare by character in plain PyTorch, written from its published set-up.

A GPT-2 style decoder: 4 layers, 4 heads, 128 wide, learned positions, pre-LayerNorm without biases, exact GELU, tied
head. Context 64, batches of 12 random stretches, 2000 steps of AdamW (betas 0.9 and 0.99, weight decay 0.1 on
matrices), clipping at 1, 100 steps of warm-up, then a cosine from 1e-3 to 1e-4; no dropout. Other shapes and
vocabularies are options; the recipe stays.

Shapes: B batch, T time, D hidden, H heads, V vocabulary.
"""

import argparse
import math
import time

import harness
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x))."""

    def __init__(self, D: int, H: int) -> None:
        super().__init__()
        self.heads = H
        self.attention_norm = nn.LayerNorm(D, bias=False)
        self.qkv = nn.Linear(D, 3 * D, bias=False)
        self.attention_out = nn.Linear(D, D, bias=False)
        self.mlp_norm = nn.LayerNorm(D, bias=False)
        self.mlp_in = nn.Linear(D, 4 * D, bias=False)
        self.mlp_out = nn.Linear(4 * D, D, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        B, T, D = x.shape
        q, k, v = self.qkv(self.attention_norm(x)).view(B, T, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, H, T, D / H)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(B, T, D))
        return x + self.mlp_out(F.gelu(self.mlp_in(self.mlp_norm(x))))


class Reference(nn.Module):
    """Token ids to the mean cross-entropy of their successors."""

    def __init__(self, V: int, T: int, D: int, H: int, layers: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(V, D)
        self.positions = nn.Embedding(T, D)
        self.blocks = nn.ModuleList(Block(D, H) for _ in range(layers))
        self.norm = nn.LayerNorm(D, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                # The two projections that add to the residual stream start smaller, as GPT-2's do.
                output = name.endswith(("attention_out.weight", "mlp_out.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * layers) if output else 0.02)

    def forward(self, inputs: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of (B, T) targets."""
        x = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = F.linear(self.norm(x), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)


def learning_rate(step: int, steps: int, warmup: int, peak: float, floor: float) -> float:
    """Linear warm-up, then a cosine from `peak` to `floor`."""
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """AdamW, its decay on matrices only; the fused update is the faster one."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)


class Training:
    """Model, optimizer and data on one device."""

    def __init__(self, ids: Tensor, vocabulary: int, device: str, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args, self.device, self.ids = args, device, ids
        self.model = Reference(vocabulary, args.context, args.width, args.heads, args.layers).to(device)
        self.optimizer = make_optimizer(self.model)
        self.step = 0

    def advance(self, steps: int) -> float:
        """Train; returns the seconds that it took, the device's work included."""
        args, span = self.args, torch.arange(self.args.context + 1)
        begun = time.perf_counter()
        for _ in range(steps):
            rate = learning_rate(self.step, args.steps, min(100, args.steps // 2), 1e-3, 1e-4)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            starts = torch.randint(len(self.ids) - args.context, (args.batch_size, 1))
            rows = self.ids[starts + span].to(self.device)
            loss = self.model(rows[:, :-1], rows[:, 1:])
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
        self.loss = loss.item()  # waits for the device
        return time.perf_counter() - begun

    @torch.no_grad()
    def validate(self, ids: Tensor) -> float:
        """Mean loss over the whole split, in windows of the context side by side."""
        T = self.args.context
        whole = (len(ids) - 1) // T
        total = 0.0
        for start in range(0, whole, 256):
            stop = min(start + 256, whole)
            inputs, targets = ids[start * T : stop * T].view(-1, T), ids[start * T + 1 : stop * T + 1].view(-1, T)
            total += self.model(inputs.to(self.device), targets.to(self.device), reduction="sum").item()
        if rest := (len(ids) - 1) % T:
            tail = ids[-rest - 1 :][None]
            total += self.model(tail[:, :-1].to(self.device), tail[:, 1:].to(self.device), reduction="sum").item()
        return total / (len(ids) - 1)


def choices() -> list[tuple[str, int]]:
    """Device and thread count: one thread, all cores, the doublings between; a GPU."""
    found = [("cpu", count) for count in harness.thread_counts()]
    if torch.cuda.is_available():
        found.append(("cuda", 1))
    if torch.backends.mps.is_available():
        found.append(("mps", 1))
    return found


def main() -> None:
    """Find the faster thread count, train, validate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", required=True, help="an .npz with `train` and `val`: ids")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, help="by default as many as the ids need")
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--trial-steps", type=int, default=40, help="steps to choose the thread count by")
    args = parser.parse_args()
    with np.load(args.tokens) as file:
        train, val = torch.from_numpy(file["train"].astype(np.int64)), torch.from_numpy(file["val"].astype(np.int64))
    vocabulary = args.vocabulary or int(max(train.max(), val.max())) + 1

    trials: dict[tuple[str, int], float] = {}
    for device, threads in choices():
        torch.set_num_threads(threads)
        trial = Training(train, vocabulary, device, args)
        trial.advance(max(1, args.trial_steps // 4))
        trials[device, threads] = trial.advance(args.trial_steps) / args.trial_steps
    device, threads = min(trials, key=lambda choice: trials[choice])
    torch.set_num_threads(threads)

    training = Training(train, vocabulary, device, args)
    seconds = training.advance(args.steps)
    harness.report(
        seconds=seconds,
        loss=training.validate(val),
        train_loss=training.loss,
        steps=args.steps,
        tokens=args.steps * args.batch_size * args.context,
        scored=len(val) - 1,
        context=args.context,
        parameters=sum(p.numel() for p in training.model.parameters()),
        device=device,
        threads=threads,
        trials={f"{d}, threads {n}": round(1000 * s, 2) for (d, n), s in trials.items()},
        torch=torch.__version__,
        footprint=harness.peak_footprint(),
    )


if __name__ == "__main__":
    main()
