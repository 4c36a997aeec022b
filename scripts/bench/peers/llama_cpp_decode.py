"""Time llama.cpp's greedy continuation of one prompt, in a process that has the model loaded.

The model is the same one as a GGUF file in float32, its cache is float32, and every thread count up to the number of
cores is tried for a few tokens: the fastest counts.
"""

import argparse
import json
import time
from pathlib import Path

import harness
import llama_cpp
import numpy as np

TRIAL_TOKENS = 24


def main() -> None:
    """Choose a number of threads, then the timed continuations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="a GGUF file")
    parser.add_argument("--prompt-ids", type=json.loads, required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    args = parser.parse_args()
    tried = {}
    for threads in harness.thread_counts():
        model = load(args, threads)
        continued(model, args.prompt_ids, 2)
        tried[threads] = rate_of(continued(model, args.prompt_ids, TRIAL_TOKENS)[1])
        model.close()
    threads = max(tried, key=lambda n: tried[n])
    model = load(args, threads)
    rates, first = [], []
    for number in range(args.repeats + 1):
        begun = time.perf_counter()
        token_ids, arrived = continued(model, args.prompt_ids, args.max_tokens)
        if number:
            rates.append(rate_of(arrived))
            first.append(arrived[0] - begun)
    harness.report(
        tok_per_sec=rates,
        prefill_seconds=first,
        prompt_ids=args.prompt_ids,
        token_ids=token_ids,
        footprint=harness.peak_footprint(),
        threads=threads,
        version=llama_cpp.__version__,
    )


def load(args: argparse.Namespace, threads: int) -> llama_cpp.Llama:
    """The model on the CPU."""
    return llama_cpp.Llama(
        str(args.model),
        n_ctx=len(args.prompt_ids) + args.max_tokens + TRIAL_TOKENS,
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        verbose=False,
    )


def continued(model: llama_cpp.Llama, prompt: list[int], length: int) -> tuple[list[int], list[float]]:
    """The ids that follow, and when each came."""
    model.reset()
    token_ids: list[int] = []
    arrived: list[float] = []
    ids = prompt
    while len(token_ids) < length:
        model.eval(ids)
        logits = np.ctypeslib.as_array(model._ctx.get_logits(), shape=(model.n_vocab(),))
        ids = [int(logits.argmax())]
        token_ids += ids
        arrived.append(time.perf_counter())
    return token_ids, arrived


def rate_of(arrived: list[float]) -> float:
    """Tokens a second after the first."""
    return (len(arrived) - 1) / (arrived[-1] - arrived[0])


if __name__ == "__main__":
    main()
