"""Time mlx-lm's greedy continuations of one prompt, and of several at once, in a process that has the model loaded."""

import argparse
import time
from pathlib import Path
from typing import Any

import harness  # before MLX: it prepares BLAS
import mlx.core as mx
import mlx_lm


def main() -> None:
    """A first continuation that does not count, then the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--sequences", type=int, required=True)
    args = parser.parse_args()
    model, tokenizer = mlx_lm.load(str(args.model))
    prompt = tokenizer.encode(args.prompt, add_special_tokens=False)
    rates, first = [], []
    for number in range(args.repeats + 1):
        begun = time.perf_counter()
        arrived, token_ids = [], []
        for response in mlx_lm.stream_generate(model, tokenizer, prompt, max_tokens=args.max_tokens):
            arrived.append(time.perf_counter())
            token_ids.append(int(response.token))
        if number:
            rates.append((len(arrived) - 1) / (arrived[-1] - arrived[0]))
            first.append(arrived[0] - begun)
    harness.report(
        tok_per_sec=rates,
        **together(model, tokenizer, list(prompt), args),
        prefill_seconds=first,
        prompt_ids=list(prompt),
        token_ids=token_ids,
        peak_memory=mx.get_peak_memory(),
        footprint=harness.peak_footprint(),
        version=mlx_lm.__version__,
        mlx=mx.__version__,
        blas=harness.BLAS,
    )


def together(model: Any, tokenizer: Any, prompt: list[int], args: argparse.Namespace) -> dict[str, Any]:
    """Several sequences at once, their rate as `batch_generate` tells it; nothing where this mlx-lm has none."""
    if not hasattr(mlx_lm, "batch_generate"):
        return {}
    prompts = [prompt[: len(prompt) - i] for i in range(args.sequences)]
    rates = []
    for number in range(args.repeats + 1):
        written = mlx_lm.batch_generate(
            model,
            tokenizer,
            prompts,
            max_tokens=args.max_tokens,
            return_token_ids=True,
            completion_batch_size=len(prompts),
        )
        if number:
            rates.append(written.stats.generation_tps)
    return {"batch_tok_per_sec": rates, "batch_ids": written.token_ids}


if __name__ == "__main__":
    main()
