"""The training loop: steps, and between them validation, samples, checkpoints, requests and signals.

What the trainer needs is put together in `start.py`; what it says goes to the run directory and to a listener.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import mlx.core as mx
import numpy as np

from mlxllm.config import RunConfig, SampleConfig
from mlxllm.errors import DivergedError, OutOfMemoryError, UserError
from mlxllm.inference.generate import generate
from mlxllm.model.adapter_files import save_adapter
from mlxllm.model.adapters import has_adapters
from mlxllm.model.checkpoint_files import checkpoint_path, list_checkpoints
from mlxllm.model.transformer import Transformer
from mlxllm.runs import Event, Recorder, Request, RunDirectory, dependents
from mlxllm.runtime import process_footprint_bytes
from mlxllm.training.checkpoint import (
    TrainerState,
    is_of_another_attempt,
    mark_best,
    noted_best,
    prune_checkpoints,
    save_checkpoint,
)
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.measuring import Rate
from mlxllm.training.probing import probe_fields
from mlxllm.training.schedules import decay_start, learning_rate_scale
from mlxllm.training.step import TOKENS, Batch, StepMetrics, TrainState, TrainStep, install
from mlxllm.training.task import Task

_POLL_SECONDS = 0.1


@dataclass
class Outcome:
    """How a training loop ended."""

    status: str
    """finished, stopped, or early_stopped (validation had turned)."""
    signal: int | None = None
    """The signal that stopped it, if one did."""


@dataclass
class Trainer:
    """One attempt of a run, from its newest checkpoint or from step 0 to `max_steps`."""

    run: RunDirectory
    config: RunConfig
    model: Transformer
    task: Task
    step: TrainStep
    state: TrainState
    progress: TrainerState
    listener: Callable[[Event], None]
    interrupts: Interrupts

    def __post_init__(self) -> None:
        self._validated_at = self._sampled_at = -1
        self._improved = False
        self._ended_early = False
        self._passage_told = False
        self._rate = Rate()

    def fit(self, recorder: Recorder) -> Outcome:
        """Train to the end, or until someone asks to stop; every exit that is not a crash leaves a checkpoint.

        Raises:
            DivergedError: too many non-finite steps in a row; the checkpoints from before stay.
            OutOfMemoryError: the device has no more memory.
        """
        try:
            return self._loop(recorder)
        except UserError:
            raise
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"out of memory at step {self.state.step:,} ({error}); make --batch-size or --max-seq-len smaller, or set "
                f"train.gradient_checkpointing; {self._kept()}"
            ) from error

    def _loop(self, recorder: Recorder) -> Outcome:
        train = self.config.train
        pending: tuple[StepMetrics, int] | None = None
        self._rate.restart()
        if self.state.step == 0:
            self._validate(recorder)
            self._sample(recorder)
        while self.state.step < train.max_steps:
            if self.interrupts.received is not None or recorder.inbox.poll():
                if pending is not None:
                    self._record(recorder, *pending)
                    pending = None
                if self._obey(recorder):
                    self._save(recorder)
                    return Outcome("stopped", self.interrupts.received)
            self.state, metrics = self.step(self.state, self.batch(self.state.step))
            mx.async_eval(self.state.arrays(), metrics.arrays())
            # The device works on this step while the last one's numbers are written.
            if pending is not None:
                self._record(recorder, *pending)
            pending = (metrics, self.state.step)
            if self._due(self.state.step):
                self._record(recorder, *pending)
                pending = None
                self._between_steps(recorder)
                if self._ended_early:
                    break
        if pending is not None:
            self._record(recorder, *pending)
        self._validate(recorder)
        self._sample(recorder)
        self._save(recorder)
        return Outcome("early_stopped" if self._ended_early else "finished")

    def batch(self, step: int) -> Batch:
        """The arrays of a step, A * B rows each."""
        return tuple(mx.array(a) for a in self.task.rows.batch(step))

    def _due(self, step: int) -> bool:
        train = self.config.train
        return (
            (train.eval_every > 0 and step % train.eval_every == 0)
            or (train.sample_every > 0 and step % train.sample_every == 0)
            or (train.checkpoint_every > 0 and step % train.checkpoint_every == 0)
            or step == self._stable_step()
        )

    def _stable_step(self) -> int | None:
        """The step before the decay, from which a run can be extended."""
        return decay_start(self.config.train) if self.config.train.schedule == "wsd" else None

    def _between_steps(self, recorder: Recorder) -> None:
        train, step = self.config.train, self.state.step
        last = step >= train.max_steps
        if train.eval_every and step % train.eval_every == 0:
            if self._validate(recorder) and not last:
                self._save(recorder)
            if train.early_stop_evals and self.progress.evals_without_gain >= train.early_stop_evals:
                self._ended_early = True
        if train.sample_every and step % train.sample_every == 0:
            self._sample(recorder)
        periodic = train.checkpoint_every and step % train.checkpoint_every == 0
        if (periodic or step == self._stable_step()) and not last:
            self._save(recorder)

    def _record(self, recorder: Recorder, metrics: StepMetrics, step: int) -> None:
        """Wait for a step's numbers, write its event, watch for divergence."""
        loss, grad_norm = cast(float, metrics.loss.item()), cast(float, metrics.grad_norm.item())
        counted = cast(float, metrics.num_tokens.item())
        means = {name: cast(float, value.item()) for name, value in metrics.means.items()}
        tokens = round(counted * means.pop(TOKENS, 1.0))
        self.progress = replace(self.progress, step=step, tokens=self.progress.tokens + tokens)
        train = self.config.train
        self._tell(
            recorder,
            "train",
            step,
            loss=loss,
            learning_rate=train.learning_rate * learning_rate_scale(train, step - 1),
            grad_norm=grad_norm,
            tokens=self.progress.tokens,
            tok_per_sec=self._rate.add(tokens),
            peak_memory=mx.get_peak_memory(),
            footprint=process_footprint_bytes(),
            **means,
        )
        if metrics.finite.item():
            if self.progress.nonfinite_in_a_row:
                self.progress = replace(self.progress, nonfinite_in_a_row=0)
            return
        in_a_row = self.progress.nonfinite_in_a_row + 1
        self.progress = replace(self.progress, nonfinite_in_a_row=in_a_row)
        self._tell(recorder, "warning", step, message=f"step {step:,}: loss or gradient is not finite; update skipped")
        # A run that is shorter than that and has made no step at all has come to nothing just as well.
        if in_a_row >= min(train.max_nonfinite_steps, train.max_steps):
            raise DivergedError(
                f"{in_a_row} steps in a row had a loss or gradient that is not finite (the last is step {step:,}); "
                f"{self._kept()}; start again with a smaller --learning-rate"
            )

    def _kept(self) -> str:
        """What of the run can be used."""
        checkpoints = list_checkpoints(self.run.path)
        if not checkpoints:
            return "no checkpoint had been written"
        return f"the checkpoint of step {checkpoints[-1].step:,} is kept"

    def _validate(self, recorder: Recorder) -> bool:
        """Score the validation split; returns whether it was the best so far."""
        if self._validated_at == self.state.step or self.task.validation is None:
            return False
        recorder.flush()
        begun = time.perf_counter()
        install(self.model, self.state.parameters)
        watched: list[np.ndarray] = []
        results = dict(self.task.validation(self.model, watch=watched.append))
        everything = results.pop("all")
        best = self.progress.best_val_loss
        improved = math.isfinite(everything.loss) and (best is None or everything.loss < best)
        self.progress = replace(
            self.progress,
            best_val_loss=everything.loss if improved else best,
            evals_without_gain=0 if improved else self.progress.evals_without_gain + 1,
        )
        self._validated_at = self.state.step
        self._improved = improved
        self._tell(
            recorder,
            "val",
            self.state.step,
            **everything.as_dict(),
            sources={name: score.as_dict() for name, score in results.items()},
            seconds=round(time.perf_counter() - begun, 3),
        )
        for losses in watched:
            tokenizer = None if self._passage_told else self.task.tokenizer
            fields = probe_fields(self.task.validation.passage, losses, tokenizer)
            self._passage_told = True
            self._tell(recorder, "probe", self.state.step, **fields)
        self._rate.restart()
        return improved

    def _save(self, recorder: Recorder, request: str | None = None) -> None:
        recorder.flush()
        begun = time.perf_counter()
        if not bool(mx.all(mx.stack([mx.all(mx.isfinite(p)) for p in self.state.parameters.values()])).item()):
            raise DivergedError(
                f"the weights are no longer finite at step {self.state.step:,}; they are not saved; start again with a "
                f"smaller --learning-rate"
            )
        best = self._validated_at == self.state.step and self._improved
        noted, based_on = noted_best(self.run.path), set(dependents(self.run))
        path = checkpoint_path(self.run.path, self.state.step)
        # One from before an extension may have this very place: adapters that were trained on it need it as it is.
        needed = self.state.step in based_on and is_of_another_attempt(path, self.progress)
        best = best and not needed
        best_step = self.state.step if best else self.progress.best_step
        self.progress = replace(self.progress, step=self.state.step, best_step=best_step)
        # Or it is the best one so far.
        if not needed and (noted is None or noted[0] != self.state.step or best):
            path = self.write_checkpoint()
        if best:
            mark_best(self.run.path, self.progress)
        keep = {step for step in (best_step, self._stable_step(), noted[0] if noted else None) if step is not None}
        keep |= based_on
        prune_checkpoints(self.run.path, self.state.step, self.config.train.keep_checkpoints, keep)
        self._tell(
            recorder,
            "checkpoint_saved",
            self.state.step,
            path=path.name,
            best=best,
            seconds=round(time.perf_counter() - begun, 3),
            **({"request": request} if request else {}),
        )
        self._rate.restart()

    def write_checkpoint(self) -> Path:
        """Save state and progress as they are, with the adapter in mlx-lm's layout where there is one; the folder."""
        if not has_adapters(self.model):
            return save_checkpoint(self.run.path, self.state, self.progress)
        install(self.model, self.state.parameters)

        def write_adapter(folder: Path) -> None:
            config = self.config
            save_adapter(
                self.model,
                folder,
                base_name=config.base_model,
                base_adapter=config.base_adapter,
                base_fingerprint=config.base_fingerprint or None,
                base_quantize=config.lora.quantize if config.lora is not None else None,
            )

        return save_checkpoint(self.run.path, self.state, self.progress, write_adapter)

    def _sample(self, recorder: Recorder) -> None:
        if self.config.train.sample_every and self._sampled_at != self.state.step:
            self._sampled_at = self.state.step
            text = self.complete(self.config.train.sample_prompt, self.config.sample)
            self._tell(recorder, "sample", self.state.step, prompt=self.config.train.sample_prompt, text=text)
            self._rate.restart()

    def complete(self, prompt: str, sample: SampleConfig) -> str:
        """The continuation of `prompt` by the weights as they are now."""
        install(self.model, self.state.parameters)
        self.model.eval()
        task = self.task
        encode = task.prompt_ids or (lambda text: task.tokenizer.encode_begun(text) if text else [])
        prompt_ids = encode(prompt)
        tokens = generate(self.model, task.tokenizer, prompt_ids, sample, stop_ids=task.stop_ids)
        return "".join(token.text for token in tokens)

    def _obey(self, recorder: Recorder) -> bool:
        """Do what the control files ask; returns whether to stop."""
        paused = False
        while True:
            for request in recorder.inbox.poll():
                recorder.inbox.complete(request)
                if request.name == "stop":
                    recorder.update(status="stopping")
                    return True
                if request.name == "pause" and not paused:
                    paused = True
                    self._tell(recorder, "paused", self.state.step)
                elif request.name == "resume" and paused:
                    paused = False
                    self._tell(recorder, "resumed", self.state.step)
                    self._rate.restart()
                elif request.name == "checkpoint":
                    self._save(recorder, request.id)
                elif request.name == "sample":
                    self._answer(recorder, request)
            if self.interrupts.received is not None:
                return True
            if not paused:
                return False
            recorder.update()
            time.sleep(_POLL_SECONDS)

    def _answer(self, recorder: Recorder, request: Request) -> None:
        """Continue somebody's prompt with the weights in memory; training waits meanwhile."""
        prompt = str(request.payload.get("prompt", ""))
        wanted = {k: v for k, v in request.payload.items() if k in SampleConfig.model_fields}
        try:
            sample = SampleConfig.model_validate({**self.config.sample.model_dump(), **wanted})
            fields = {"text": self.complete(prompt, sample)}
        except (UserError, ValueError) as error:
            fields = {"text": "", "error": str(error)}
        self._tell(recorder, "sample", self.state.step, prompt=prompt, request=request.id, **fields)
        self._rate.restart()

    def _tell(self, recorder: Recorder, kind: str, step: int, **fields: object) -> None:
        self.listener(recorder.write(kind, step, **fields))


def _is_out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(
        sign in text for sign in ("out of memory", "unable to allocate", "insufficient memory", "malloc")
    )
