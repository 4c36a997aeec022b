"""Time our greedy continuations of one prompt, and of several at once, in a process that has the model loaded."""

import argparse
import time
from pathlib import Path

import measure  # before MLX: it prepares BLAS
import mlx.core as mx

from mlxllm import runtime
from mlxllm.config import SampleConfig
from mlxllm.inference.batch import generate_batch
from mlxllm.inference.generate import generate
from mlxllm.model.loading import load_model


def main() -> None:
    """A first continuation that does not count, then the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--sequences", type=int, required=True)
    args = parser.parse_args()
    runtime.select_device(None)
    loaded = load_model(str(args.model))
    prompt = loaded.tokenizer.encode(args.prompt)
    sample = SampleConfig(temperature=0, max_tokens=args.max_tokens)
    rates, first = [], []
    for number in range(args.repeats + 1):
        begun = time.perf_counter()
        arrived, token_ids = [], []
        for token in generate(loaded.model, loaded.tokenizer, prompt, sample, stop_ids=()):
            arrived.append(time.perf_counter())
            token_ids.append(token.id)
        if number:
            rates.append((len(arrived) - 1) / (arrived[-1] - arrived[0]))
            first.append(arrived[0] - begun)
    # One character less of the prompt for each: they shall not all say the same.
    prompts = [prompt[: len(prompt) - i] for i in range(args.sequences)]
    together = []
    for number in range(args.repeats + 1):
        came: list[float] = []

        def watch(row: int, token: int | None, came: list[float] = came) -> bool:
            came.append(time.perf_counter())
            return False

        written = generate_batch(loaded.model, loaded.tokenizer, prompts, sample, stop_ids=(), watch=watch)
        if number:
            together.append(sum(len(ids) - 1 for ids in written) / (came[-1] - came[0]))
    measure.report(
        tok_per_sec=rates,
        batch_tok_per_sec=together,
        batch_ids=written,
        prefill_seconds=first,
        prompt_ids=prompt,
        token_ids=token_ids,
        peak_memory=mx.get_peak_memory(),
        footprint=measure.peak_footprint(),
        **measure.device_facts(),
    )


if __name__ == "__main__":
    main()
