"""From which checkpoint a run goes on.

Under a warm-up-stable-decay schedule an extension goes back to the checkpoint from before the decay. What the run had
reached until then stays beside it, until the extension has passed it or made something better: whoever stops the
extension early still has the finished model.
"""

from collections.abc import Sequence
from pathlib import Path

from mlxllm.config import RunConfig
from mlxllm.errors import UserError
from mlxllm.model.checkpoint_files import TRAINER_FILE, Checkpoint, list_checkpoints, verify_checkpoint
from mlxllm.runs import RunDirectory, read_json
from mlxllm.training.schedules import decay_start

PLANNED = "max_steps"
"""Key of a checkpoint's `extra`: the end that was planned when it was made."""


def checkpoint_to_resume(run: RunDirectory, config: RunConfig, *, extend: bool) -> tuple[Path | None, list[str]]:
    """The checkpoint to go on from, None to begin again, and what is to be said about it.

    Args:
        run: the run.
        config: of the attempt that is continued.
        extend: go back to before the decay where the run has come further.
    """
    present = list_checkpoints(run.path)
    usable = [c for c in present if _belongs(c, config)]
    if extend and config.train.schedule == "wsd" and usable:
        stable = decay_start(config.train)
        if usable[-1].step > stable:
            usable = [c for c in usable if c.step <= stable] or usable
    warnings: list[str] = []
    for checkpoint in reversed(usable):
        reason = verify_checkpoint(checkpoint.path)
        if reason is None:
            return checkpoint.path, warnings
        warnings.append(f"the checkpoint of step {checkpoint.step:,} cannot be used: {reason}")
    if warnings or _had_begun(run, present):
        warnings.append(f"run {run.name!r} has no usable checkpoint left and begins again at step 0")
    return None, warnings


def _belongs(checkpoint: Checkpoint, config: RunConfig) -> bool:
    """Whether the checkpoint lies on the way to the planned end, or is left from before an extension."""
    try:
        planned = read_json(checkpoint.path / TRAINER_FILE)["extra"].get(PLANNED, config.train.max_steps)
        train = config.train.model_copy(update={"max_steps": int(planned)})
    except (UserError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return True  # damaged: whoever verifies it will say so
    same = train.max_steps == config.train.max_steps or train.schedule != "wsd"
    return same or checkpoint.step <= decay_start(train)


def _had_begun(run: RunDirectory, present: Sequence[Checkpoint]) -> bool:
    """Whether there should be checkpoints and there is none."""
    return not present and run.events.exists() and b'"checkpoint_saved"' in run.events.read_bytes()
