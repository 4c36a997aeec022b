"""What llama.cpp makes of a GGUF file: runs by itself, in an interpreter that may have nothing of ours.

Reads one JSON object on stdin, see `llama_cpp_reader`, writes arrays to the .npz file that it names and the rest as one
JSON object on stdout.
"""

import json
import os
import sys
from typing import Any

import numpy as np


def main() -> None:
    """Load the file, tokenize, compute, continue."""
    import llama_cpp

    asked = json.load(sys.stdin)
    # A prompt that is a text has at most as many ids as bytes, and a few that go before it.
    prompt = len(asked["prompt"] if isinstance(asked["prompt"], list) else asked["prompt"].encode()) + 4
    longest = max([len(ids) for ids in asked["sequences"]] + [prompt + asked["max_tokens"], 1])
    # Its threads wait for each other by spinning: for a small model one is faster.
    small = os.path.getsize(asked["file"]) < 64 * 2**20 if os.path.isfile(asked["file"]) else True
    threads = 1 if small else max(1, min(8, os.cpu_count() or 1))
    model = llama_cpp.Llama(
        asked["file"],
        n_ctx=max(longest, 32),
        n_threads=threads,
        n_threads_batch=threads,
        n_gpu_layers=0,
        # The cache would be float16 otherwise, which alone moves logits by 1e-3.
        type_k=llama_cpp.GGML_TYPE_F32,
        type_v=llama_cpp.GGML_TYPE_F32,
        flash_attn=False,
        logits_all=True,
        verbose=False,
    )
    texts = [text.encode("utf-8") for text in asked["texts"]]
    found = {
        "version": llama_cpp.__version__,
        "vocab_size": model.n_vocab(),
        "ids": [model.tokenize(text, add_bos=asked["prefix"], special=False) if text else [] for text in texts],
        "special_ids": [model.tokenize(text, add_bos=False, special=True) if text else [] for text in texts],
        "template": model.metadata.get("tokenizer.chat_template"),
        "eos_id": model.token_eos(),
        "chat_ids": chat_ids(model, asked["messages"]),
        "greedy": [],
    }
    prompt = asked["prompt"]
    if isinstance(prompt, str):
        prompt = model.tokenize(prompt.encode("utf-8"), add_bos=True, special=False)
    found["prompt_ids"] = prompt
    arrays: dict[str, Any] = {}
    for number, ids in enumerate(asked["sequences"]):
        model.reset()
        model.eval(ids)
        arrays[f"logits_{number}"] = np.array(model.scores[: len(ids)], dtype=np.float32)
    if asked["max_tokens"]:
        model.reset()
        ids = prompt
        rows = []
        for _ in range(asked["max_tokens"]):
            model.eval(ids)
            row = np.array(model.scores[model.n_tokens - 1], dtype=np.float32)
            rows.append(row)
            ids = [int(np.argmax(row))]
            found["greedy"] += ids
        arrays["greedy_logits"] = np.stack(rows)
        found["text"] = model.detokenize(found["greedy"], special=True).decode("utf-8", "replace")
    np.savez(asked["arrays"], **arrays)
    json.dump(found, sys.stdout)


def chat_ids(model: Any, messages: list[dict[str, str]] | None) -> list[int] | None:
    """The ids of a conversation, rendered with the template in the file as llama-cpp-python does."""
    template = model.metadata.get("tokenizer.chat_template")
    if not messages or template is None:
        return None
    from llama_cpp.llama_chat_format import Jinja2ChatFormatter

    spelled = [model._model.token_get_text(i) if i >= 0 else "" for i in (model.token_eos(), model.token_bos())]
    rendered = Jinja2ChatFormatter(template=template, eos_token=spelled[0], bos_token=spelled[1])(messages=messages)
    ids: list[int] = model.tokenize(rendered.prompt.encode("utf-8"), add_bos=False, special=True)
    return ids


if __name__ == "__main__":
    main()
