"""Supervised fine-tuning as it is written by hand with transformers and torch; prints the loss of each update.

Needs torch and transformers, nothing of this project.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from transformers import LlamaForCausalLM

IGNORED = -100


def padded(rows: list[list[int]], value: int) -> torch.Tensor:
    """Rows of one length."""
    longest = max(len(row) for row in rows)
    return torch.tensor([row + [value] * (longest - len(row)) for row in rows])


def main() -> None:
    """One update a batch."""
    job = json.loads(Path(sys.argv[1]).read_text())
    model = LlamaForCausalLM.from_pretrained(job["model"], dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=job["learning_rate"], betas=(0.9, 0.999), weight_decay=0.0)
    losses, tokens, used, filled = [], 0, 0, 0
    for batch in job["batches"]:
        ids = padded([row["ids"] for row in batch], 0)
        seen = padded([[1] * len(row["ids"]) for row in batch], 0)
        labels = padded(
            [[i if m else IGNORED for i, m in zip(row["ids"], row["mask"], strict=True)] for row in batch], IGNORED
        )
        loss = model(input_ids=ids, attention_mask=seen, labels=labels, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job["max_grad_norm"])
        optimizer.step()
        losses.append(loss.item())
        tokens += int((labels != IGNORED).sum())
        used, filled = used + int(seen.sum()), filled + seen.numel()
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    print(json.dumps({"losses": losses, "tokens": tokens, "padding": 1 - used / filled, "versions": versions}))


if __name__ == "__main__":
    main()
