"""One library reads one folder, in its own process and perhaps in another Python: a script, not to be imported.

    python child.py LIBRARY < request.json

The request is JSON: `folder`; `texts` to encode, without what the tokenizer puts before every text; `sequence`, ids whose
logits are wanted; `prompt`, a text that is continued greedily by `max_tokens` tokens, none of which ends it; `messages`
to render with the chat template, or null; `dtype` to compute in, or null for that of the weights; `cpu`, whether to stay
on it; `ids_only`, whether only the tokenizer is asked (of transformers and mlx-lm); `logits`, the file to write (T, V)
float32 logits to; `answer`, the file for everything else. That one holds `version`, `ids`, `prompt_ids`, `greedy` and
`chat_ids`, or only `error`.

Standard library and numpy besides the libraries themselves, which are looked up by name: none is a dependency.
"""

import ctypes
import json
import sys
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np


def with_transformers(request: dict[str, Any]) -> dict[str, Any]:
    """PyTorch on the CPU."""
    torch, transformers = import_module("torch"), import_module("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(request["folder"], local_files_only=True)
    if request.get("ids_only"):
        return _spelled(tokenizer, request)
    kind = getattr(torch, request["dtype"]) if request["dtype"] else "auto"
    asked = {"torch_dtype" if transformers.__version__.startswith("4.") else "dtype": kind}
    model = transformers.AutoModelForCausalLM.from_pretrained(request["folder"], local_files_only=True, **asked).eval()
    # What the folder says about choosing tokens and about ends does not belong here.
    model.generation_config = transformers.GenerationConfig(do_sample=False)
    told = _spelled(tokenizer, request)
    prompt = told["prompt_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([request["sequence"]])).logits[0].float().numpy()
        begun = torch.tensor([prompt])
        written = model.generate(
            begun,
            attention_mask=torch.ones_like(begun),
            max_new_tokens=request["max_tokens"],
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
    np.save(request["logits"], logits)
    return {"version": transformers.__version__, **told, "greedy": written}


def with_mlx_lm(request: dict[str, Any]) -> dict[str, Any]:
    """mlx-lm on MLX's device."""
    _use_openblas()
    mx = import_module("mlx.core")
    if request["cpu"]:
        mx.set_default_device(mx.cpu)
    mlx_lm, generate = import_module("mlx_lm"), import_module("mlx_lm.generate")
    if request.get("ids_only"):
        return _spelled(import_module("mlx_lm.utils").load_tokenizer(Path(request["folder"])), request)
    model, tokenizer = mlx_lm.load(request["folder"], lazy=True)
    if request["dtype"]:
        model.set_dtype(getattr(mx, request["dtype"]))
    mx.eval(model.parameters())
    told = _spelled(tokenizer, request)
    prompt = told["prompt_ids"]
    logits = model(mx.array([request["sequence"]]))[0].astype(mx.float32)
    steps = generate.generate_step(mx.array(prompt), model, max_tokens=request["max_tokens"])
    np.save(request["logits"], np.array(logits))
    return {"version": version("mlx-lm"), **told, "greedy": [int(token) for token, _ in steps]}


def with_mlxllm(request: dict[str, Any]) -> dict[str, Any]:
    """Ourselves; tokenizer.json is read once more by the library that defines it."""
    runtime, loading = import_module("mlxllm.runtime"), import_module("mlxllm.model.loading")
    mx, measuring = import_module("mlx.core"), import_module("mlxllm.export.measuring")
    if request["cpu"]:
        runtime.select_device("cpu")
    dtype = getattr(mx, request["dtype"]) if request["dtype"] else None
    loaded = loading.load_model(str(Path(request["folder"]).absolute()), dtype=dtype)
    measured = measuring.measure(loaded, request["sequence"], request["prompt"], request["max_tokens"])
    np.save(request["logits"], measured.logits)
    texts = request["texts"]
    ids = [loaded.tokenizer.encode(text) for text in texts]
    file = Path(request["folder"]) / "tokenizer.json"
    if file.is_file():
        theirs = import_module("tokenizers").Tokenizer.from_file(str(file))
        again = [theirs.encode(text, add_special_tokens=False).ids for text in texts]
        ids = again if again != ids else ids
    return {
        "version": version("mlxllm") if _installed("mlxllm") else import_module("mlxllm").__version__,
        "ids": ids,
        "prompt_ids": list(measured.prompt_ids),
        "greedy": list(measured.greedy),
        "chat_ids": measuring.chat_ids(loaded, request["messages"]) if request["messages"] else None,
    }


def _spelled(tokenizer: Any, request: dict[str, Any]) -> dict[str, Any]:
    return {
        "ids": [tokenizer.encode(text, add_special_tokens=False) for text in request["texts"]],
        "prompt_ids": tokenizer.encode(request["prompt"]),
        "chat_ids": _chat_ids(tokenizer, request["messages"]),
    }


def _chat_ids(tokenizer: Any, messages: list[dict[str, str]] | None) -> list[int] | None:
    if messages is None:
        return None
    text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    return ids


def _installed(name: str) -> bool:
    try:
        version(name)
    except Exception:
        return False
    return True


def _use_openblas() -> None:
    """MLX's Linux wheel brings a slow BLAS; a faster one that is loaded before it takes its place."""
    with suppress(OSError):
        ctypes.CDLL("libopenblas.so.0", mode=ctypes.RTLD_GLOBAL)


LIBRARIES = {"transformers": with_transformers, "mlx-lm": with_mlx_lm, "mlxllm": with_mlxllm}


def main() -> None:
    """Read the request, answer it."""
    request = json.load(sys.stdin)
    if sys.argv[1] == "mlx-lm":
        # As where it is not installed: mlx-lm has no use for PyTorch, and its import takes longer than all the rest.
        sys.modules["torch"] = None  # type: ignore[assignment]
    answer: dict[str, Any]
    try:
        answer = LIBRARIES[sys.argv[1]](request)
    except Exception as error:
        text = " ".join(str(error).split())
        answer = {"error": f"{type(error).__name__}: {text[:300]}"}
    Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
