"""From a configuration to a running trainer: a new run, or one that goes on."""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm import paths
from mlxllm.config import RunConfig
from mlxllm.data.shards import TokenDataset
from mlxllm.errors import ConfigError, DataError, RunError
from mlxllm.evaluation.perplexity import Evaluator
from mlxllm.model.checkpoint_files import best_path, checkpoint_path, find_checkpoint, list_checkpoints
from mlxllm.model.loading import load_model
from mlxllm.model.module import named_parameters
from mlxllm.model.transformer import Transformer, build_model
from mlxllm.runs import (
    Event,
    Recorder,
    RunDirectory,
    Status,
    fsync_directory,
    keep_awake,
    read_json,
    read_state,
    write_json_atomic,
)
from mlxllm.runtime import compute_dtype, device_info, evaluate_in_depth, set_blas_threads
from mlxllm.settings import parse_config
from mlxllm.training.budget import steps_within
from mlxllm.training.checkpoint import TrainerState, delete_checkpoint, load_checkpoint, mark_best, save_checkpoint
from mlxllm.training.compare import (
    already_exists,
    check_extension,
    check_memory,
    check_same_tokenizer,
    check_shapes,
    check_unchanged,
    comparable,
)
from mlxllm.training.loader import TokenLoader
from mlxllm.training.objectives import next_token_loss
from mlxllm.training.schedules import decay_start
from mlxllm.training.step import TrainState, TrainStep, initial_state, install
from mlxllm.training.trainer import Interrupts, Outcome, Trainer

TOKENIZER_DIRECTORY = "tokenizer"

Listener = Callable[[Event], None]


@dataclass(frozen=True)
class Plan:
    """A run that has been checked and is ready to be started."""

    run: RunDirectory
    config: RunConfig
    dataset: TokenDataset
    model_name: str | None = None
    """The model whose weights it begins with; None draws fresh ones."""
    deadline: float | None = None
    """`time.monotonic()` at which training is to be over; the number of steps is then measured."""
    milestones: int | None = None
    """With a deadline: how many validations and samples the steps are divided by."""


def plan_run(
    run: RunDirectory,
    config: RunConfig,
    *,
    model_name: str | None = None,
    deadline: float | None = None,
    milestones: int | None = None,
) -> Plan:
    """Check a new run against its dataset and the machine, and fill in what the configuration left open.

    Raises:
        ConfigError: settings that do not fit the dataset.
        DataError: the dataset is missing, damaged, or has an empty split.
        RunError: there is such a run already.
    """
    if run.config.exists():
        raise RunError(already_exists(run, config))
    dataset = open_dataset(config)
    if paths.is_path(config.data.dataset):  # a run is resumed from any folder
        config = config.with_values(data={"dataset": str(dataset.directory.absolute())})
    if model_name is not None:
        loaded = load_model(model_name)
        check_same_tokenizer(loaded.tokenizer.fingerprint, dataset, model_name)
        raw = {**config.model_dump(mode="json"), "model": loaded.config.model_dump(mode="json")}
        config = parse_config(raw, f"--model {model_name}")
    dataset.tokenizer.encode(config.train.sample_prompt)  # refuses what cannot be spelled
    config = resolve(config, dataset)
    check_memory(config)
    return Plan(run, config, dataset, model_name, deadline, milestones)


def open_dataset(config: RunConfig) -> TokenDataset:
    """The dataset that a configuration names, with two splits to work with."""
    if not config.data.dataset:
        raise ConfigError("no dataset is named; give one with --data NAME (`mlxllm data build` makes one)")
    dataset = TokenDataset.open(paths.existing("datasets", config.data.dataset))
    for split in (dataset.train, dataset.val):
        if split.num_tokens < 2:
            raise DataError(
                f"dataset {dataset.name!r} has an empty {split.name} split; rebuild it with more text or another --val-split"
            )
    return dataset


def resolve(config: RunConfig, dataset: TokenDataset) -> RunConfig:
    """Fill in what depends on dataset and machine."""
    vocab = config.model.vocab_size or dataset.vocab_size
    if vocab < dataset.vocab_size:
        raise ConfigError(
            f"model.vocab_size is {vocab:,}, but dataset {dataset.name!r} has token ids up to {dataset.vocab_size - 1:,}; "
            f"leave model.vocab_size out or set it to {dataset.vocab_size:,} or more"
        )
    return settle(config.with_values(model={"vocab_size": vocab}))


def settle(config: RunConfig) -> RunConfig:
    """Fill in what depends on the machine: compute dtype and lanes."""
    dtype = str(compute_dtype(config.train.compute_dtype)).rsplit(".", 1)[-1]
    lanes = config.train.lanes or default_lanes(config.train.batch_size)
    if mx.default_device().type == mx.gpu:
        lanes = 1
    if config.train.batch_size % lanes:
        raise ConfigError(
            f"train.batch_size {config.train.batch_size} does not divide into train.lanes {lanes}; leave lanes out"
        )
    return config.with_values(train={"compute_dtype": dtype, "lanes": lanes})


def default_lanes(batch_size: int) -> int:
    """Lanes for the CPU: as many as there are cores, at most eight, that divide the batch."""
    if mx.default_device().type == mx.gpu:
        return 1
    return max(n for n in range(1, min(device_info().cores, 8) + 1) if batch_size % n == 0)


def start(plan: Plan, listener: Listener, interrupts: Interrupts) -> Outcome:
    """Train a planned run from step 0 to its end.

    Raises:
        RunError: another trainer has the run directory.
        DivergedError, OutOfMemoryError: see `Trainer.fit`.
    """
    config, run = plan.config, plan.run
    if config.train.gradient_checkpointing:
        evaluate_in_depth()
    created = not run.path.exists()
    run.create(run.path)
    with run.lock():
        try:
            if run.config.exists():
                raise RunError(already_exists(run, config))
            model = _initial_model(plan)
            trainer = _assemble(plan, config, model, None, listener, interrupts)
            if plan.deadline is not None:
                config = _measured(plan, trainer)
                trainer = _with_config(trainer, config)
            _copy_tokenizer(plan.dataset, run)
            # What a killed start may have left; and the weights that a resume begins with, should it come to that early.
            shutil.rmtree(checkpoint_path(run.path, 0), ignore_errors=True)
            if plan.model_name is not None:
                save_checkpoint(run.path, trainer.state, trainer.progress)
            write_json_atomic(run.config, config.model_dump(mode="json"))
        except BaseException:
            if created:
                shutil.rmtree(run.path, ignore_errors=True)
            raise
        return _fit(plan, trainer)


def resume(
    run: RunDirectory,
    listener: Listener,
    interrupts: Interrupts,
    *,
    max_steps: int | None = None,
    deadline: float | None = None,
) -> Outcome:
    """Go on with a run from its newest valid checkpoint, or from step 0 where there is none.

    With `max_steps` or `deadline` a run is extended: a warm-up-stable-decay run goes back to the checkpoint from before
    its decay, any other continues from its last one under the longer schedule.

    Raises:
        RunError: no such run, a busy one, or one whose configuration or data are no longer those that it was trained with.
    """
    with run.lock():
        config = parse_config(read_json(run.config), str(run.config))
        if config.train.gradient_checkpointing:
            evaluate_in_depth()
        dataset = open_dataset(config)
        found = _checkpoint_to_resume(run, config, extend=max_steps is not None or deadline is not None)
        loaded = None
        if found is not None:
            loaded = load_checkpoint(found)
            check_unchanged(run, config, dataset, loaded[1])
        if max_steps is not None:
            check_extension(run, max_steps, "--max-steps")
            config = config.with_values(train={"max_steps": max_steps})
        plan = Plan(run, config, dataset, _origin(run))
        model = _initial_model(plan) if loaded is None else Transformer(config.model)
        trainer = _assemble(plan, config, model, loaded, listener, interrupts)
        if deadline is not None:
            max_steps = trainer.state.step + measured_steps(trainer, deadline)
            check_extension(run, max_steps, "so little time")
            config = config.with_values(train={"max_steps": max_steps})
            trainer = _with_config(trainer, config)
        if max_steps is not None or deadline is not None:
            _drop_later_checkpoints(run, trainer.state.step)
            write_json_atomic(run.config, config.model_dump(mode="json"))
        mark_best(run.path, trainer.progress)
        return _fit(replace(plan, config=config), trainer)


def _fit(plan: Plan, trainer: Trainer) -> Outcome:
    config = trainer.config
    parameters = sum(p.size for p in trainer.state.parameters.values())
    about: dict[str, Any] = {
        "method": "pretrain",
        "preset": config.preset,
        "model": plan.model_name,
        "dataset": plan.dataset.name,
        "tokenizer": plan.dataset.manifest.tokenizer.kind,
        "parameters": parameters,
    }
    threads = set_blas_threads(1) if config.train.lanes > 1 else None
    mx.reset_peak_memory()
    try:
        with (
            keep_awake(),
            trainer.interrupts.catch(),
            Recorder(
                plan.run,
                step=trainer.state.step,
                max_steps=config.train.max_steps,
                about=about,
                dataset_tokens=plan.dataset.train.num_tokens,
                tokens_per_step=trainer.loader.tokens_per_step,
                device=str(mx.default_device().type).rsplit(".", 1)[-1],
                name=plan.run.name,
            ) as recorder,
        ):
            trainer.listener(recorder.started)
            outcome = trainer.fit(recorder)
            reasons = {
                "stopped": f"stopped at step {trainer.state.step:,}",
                "early_stopped": "validation had stopped improving",
                "finished": None,
            }
            status: Status = "stopped" if outcome.status == "stopped" else "finished"
            trainer.listener(recorder.finish(status, reasons[outcome.status], tokens=trainer.progress.tokens))
            return outcome
    finally:
        if threads is not None:
            set_blas_threads(threads)


def _assemble(
    plan: Plan,
    config: RunConfig,
    model: Transformer,
    loaded: tuple[TrainState, TrainerState] | None,
    listener: Listener,
    interrupts: Interrupts,
) -> Trainer:
    train, dataset = config.train, plan.dataset
    model.model.gradient_checkpointing = train.gradient_checkpointing

    def objective(model: Transformer, inputs: mx.array, targets: mx.array) -> tuple[mx.array, mx.array]:
        return next_token_loss(
            model,
            inputs,
            targets,
            chunk_tokens=train.loss_chunk_tokens,
            z_loss=train.z_loss,
            label_smoothing=train.label_smoothing,
        )

    if loaded is None:
        state = initial_state(model, train)
        progress = TrainerState(0, 0, dataset.fingerprint, extra={"config": comparable(config)})
    else:
        state, progress = loaded
        progress = replace(progress, extra={**progress.extra, "config": comparable(config)})
        check_shapes(plan.run, model, state)
    return Trainer(
        run=plan.run,
        config=config,
        model=model,
        tokenizer=dataset.tokenizer,
        step=TrainStep(model, train, objective, compute_dtype=compute_dtype(train.compute_dtype), lanes=train.lanes),
        loader=TokenLoader(
            dataset.train, config.data.max_seq_len, train.batch_size * train.grad_accum_steps, train.seed
        ),
        evaluator=Evaluator(
            dataset.val,
            dataset.tokenizer.byte_lengths(),
            config.data.max_seq_len,
            batch_size=max(1, 4096 // config.data.max_seq_len),
            lanes=train.lanes,
        ),
        state=state,
        progress=progress,
        listener=listener,
        interrupts=interrupts,
    )


def _with_config(trainer: Trainer, config: RunConfig) -> Trainer:
    """The same trainer for another number of steps; nothing that is compiled depends on it."""
    trainer.step.use(config.train)
    progress = replace(trainer.progress, extra={**trainer.progress.extra, "config": comparable(config)})
    return replace(trainer, config=config, progress=progress)


def _measured(plan: Plan, trainer: Trainer) -> RunConfig:
    """The configuration with as many steps as fit before the plan's deadline."""
    assert plan.deadline is not None
    config = plan.config
    if plan.milestones is not None:
        # Validations are paid for out of the same time: assume their number before the steps are known.
        config = config.with_values(train={"eval_every": 0, "sample_every": 0, "checkpoint_every": 0})
    steps = measured_steps(trainer, plan.deadline, plan.milestones or 0)
    values = {"max_steps": steps}
    if plan.milestones is not None:
        every = max(1, -(-steps // plan.milestones))
        values |= {"eval_every": every, "sample_every": every, "checkpoint_every": every}
    return config.with_values(train=values)


def measured_steps(trainer: Trainer, deadline: float, milestones: int = 0) -> int:
    """How many steps fit before `deadline` (of `time.monotonic()`), from a few that are timed and thrown away."""
    threads = set_blas_threads(1) if trainer.config.train.lanes > 1 else None
    try:
        cost = trainer.measure()
    finally:
        if threads is not None:
            set_blas_threads(threads)
    return steps_within(trainer.config.train, cost, deadline - time.monotonic(), milestones)


def _initial_model(plan: Plan) -> Transformer:
    model = build_model(plan.config.model, plan.config.train.seed)
    if plan.model_name is not None:
        install(model, named_parameters(load_model(plan.model_name).model))
    return model


def _copy_tokenizer(dataset: TokenDataset, run: RunDirectory) -> None:
    """A run carries its tokenizer, so that the model can be used when the dataset is gone."""
    target = run.path / TOKENIZER_DIRECTORY
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(dataset.tokenizer_directory, target)
    fsync_directory(run.path)


def _origin(run: RunDirectory) -> str | None:
    """The model that a run was started from, for the case that it must begin again."""
    try:
        state = read_state(run)
    except RunError:
        return None  # damaged: what counts are configuration and checkpoints
    name = state.about.get("model") if state is not None else None
    return str(name) if name else None


def _best_step(run: RunDirectory) -> int | None:
    path = best_path(run.path)
    return int(read_json(path)["step"]) if path.exists() else None


def _checkpoint_to_resume(run: RunDirectory, config: RunConfig, *, extend: bool) -> Path | None:
    present = list_checkpoints(run.path)
    if not present:
        return None
    if extend and config.train.schedule == "wsd":
        stable = decay_start(config.train)
        if any(c.step == stable for c in present) and present[-1].step > stable:
            return find_checkpoint(run.path, stable).path
    try:
        return find_checkpoint(run.path, "last").path
    except RunError:
        return None  # none of them is whole: start again


def _drop_later_checkpoints(run: RunDirectory, step: int) -> None:
    """An extension makes the steps after its start again: what the first attempt made of them is superseded."""
    for checkpoint in list_checkpoints(run.path):
        if checkpoint.step > step:
            delete_checkpoint(checkpoint.path)
    if (best := _best_step(run)) is not None and best > step:
        best_path(run.path).unlink()
