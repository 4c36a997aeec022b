"""The checkpoints of a run as files: their names, which there are, which are whole. No arrays here.

Below a run's `checkpoints/`:

- `step-00001000/`: one checkpoint, made under another name and renamed when it is whole. Beside model,
  optimizer and the trainer's state it holds a manifest {"files": {name: {"sha256", "bytes"}}}, written last.
- `best.json` {"step", "val_loss"}: which one had the lowest validation loss.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from mlxllm.errors import RunError, UserError
from mlxllm.runs.files import read_json, sha256_of_file

CHECKPOINTS_DIRECTORY = "checkpoints"
MODEL_FILE = "model.safetensors"
OPTIMIZER_FILE = "optimizer.safetensors"
TRAINABLE_FILE = "trainable.safetensors"
"""In place of the model's file where only adapters are trained: their arrays, exactly as a resume needs them. Beside it
lies the adapter in mlx-lm's layout."""
TRAINER_FILE = "trainer.json"
MANIFEST_FILE = "manifest.json"
BEST_FILE = "best.json"

CHECKPOINT_FILES = (MODEL_FILE, OPTIMIZER_FILE, TRAINER_FILE)
"""What a manifest lists at least; for the model's file `TRAINABLE_FILE` will do."""

WEIGHT_FILES = (MODEL_FILE, TRAINABLE_FILE)

_NAME = re.compile(r"step-(\d{8,})")


@dataclass(frozen=True, order=True)
class Checkpoint:
    """A checkpoint that is there by name; whether it is whole is for `verify_checkpoint` to say."""

    step: int
    path: Path
    passed_over: str = field(default="", compare=False)
    """Why a newer one was not taken, in a sentence; "" where there is none."""


def checkpoint_path(run_path: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies, or will lie."""
    return run_path / CHECKPOINTS_DIRECTORY / f"step-{step:08d}"


def best_path(run_path: Path) -> Path:
    """The note of which checkpoint had the lowest validation loss."""
    return run_path / CHECKPOINTS_DIRECTORY / BEST_FILE


def list_checkpoints(run_path: Path) -> list[Checkpoint]:
    """The checkpoints of a run, oldest first; half-written ones have other names and are not among them."""
    directory = run_path / CHECKPOINTS_DIRECTORY
    if not directory.is_dir():
        return []
    named = ((_NAME.fullmatch(path.name), path) for path in directory.iterdir() if path.is_dir())
    return sorted(Checkpoint(int(match[1]), path) for match, path in named if match)


def verify_checkpoint(path: Path, hashed: Collection[str] | None = None) -> str | None:
    """Whether the checkpoint folder `path` is what was written: None, or else the reason in a sentence.

    Args:
        path: the folder.
        hashed: the files whose bytes are compared with the manifest; by default all. Sizes always are.
    """
    try:
        files = _manifest_files(path / MANIFEST_FILE)
        for name, (_, size) in files.items():
            file = path / name
            if not file.is_file():
                return f"{file} is missing"
            if (found := file.stat().st_size) != size:
                return f"{file} has {found:,} bytes where the manifest says {size:,}"
        for name, (digest, _) in files.items():
            if (hashed is None or name in hashed) and sha256_of_file(path / name) != digest:
                return f"{path / name} is damaged: its SHA-256 is not the manifest's"
    except UserError as error:
        return str(error)
    except OSError as error:
        return f"cannot read {error.filename or path}: {error.strerror or error}"
    return None


def _manifest_files(path: Path) -> dict[str, tuple[str, int]]:
    """name -> (sha256, bytes) of a manifest that has the right form."""
    files = _dict(_dict(read_json(path)).get("files"))
    needed = [TRAINABLE_FILE if n == MODEL_FILE and TRAINABLE_FILE in files else n for n in CHECKPOINT_FILES]
    if missing := [name for name in needed if name not in files]:
        raise RunError(f"{path} does not list {missing[0]}")
    listed = {}
    for name, entry in files.items():
        digest, size = _dict(entry).get("sha256"), _dict(entry).get("bytes")
        if not isinstance(digest, str) or not isinstance(size, int) or Path(name).name != name:
            raise RunError(f"{path} has no usable entry for {name!r}")
        listed[name] = (digest, size)
    return listed


def find_checkpoint(
    run_path: Path, which: Literal["last", "best"] | int = "last", hashed: Collection[str] | None = None
) -> Checkpoint:
    """The checkpoint of a run that is asked for, verified.

    Args:
        run_path: the run's folder.
        which: "last" passes over damaged ones to the newest valid one; "best" has the lowest validation loss;
            a number is the step.
        hashed: see `verify_checkpoint`.

    Raises:
        RunError: there is none, or the one asked for is damaged; the message names those that there are.
    """
    present = list_checkpoints(run_path)
    if which == "last":
        return _newest_valid(run_path, present, hashed)
    step = _best_step(run_path) if which == "best" else int(which)
    found = next((c for c in present if c.step == step), None)
    if found is None:
        raise RunError(f"run {run_path.name!r} has no checkpoint of step {step:,}; {_choice(present)}")
    if reason := verify_checkpoint(found.path, hashed):
        others = [c for c in present if c != found]
        raise RunError(f"checkpoint {step:,} of run {run_path.name!r} cannot be used: {reason}; {_choice(others)}")
    return found


def _newest_valid(run_path: Path, present: list[Checkpoint], hashed: Collection[str] | None) -> Checkpoint:
    newest_reason = None
    for checkpoint in reversed(present):
        reason = verify_checkpoint(checkpoint.path, hashed)
        if reason is None:
            return replace(checkpoint, passed_over=newest_reason or "")
        newest_reason = newest_reason or reason
    if newest_reason is None:
        raise RunError(
            f"run {run_path.name!r} has no checkpoint yet; it saves one every train.checkpoint_every steps, "
            f"at its end, and when it is stopped"
        )
    raise RunError(f"no checkpoint of run {run_path.name!r} is whole; the newest cannot be used: {newest_reason}")


def _best_step(run_path: Path) -> int:
    if not best_path(run_path).exists():
        raise RunError(f"run {run_path.name!r} has no best checkpoint yet; leave @best out to take the last one")
    step = _dict(read_json(best_path(run_path))).get("step")
    if not isinstance(step, int):
        raise RunError(f"{best_path(run_path)} names no step; leave @best out to take the last checkpoint")
    return step


def _choice(present: list[Checkpoint]) -> str:
    if not present:
        return "it has no other"
    return f"there are the steps {', '.join(str(c.step) for c in present)}"


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
