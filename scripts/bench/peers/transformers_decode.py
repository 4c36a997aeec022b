"""Time transformers' greedy continuation of one prompt, in a process that has the model loaded."""

import argparse
import time
from pathlib import Path

import harness
import torch
import transformers
from transformers import AutoTokenizer, LlamaForCausalLM
from transformers.generation.streamers import BaseStreamer

TRIAL_TOKENS = 24
"""To choose the number of threads by."""


class Clock(BaseStreamer):
    """Notes when each token comes; the first `put` is the prompt."""

    def __init__(self) -> None:
        self.arrived: list[float] = []

    def put(self, value: torch.Tensor) -> None:
        """Called with the prompt, then with each token."""
        self.arrived.append(time.perf_counter())

    def end(self) -> None:
        """Nothing is left to do."""


def main() -> None:
    """A number of threads is chosen, a first continuation does not count, then come the timed ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--sequences", type=int, required=True, help="not used: one sequence only")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    model = LlamaForCausalLM.from_pretrained(args.model, dtype=torch.float32).eval()
    prompt = tokenizer(args.prompt, add_special_tokens=False, return_tensors="pt").input_ids

    def continued(tokens: int) -> tuple[torch.Tensor, float, list[float]]:
        """The ids, when it began, and when each new one came."""
        clock, begun = Clock(), time.perf_counter()
        written = model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            do_sample=False,
            max_new_tokens=tokens,
            eos_token_id=None,
            pad_token_id=0,
            streamer=clock,
        )
        return written, begun, clock.arrived[1:]

    continued(TRIAL_TOKENS)  # the first one prepares
    tried = {}
    for threads in harness.thread_counts():
        torch.set_num_threads(threads)
        _, _, arrived = continued(TRIAL_TOKENS)
        tried[threads] = arrived[-1] - arrived[0]
    torch.set_num_threads(min(tried, key=lambda n: tried[n]))
    rates, first = [], []
    for number in range(args.repeats + 1):
        written, begun, arrived = continued(args.max_tokens)
        if number:
            rates.append((len(arrived) - 1) / (arrived[-1] - arrived[0]))
            first.append(arrived[0] - begun)
    harness.report(
        tok_per_sec=rates,
        prefill_seconds=first,
        prompt_ids=prompt[0].tolist(),
        token_ids=written[0, prompt.shape[1] :].tolist(),
        footprint=harness.peak_footprint(),
        threads=torch.get_num_threads(),
        version=transformers.__version__,
        torch=torch.__version__,
    )


if __name__ == "__main__":
    main()
