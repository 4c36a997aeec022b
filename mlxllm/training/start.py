"""From a configuration to a running trainer: a new run, or one that goes on."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx

from mlxllm import __version__
from mlxllm.config import RunConfig
from mlxllm.conversation.choosing import lacks_template
from mlxllm.conversation.plain_turns import plain_template
from mlxllm.conversation.template_files import carry_template, write_template
from mlxllm.errors import DataError, RunError
from mlxllm.estimate import count_parameters
from mlxllm.model.adapters import adapt
from mlxllm.model.checkpoint_files import checkpoint_path
from mlxllm.model.loading import load_base
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
    write_json_atomic,
)
from mlxllm.runtime import blas_for_lanes, compute_dtype, device_info, evaluate_in_depth
from mlxllm.settings import parse_config
from mlxllm.tokenizer import load_tokenizer
from mlxllm.tokenizer.storage import TOKENIZER_DIRECTORY, is_own_tokenizer
from mlxllm.training.checkpoint import TrainerState, load_checkpoint, mark_best
from mlxllm.training.compare import (
    already_exists,
    check_extension,
    check_shapes,
    check_unchanged,
    comparable,
)
from mlxllm.training.interrupts import Interrupts
from mlxllm.training.kernels import PARTS, KernelsAhead
from mlxllm.training.measuring import measured_steps
from mlxllm.training.methods import Material, TokenizerFiles, make_task, open_material
from mlxllm.training.plan import Plan
from mlxllm.training.resuming import PLANNED, checkpoint_to_resume
from mlxllm.training.step import TrainState, TrainStep, initial_state, install
from mlxllm.training.task import Task
from mlxllm.training.trainer import Outcome, Trainer

Listener = Callable[[Event], None]


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
            ahead = KernelsAhead(config, PARTS if _compiles_ahead(config) else ())
            try:
                model = _initial_model(plan)
                task = make_task(config, plan.material, run, lambda: model)
                trainer = _assemble(plan, task, model, None, listener, interrupts)
                ahead.wait()
            finally:
                ahead.stop()
            if plan.deadline is not None:
                config = _measured(plan, trainer)
                trainer = _with_config(trainer, config)
            _copy_tokenizer(task.tokenizer_directory, run)
            warnings = _plain_turns(config, task, run)
            # What a killed start may have left; and the weights that a resume begins with, should it come to that early.
            shutil.rmtree(checkpoint_path(run.path, 0), ignore_errors=True)
            if plan.base is not None:
                trainer.write_checkpoint()
            write_json_atomic(run.config, config.model_dump(mode="json"))
        except BaseException:
            if created:
                shutil.rmtree(run.path, ignore_errors=True)
            raise
        return _fit(plan, trainer, warnings)


def _compiles_ahead(config: RunConfig) -> bool:
    """Whether `KernelsAhead` compiles what this run's steps are made of."""
    return config.method == "pretrain" and not config.train.gradient_checkpointing


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
        words = TokenizerFiles(load_tokenizer(_tokenizer(run)), _tokenizer(run)) if config.base_model else None
        config, material = open_material(config, words, resuming=True)
        extend = max_steps is not None or deadline is not None
        found, warnings = checkpoint_to_resume(run, config, extend=extend)
        loaded = None
        if found is not None:
            loaded = load_checkpoint(found)
            check_unchanged(run, config, material.fingerprint, loaded[1])
        warnings += _mend_tokenizer(material, run)
        if max_steps is not None:
            check_extension(run, max_steps, "--max-steps")
            config = config.with_values(train={"max_steps": max_steps})
        needs_base = config.base_model and (loaded is None or config.lora is not None)
        plan = Plan(run, config, material, load_base(config, f"run {run.name!r}") if needs_base else None)
        model = _initial_model(plan) if loaded is None or config.lora is not None else Transformer(config.model)

        def reference() -> Transformer:
            return model if plan.base is not None else load_base(config, f"run {run.name!r}").model

        task = make_task(config, material, run, reference)
        trainer = _assemble(plan, task, model, loaded, listener, interrupts)
        if deadline is not None:
            max_steps = trainer.state.step + measured_steps(trainer, deadline)
            check_extension(run, max_steps, "so little time")
            config = config.with_values(train={"max_steps": max_steps})
            trainer = _with_config(trainer, config)
        if extend:
            write_json_atomic(run.config, config.model_dump(mode="json"))
        mark_best(run.path, trainer.progress)
        return _fit(replace(plan, config=config), trainer, warnings)


def _fit(plan: Plan, trainer: Trainer, warnings: Sequence[str] = ()) -> Outcome:
    config = trainer.config
    trained = sum(p.size for p in trainer.state.parameters.values())
    about: dict[str, Any] = {
        "method": trainer.task.method,
        "preset": config.preset,
        "model": config.base_model or None,
        "parameters": trained if config.lora is None else count_parameters(config.model),
        "trained_parameters": trained,
        **trainer.task.about,
    }
    mx.reset_peak_memory()
    with (
        blas_for_lanes(config.train.lanes),
        keep_awake(),
        trainer.interrupts.catch(),
        Recorder(
            plan.run,
            step=trainer.state.step,
            max_steps=config.train.max_steps,
            about=about,
            dataset_tokens=trainer.task.num_tokens,
            tokens_per_step=trainer.task.tokens_per_step,
            device=str(mx.default_device().type).rsplit(".", 1)[-1],
            name=plan.run.name,
            machine=_machine(),
        ) as recorder,
    ):
        trainer.listener(recorder.started)
        for message in warnings:
            trainer.listener(recorder.write("warning", trainer.state.step, message=message))
        outcome = trainer.fit(recorder)
        reasons = {
            "stopped": f"stopped at step {trainer.state.step:,}",
            "early_stopped": "validation had stopped improving",
            "finished": None,
        }
        status: Status = "stopped" if outcome.status == "stopped" else "finished"
        trainer.listener(recorder.finish(status, reasons[outcome.status], tokens=trainer.progress.tokens))
        return outcome


def _machine() -> dict[str, Any]:
    """What this attempt is computed on and with, for whoever tells of the run when both have changed. Sizes are bytes."""
    info = device_info()
    return {
        "chip": info.chip,
        "architecture": info.architecture,
        "backend": info.backend,
        "cores": info.cores,
        "memory": info.system_memory_bytes,
        "os": info.os,
        "python": info.python,
        "mlx": info.mlx_version,
        "mlxllm": __version__,
    }


def _assemble(
    plan: Plan,
    task: Task,
    model: Transformer,
    loaded: tuple[TrainState, TrainerState] | None,
    listener: Listener,
    interrupts: Interrupts,
) -> Trainer:
    config, train = plan.config, plan.config.train
    model.model.gradient_checkpointing = train.gradient_checkpointing
    if loaded is None:
        state = initial_state(model, train)
        history = plan.base.history if plan.base is not None else ()
        if task.stage not in history[-1:]:
            history = (*history, task.stage)
        progress = TrainerState(0, 0, task.fingerprint, history, extra=_extra(config))
    else:
        state, progress = loaded
        progress = replace(progress, extra={**progress.extra, **_extra(config)})
        check_shapes(plan.run, model, state)
    return Trainer(
        run=plan.run,
        config=config,
        model=model,
        task=task,
        step=TrainStep(
            model, train, task.objective, compute_dtype=compute_dtype(train.compute_dtype), lanes=train.lanes
        ),
        state=state,
        progress=progress,
        listener=listener,
        interrupts=interrupts,
    )


def _extra(config: RunConfig) -> dict[str, Any]:
    """What a checkpoint notes of the settings: those that decide the weights, and the end that was planned."""
    return {"config": comparable(config), PLANNED: config.train.max_steps}


def _with_config(trainer: Trainer, config: RunConfig) -> Trainer:
    """The same trainer for another number of steps; nothing that is compiled depends on it."""
    trainer.step.use(config.train)
    progress = replace(trainer.progress, extra={**trainer.progress.extra, **_extra(config)})
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


def _initial_model(plan: Plan) -> Transformer:
    config = plan.config
    if config.lora is not None:
        assert plan.base is not None
        model = plan.base.model
        dtype = compute_dtype(config.train.compute_dtype)
        weights = named_parameters(model)  # those of a packed matrix are words and stay as they are
        install(model, {n: p.astype(dtype) for n, p in weights.items() if mx.issubdtype(p.dtype, mx.floating)})
        adapt(model, config.lora, config.train.seed)
        return model
    model = build_model(config.model, config.train.seed)
    if plan.base is not None:
        install(model, named_parameters(plan.base.model))
    return model


def _mend_tokenizer(material: Material, run: RunDirectory) -> list[str]:
    """Put the data's tokenizer into a run whose own copy is damaged; says so."""
    try:
        if load_tokenizer(_tokenizer(run)).fingerprint == material.words.tokenizer.fingerprint:
            return []
    except DataError:
        pass
    _copy_tokenizer(material.words.directory, run)
    return [f"the tokenizer of run {run.name!r} was damaged; it has been copied from {material.words.directory} again"]


def _plain_turns(config: RunConfig, task: Task, run: RunDirectory) -> list[str]:
    """Write down how turns are written where a model of others does not say it, for whoever takes the run; says so."""
    if config.method == "pretrain" or not lacks_template(task.tokenizer, task.tokenizer_directory):
        return []
    write_template(plain_template(task.tokenizer), run.path)
    return [
        f"{config.base_model} has no chat template, so turns are written plainly (User:, Assistant:) and end with its "
        f"end token; a chat_template.jinja of your own beside its tokenizer would be used instead"
    ]


def _tokenizer(run: RunDirectory) -> Path:
    return run.path / TOKENIZER_DIRECTORY


def _copy_tokenizer(source: Path, run: RunDirectory) -> None:
    """A run carries its tokenizer and its model's chat template, so that the model can be used when the dataset is gone."""
    target = _tokenizer(run)
    shutil.rmtree(target, ignore_errors=True)
    if is_own_tokenizer(source):
        shutil.copytree(source, target)
    else:  # it may lie among the weights of the model that it came with
        load_tokenizer(source).save(target)
    carry_template(source, run.path)
    fsync_directory(run.path)
