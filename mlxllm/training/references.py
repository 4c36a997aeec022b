"""What the reference says of every pair, computed once: there is never a second model in memory.

Kept in the run as `references.npz`, and in `<home>/cache/references` under a name that follows from weights, data and
settings, so that a later run with the same reference finds it.
"""

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import numpy as np

from mlxllm import paths
from mlxllm.config import DpoConfig, RunConfig
from mlxllm.evaluation.pair_rows import PairShapes
from mlxllm.evaluation.pair_scoring import reference_logprobs
from mlxllm.evaluation.preference_losses import REFERENCE_FREE
from mlxllm.model.adapters import adapters_off
from mlxllm.model.transformer import Transformer
from mlxllm.runs import RunDirectory
from mlxllm.training.dpo import DpoData

REFERENCES_FILE = "references.npz"


def references(
    config: RunConfig, data: DpoData, shapes: PairShapes, run: RunDirectory, reference: Callable[[], Transformer]
) -> np.ndarray:
    """log ref of both answers of every pair, those for training first: (P, 2) float32.

    Args:
        config: resolved.
        data: the pairs.
        shapes: what pairs are padded to.
        run: keeps the result.
        reference: gives the model before its first step, if it has to be asked; adapters are switched off meanwhile.
    """
    every = [*data.train, *data.val]
    if (config.dpo or DpoConfig()).loss in REFERENCE_FREE:
        return np.zeros((len(every), 2), dtype=np.float32)
    settings = (
        config.base_fingerprint,
        config.model.model_dump_json(),
        data.fingerprint,
        config.train.compute_dtype,
        config.lora and config.lora.quantize,
    )
    key = sha256(repr(settings).encode()).hexdigest()
    own, shared = run.path / REFERENCES_FILE, paths.folder("cache") / "references" / f"{key}.npz"
    for path in (own, shared):
        known = _read(path, key, len(every))
        if known is not None:
            break
    else:
        model = reference()
        with adapters_off(model):
            known = reference_logprobs(model, every, shapes, config.train)
    _write(own, key, known)
    with suppress(OSError):  # a cache that cannot be written costs a later run some time
        _write(shared, key, known)
    return known


def _read(path: Path, key: str, count: int) -> np.ndarray | None:
    """What the file says, if it is about these pairs and whole."""
    try:
        with open(path, "rb") as file, np.load(file) as stored:
            logprobs = np.asarray(stored["logprobs"])
            fits = str(stored["key"]) == key and logprobs.shape == (count, 2) and logprobs.dtype == np.float32
            return logprobs if fits and bool(np.isfinite(logprobs).all()) else None
    except Exception:  # NumPy and zipfile have a dozen for what is missing, cut off or something else
        return None


def _write(path: Path, key: str, logprobs: np.ndarray) -> None:
    if _read(path, key, len(logprobs)) is not None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "wb") as file:
        np.savez(file, logprobs=logprobs, key=np.array(key))
    shutil.move(partial, path)
